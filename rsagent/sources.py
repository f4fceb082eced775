"""Pictures that somebody else names: `data:` URIs, URLs and paths, all hostile until checked.

A library's caller may read what they like. A client of a server, or a language model that fills in a tool's argument, may
not: URLs are fetched only where `SourcePolicy` allows it, never from an address that is not public, and paths are read
only below a root folder. The address that was checked is the one that is connected to, so that a name which resolves
differently the second time gains nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import http.client
import ipaddress
import os
import re
import socket
import ssl
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

from rsagent.errors import ImageError

MAX_BYTES = 32 * 2**20
"""Bytes of a picture that is fetched, decoded from a `data:` URI, or read below a root folder."""

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_TYPES = re.compile(r"(image/[\w.+\-]+|application/octet-stream|binary/octet-stream)\s*(;|$)", re.IGNORECASE)
_URI = re.compile(r"data:([\w.+\-]+/[\w.+\-]+)?((?:;[\w.+\-]+=[^;,]*)*)(;base64)?,", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_CHUNK = 65_536
_SHOWN = 80  # characters of a source that a message quotes

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class SourcePolicy:
    """What a picture that somebody else names may be. The default: `data:` URIs alone.

    Attributes:
        allow_urls: whether http and https URLs are fetched at all.
        root: folder below which paths are read; None reads none.
        allowed_hosts: `host` or `host:port` that may be private and on any port, such as an image store of your own.
        max_bytes: larger pictures are refused, at least 1.
        timeout_s: seconds for a whole fetch, redirects included.
        max_redirects: redirects followed, each checked like the first URL.
    """

    allow_urls: bool = False
    root: Path | None = None
    allowed_hosts: frozenset[str] = frozenset()
    max_bytes: int = MAX_BYTES
    timeout_s: float = 10.0
    max_redirects: int = 3


def read_source(source: str, policy: SourcePolicy) -> bytes:
    """The bytes of the picture that `source` names: a `data:` URI, a URL or a path. Blocks; run it in a thread.

    Raises:
        ImageError: `policy` refuses it, or it cannot be read.
    """
    if source[:5].lower() == "data:":
        return decode_data_uri(source, policy.max_bytes)
    if _SCHEME.match(source) or source.startswith("//"):
        return fetch(source, policy)
    return read_below(source, policy)


def is_data_uri(source: object) -> bool:
    """Whether `source` is a text that holds a picture itself."""
    return isinstance(source, str) and source[:5].lower() == "data:"


def is_url(source: str) -> bool:
    """Whether `source` begins like an http or https URL."""
    return source[:8].lower().startswith(("http://", "https://"))


def decode_data_uri(uri: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The picture inside a `data:` URI.

    Raises:
        ImageError: it is not base64, is no picture by its own account, is empty or larger than `max_bytes`.
    """
    head = _URI.match(uri)
    if head is None:
        raise ImageError("this data: URI is broken: write data:image/png;base64,...")
    if head[1] is not None and not _TYPES.match(head[1]):
        raise ImageError(f"this data: URI holds {_shown(head[1])}, no picture: give image/png or image/jpeg")
    body = uri[head.end() :]
    if len(body) > max_bytes * 4 // 3 + 4 * 1024:
        raise ImageError(f"the picture in the data: URI is larger than {max_bytes:,} bytes: make it smaller")
    if head[3]:
        try:
            data = base64.b64decode(re.sub(r"[\s]|%0[aAdD]", "", body), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ImageError(f"the base64 of the data: URI is broken: {error}") from error
    else:
        data = unquote_to_bytes(body)
    if not data:
        raise ImageError("the data: URI is empty: put a picture into it")
    if len(data) > max_bytes:
        raise ImageError(f"the picture in the data: URI is larger than {max_bytes:,} bytes: make it smaller")
    return data


# ----- paths


def read_below(path: str, policy: SourcePolicy) -> bytes:
    """The bytes of a regular file below the root folder of `policy`, links resolved first and then never followed.

    Raises:
        ImageError: no root is set, the path leads out of it, is no regular file, or the file is too large.
    """
    if policy.root is None:
        raise ImageError(
            "paths are not read here, for no root folder is set: send the picture as a data: URI where one is taken"
        )
    if _UNSAFE.search(path.replace(" ", "")) or not path or path.startswith("~"):
        raise ImageError(f"'{_shown(path)}' is no path that is read here: name a file below the root folder")
    root = os.path.realpath(policy.root)
    real = os.path.realpath(os.path.join(root, path))
    if os.path.commonpath([root, real]) != root or real == root:
        raise ImageError(f"'{_shown(path)}' is outside the root folder: name a file below it")
    try:
        with _opened_below(root, os.path.relpath(real, root).split(os.sep)) as stream:
            data = stream.read(policy.max_bytes + 1)
    except OSError as error:
        raise ImageError(f"cannot read '{_shown(path)}' below the root folder: {error.strerror}") from error
    if len(data) > policy.max_bytes:
        raise ImageError(f"'{_shown(path)}' is larger than {policy.max_bytes:,} bytes: make it smaller")
    return data


@contextlib.contextmanager
def _opened_below(root: str, parts: list[str]) -> Any:
    """Open `parts` one folder at a time without following a link, which may have been put there since it was checked."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = deeper
        # a pipe would block for ever where it is opened
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "it is not a regular file")
        yield stream


# ----- URLs


def fetch(url: str, policy: SourcePolicy) -> bytes:
    """Fetch a picture over http or https, with nothing of ours sent along: no cookie, no credential, no referrer.

    Raises:
        ImageError: URLs are not allowed; the scheme, host, port or address is refused; too large, too slow, too many
            redirects, no picture by its own account, or the server failed.
    """
    if not policy.allow_urls:
        raise ImageError("URLs are not fetched here: download the picture and send it as a data: URI")
    deadline = time.monotonic() + policy.timeout_s
    for _ in range(policy.max_redirects + 1):
        parts = _checked_url(url, policy)
        answer = _get(parts, policy, deadline)
        if isinstance(answer, bytes):
            return answer
        following = urljoin(url, answer)
        if parts.scheme == "https" and following[:5].lower() == "http:":
            raise ImageError(f"{_host(parts)} redirects from https to http: use the final URL")
        url = following
    raise ImageError(f"more than {policy.max_redirects} redirects: use the final URL")


def _checked_url(url: str, policy: SourcePolicy) -> SplitResult:
    """The parts of a URL whose form is accepted; the address is checked when the name is resolved."""
    if _UNSAFE.search(url) or len(url) > 8_192:
        raise ImageError("the URL holds blanks, control characters or a backslash, or is too long: encode it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ImageError(f"the URL is broken: {error}") from error
    if parts.scheme not in _PORTS:
        raise ImageError(f"{_shown(parts.scheme) or 'no scheme'}: only http and https URLs are fetched")
    if not parts.hostname:
        raise ImageError("the URL names no host: write https://host/picture.png")
    if "@" in parts.netloc:
        raise ImageError("the URL holds a user name or password, which is not sent: leave it out")
    if port == 0 or (port not in (None, *_PORTS.values()) and not _excepted(parts, policy)):
        raise ImageError(f"port {port} is not fetched from: use 80 or 443")
    return parts


def _excepted(parts: SplitResult, policy: SourcePolicy) -> bool:
    """Whether the operator has named this host, or this host and port."""
    host = parts.hostname or ""
    port = parts.port or _PORTS[parts.scheme]
    return host in policy.allowed_hosts or f"{host}:{port}" in policy.allowed_hosts


def _addresses(parts: SplitResult, policy: SourcePolicy) -> list[str]:
    """What the host resolves to. One address that is not public refuses the host as a whole.

    Raises:
        ImageError: it does not resolve, or to an address that is not public.
    """
    port = parts.port or _PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ImageError(f"the host {_host(parts)} is not found: check the URL") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not _excepted(parts, policy):
        for address in addresses:
            if not is_public(ipaddress.ip_address(address.partition("%")[0])):
                raise ImageError(f"the host {_host(parts)} is at a private or reserved address, which is not fetched from")
    return addresses


def is_public(address: Address) -> bool:
    """Whether an address is an ordinary one of the internet, also when it wraps another (mapped, 6to4, NAT64, Teredo)."""
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if address.version == 4:
        return True
    return not address.is_site_local and all(is_public(inner) for inner in _wrapped(address))


def _wrapped(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that a gateway may make of an IPv6 one."""
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    number = int(address)
    if number >> 32 in (0x0064_FF9B << 64, 0) or number >> 80 == 0x0064_FF9B_0001:  # NAT64, IPv4-compatible
        inner.append(ipaddress.IPv4Address(number & 0xFFFF_FFFF))
    if (number >> 32) & 0xFDFF_FFFF == 0x0000_5EFE:  # ISATAP
        inner.append(ipaddress.IPv4Address(number & 0xFFFF_FFFF))
    return [entry for entry in inner if entry is not None]


def _get(parts: SplitResult, policy: SourcePolicy, deadline: float) -> bytes | str:
    """One request: the picture, or where it redirects to."""
    host, late = _host(parts), f"{_host(parts)} did not send the picture within {policy.timeout_s:g} s"
    addresses = _addresses(parts, policy)
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise ImageError(late)
    connection = _Pinned(parts, addresses[0], remaining)
    # A socket's own time-out starts again with every byte; this one does not.
    alarm = threading.Timer(remaining, connection.interrupt)
    alarm.daemon = True
    alarm.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": "rsagent", "Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close"}
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        if answer.status in _REDIRECTS and (location := answer.getheader("Location")):
            return location
        if answer.status != 200:
            raise ImageError(f"{host} answers {answer.status}: check the URL")
        data = _body(answer, host, policy)
        if time.monotonic() >= deadline:  # cut off by the alarm, which looks like an end
            raise ImageError(late)
        return data
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        if time.monotonic() >= deadline or isinstance(error, TimeoutError):
            raise ImageError(late) from error
        reason = "its TLS certificate is not valid" if isinstance(error, ssl.SSLError) else type(error).__name__
        raise ImageError(f"{host} did not send the picture: {reason}") from error
    finally:
        alarm.cancel()
        connection.close()


def _body(answer: http.client.HTTPResponse, host: str, policy: SourcePolicy) -> bytes:
    """The picture, read no further than the limit; the length that a server announces may be a lie."""
    kind = answer.getheader("Content-Type") or ""
    if not _TYPES.match(kind):
        raise ImageError(f"{host} sends {_shown(kind) or 'no content type'}, no picture: check the URL")
    if (answer.getheader("Content-Encoding") or "identity").lower() != "identity":
        raise ImageError(f"{host} sends the picture compressed, which was not asked for")
    too_large = ImageError(f"the picture at {host} is larger than {policy.max_bytes:,} bytes: make it smaller")
    announced = answer.getheader("Content-Length") or ""
    if announced.isdecimal() and int(announced[:20]) > policy.max_bytes:
        raise too_large
    data = bytearray()
    while piece := answer.read(_CHUNK):
        data += piece
        if len(data) > policy.max_bytes:
            raise too_large
    if announced.isdecimal() and len(data) < int(announced[:20]):
        raise ImageError(f"{host} sent only a part of the picture: try again")
    return bytes(data)


class _Pinned(http.client.HTTPConnection):
    """A connection to one address that was checked; host name and TLS are those of the URL."""

    def __init__(self, parts: SplitResult, address: str, timeout_s: float) -> None:
        super().__init__(parts.hostname or "", parts.port or _PORTS[parts.scheme], timeout=timeout_s)
        self._address = address
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._raw: socket.socket | None = None

    def connect(self) -> None:
        """Connect to the address, and nowhere else."""
        self._raw = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(self._raw, server_hostname=self.host) if self._tls else self._raw

    def interrupt(self) -> None:
        """Make whoever waits for this connection wake up with an error."""
        for open_socket in (getattr(self, "sock", None), self._raw):
            if open_socket is not None:
                with contextlib.suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)


def _host(parts: SplitResult) -> str:
    return _shown(parts.hostname or "")


def _shown(text: str) -> str:
    """As much of a text from outside as a message quotes, printable."""
    short = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return "".join(mark if mark.isprintable() else "?" for mark in short)
