"""Pictures that somebody else names: what is refused, and what still works."""

from __future__ import annotations

import base64
import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rsagent.errors import ImageError
from rsagent.sources import SourcePolicy, decode_data_uri, fetch, read_below, read_source

OPEN = SourcePolicy(allow_urls=True, timeout_s=3)


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (10, 90, 30)).save(out, "PNG")
    return out.getvalue()


PRIVATE = [
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0.0.0.0", "0", "2130706433", "0x7f000001", "0x7f.1", "017700000001",
    "0177.0.0.1", "localhost", "LOCALHOST", "localhost.", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254",
    "192.168.0.1", "192.168.255.1", "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.127.255.254", "192.0.0.1",
    "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]", "[::127.0.0.1]", "[2002:7f00:1::]", "[2002:a00:1::1]", "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]", "[fe80::1]", "[fc00::1]", "[fd12:3456::1]", "[ff02::1]", "[fec0::1]",
    "[2001:db8::1]", "[2001:0:7f00:1::]", "[2a00::5efe:7f00:1]",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    with pytest.raises(ImageError, match="private or reserved|not found"):
        fetch(f"http://{host}/secret.png", OPEN)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "FILE:///etc/passwd", "ftp://example.org/a.png", "gopher://example.org/_x", "dict://a/b",
        "jar:http://a!/b", "//example.org/a.png", "javascript:alert(1)", "ws://example.org/", "unix:/run/docker.sock",
        "http:///a.png", "http://", "https://", "http://user:pass@example.org/a.png", "http://user@example.org/a.png",
        "http://example.org@127.0.0.1/a.png", "http://127.0.0.1#@example.org/", "http://example.org:22/a.png",
        "http://example.org:0/", "http://example.org:6379/", "http://example.org:99999/", "http://example.org:-1/",
        "http://exam ple.org/", "http://example.org/a\r\nHost: b", "http://example.org\\@127.0.0.1/", "http://[::1",
        "http://\x00example.org/", "http://example.org/" + "a" * 9_000, "http://\u2025/", "vsicurl://example.org/a.tif",
    ],
)  # fmt: skip
def test_urls_of_a_wrong_form_are_refused(url: str) -> None:
    with pytest.raises(ImageError) as refused:
        read_source(url, OPEN)
    assert len(str(refused.value)) < 300 and str(refused.value).isprintable()


def test_nothing_is_fetched_unless_it_is_allowed(server: Any) -> None:
    for source in (server.url, "http://example.org/a.png", "photo.png", "/etc/passwd"):
        with pytest.raises(ImageError, match="not fetched here|not read here"):
            read_source(source, SourcePolicy())
    assert server.seen == []


# ----- a server that misbehaves; its host is allowed by name, so that it is reached at all


class Server:
    """A web server on loopback whose answers a test sets."""

    def __init__(self) -> None:
        self.answer: Callable[[BaseHTTPRequestHandler], None] = self.picture
        self.seen: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append({**dict(self.headers), "path": self.path})
                outer.answer(self)

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.http.server_port}"
        self.url = f"http://{self.host}/a.png"
        self.policy = SourcePolicy(allow_urls=True, allowed_hosts=frozenset([self.host]), timeout_s=8.0, max_bytes=10_000)

    @staticmethod
    def picture(handler: BaseHTTPRequestHandler) -> None:
        send(handler, {"Content-Type": "image/png"}, png())


def send(handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes = b"", status: int = 200) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield running
    running.http.shutdown()
    running.http.server_close()


def test_a_picture_is_fetched_and_nothing_of_ours_is_sent_along(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # a proxy would resolve the name itself
    assert fetch(server.url, server.policy) == png()
    (seen,) = server.seen
    assert {"authorization", "cookie", "referer"}.isdisjoint(name.lower() for name in seen)


@pytest.mark.parametrize(
    ("headers", "body", "status", "says"),
    [
        ({"Content-Type": "text/html"}, b"<html>", 200, "no picture"),
        ({}, b"x", 200, "no content type"),
        ({"Content-Type": "image/png", "Content-Length": "99999999"}, b"x", 200, "larger"),
        ({"Content-Type": "image/png"}, b"x" * 20_000, 200, "larger"),
        ({"Content-Type": "image/png", "Content-Length": "500"}, b"x", 200, "part of|did not send"),
        ({"Content-Type": "image/png", "Content-Encoding": "gzip"}, b"x", 200, "compressed"),
        ({"Content-Type": "image/png"}, b"", 404, "answers 404"),
        ({"Location": "http://127.0.0.1:1/x.png"}, b"", 302, "not fetched from|private"),
        ({"Location": "http://localhost/x.png"}, b"", 301, "private"),
        ({"Location": "http://169.254.169.254/latest"}, b"", 307, "private"),
        ({"Location": "http://[::ffff:127.0.0.1]/"}, b"", 308, "private"),
        ({"Location": "file:///etc/passwd"}, b"", 302, "only http"),
        ({"Location": "//user:pw@127.0.0.1/"}, b"", 303, "user name"),
        ({"Location": "/a.png"}, b"", 302, "redirects"),
    ],
)
def test_what_a_server_may_not_do(server: Server, headers: dict[str, str], body: bytes, status: int, says: str) -> None:
    server.answer = lambda handler: send(handler, headers, body, status)
    with pytest.raises(ImageError, match=says):
        fetch(server.url, server.policy)
    assert len(server.seen) <= 4


def test_a_server_that_drips_or_hangs_is_left_in_time(server: Server) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "image/png")
        handler.end_headers()
        try:
            for _ in range(90):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.1)
        except OSError:
            return

    for answer in (drip, lambda handler: time.sleep(9)):
        server.answer = answer
        began = time.monotonic()
        with pytest.raises(ImageError, match="within 1 s"):
            fetch(server.url, replace(server.policy, timeout_s=1.0))
        assert time.monotonic() - began < 8


def test_a_name_that_changes_its_mind_is_asked_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when it is checked, loopback when it is connected to."""
    asked: list[str] = []

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected: list[Any] = []

    def connect(address: Any, *_: Any, **__: Any) -> Any:
        connected.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ImageError, match="did not send"):
        fetch("http://rebind.example/a.png", OPEN)
    assert (asked, connected) == (["rebind.example"], [("93.184.216.34", 80)])


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 1, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ImageError, match="private"):
        fetch("http://both.example/a.png", OPEN)


# ----- paths


@pytest.fixture
def policy(tmp_path: Path) -> SourcePolicy:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a b.png").write_bytes(png())
    (root / "large.png").write_bytes(b"x" * 20_000)
    (tmp_path / "outside.png").write_bytes(png())
    (tmp_path / "root-beside").mkdir()
    (tmp_path / "root-beside" / "x.png").write_bytes(png())
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "inner.png").symlink_to(root / "in" / "a b.png")
    os.mkfifo(root / "pipe.png")
    return SourcePolicy(root=root, max_bytes=10_000)


def test_files_below_the_root_are_read(policy: SourcePolicy) -> None:
    for path in ("in/a b.png", "./in/../in/a b.png", "inner.png", str(policy.root) + "/in/a b.png"):
        assert read_source(path, policy) == png()


@pytest.mark.parametrize(
    "path",
    [
        "../outside.png", "in/../../outside.png", "/etc/passwd", "link.png", "up/outside.png", "up/root/../outside.png",
        "loop", "pipe.png", "in", ".", "", "..", "large.png", "gone.png", "~/a.png", "in/a.png\x00.txt", "..\\outside.png",
        "../root-beside/x.png", "%2e%2e/outside.png", "/proc/self/environ", "/dev/zero", "in/a b.png/x", "a" * 5_000,
        "in/\nb.png", "....//outside.png",
    ],
)  # fmt: skip
def test_no_way_out_of_the_root(policy: SourcePolicy, path: str) -> None:
    with pytest.raises(ImageError) as refused:
        read_below(path, policy)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 300


# ----- data: URIs


def test_data_uris_are_decoded() -> None:
    body = base64.b64encode(png()).decode()
    for uri in (
        f"data:image/png;base64,{body}",
        f"DATA:;base64,{body}",
        f"data:image/png;name=a;base64,{body[:20]}\n{body[20:]}",
    ):
        assert decode_data_uri(uri) == png()
    assert decode_data_uri("data:image/bmp,%42M") == b"BM"


@pytest.mark.parametrize(
    "uri",
    [
        "data:", "data:,", "data:image/png;base64", "data:image/png;base64,", "data:image/png;base64,@@@@",
        "data:image/png;base64,abc", "data:text/html;base64,PGI+", "data:application/pdf,x", "data:image/png;base64,\u00e9",
    ],
)  # fmt: skip
def test_broken_data_uris_are_refused(uri: str) -> None:
    with pytest.raises(ImageError, match="data: URI"):
        decode_data_uri(uri)


def test_a_data_uri_that_is_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageError, match="larger than 1,000 bytes"):
        decode_data_uri("data:image/png;base64," + "@" * 10_000_000, 1_000)
