"""Small requests to a running SGLang server, with the standard library: health, what it serves, adapters in and out.

The engine has its own client; this is for the command line, which needs no extra.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

from rsagent.errors import EngineError, ServerAway, SettingsError

KEY_VARIABLE = "RSAGENT_API_KEY"
"""The variable with the key that a server was started with (SGLang's --api-key), if it was."""

MODEL, SERVER = "/get_model_info", "/get_server_info"
"""Where a server says what it serves and how. These are the older names, which SGLang's router also knows."""

LOADS = "/v1/loads"
"""Where it says what it does now, for each copy of the LLM."""

_MOST_BYTES = 16_000_000


def check_url(url: str) -> str:
    """A server's address without what a slip adds to it.

    Raises:
        SettingsError: it is no http address.
    """
    parts = urlsplit(url.strip())
    try:
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number
        right = False
    if not right or parts.query or parts.fragment or parts.username:
        raise SettingsError(f"{url!r} is no server's address: write http://HOST:PORT")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"


def headers() -> dict[str, str]:
    """What goes with every request: the key, if one is set."""
    key = os.environ.get(KEY_VARIABLE, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def is_healthy(url: str, timeout_s: float = 5.0) -> bool:
    """Whether the server says that it can answer; SGLang tries it out, which takes it a second at least."""
    try:
        return _exchange(url, "/health", None, timeout_s)[0] == 200
    except (OSError, ValueError, http.client.HTTPException):
        return False


def ask(url: str, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = 60.0) -> dict[str, Any]:
    """A GET, or with a `body` a POST, and the JSON object that comes back; all of it within `timeout_s`.

    Raises:
        ServerAway: the server is not reachable, not ready, or does not answer in time.
        EngineError: it refuses, or is something else than SGLang; one line.
    """
    try:
        status, raw = _exchange(url, path, body, timeout_s)
    except TimeoutError as error:
        raise ServerAway(f"{url} accepts requests but does not answer within {timeout_s:g} s: look at its output") from error
    except (OSError, ValueError, http.client.IncompleteRead) as error:
        raise unreachable(url, error) from error
    except http.client.HTTPException as error:
        raise EngineError(f"{url} is something else than SGLang: it speaks no HTTP; check --url") from error
    if status != 200:
        raise refusal(url, status, message_of(raw[:10_000]) or http.client.responses.get(status, "without a reason"))
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{url}{path} answers with something else than JSON: is this SGLang?") from error
    if not isinstance(found, dict):
        raise EngineError(f"{url}{path} answers with something else than SGLang does")
    return cast("dict[str, Any]", found)


def _exchange(url: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> tuple[int, bytes]:
    """The status and the beginning of the answer. No proxy is asked: the servers are ours, and its error page is no answer.

    A socket's own limit holds for each piece, so a peer that drips would never be given up; a timer cuts the connection.

    Raises:
        TimeoutError: not done within `timeout_s`.
        OSError: not reachable, or broken off.
        HTTPException: what answers speaks no HTTP.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_s, cut)
    timer.daemon = True
    timer.start()
    try:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", "Connection": "close", **headers()}
        connection.request("GET" if data is None else "POST", f"{parts.path}{path}", data, sent)
        response = connection.getresponse()
        raw = response.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        if late.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
        connection.close()
    if late.is_set():
        raise TimeoutError
    return response.status, raw


def unreachable(url: str, reason: object) -> ServerAway:
    """The error for a server that nobody answers for."""
    return ServerAway(f"no server at {url} ({reason}): start one with 'rsagent experts serve', or give its --url")


def refusal(url: str, status: int, said: str) -> EngineError:
    """The error for an answer other than 200, one kind after the other."""
    low = said.lower()
    if status in (401, 403):
        return EngineError(f"{url} wants another key: set {KEY_VARIABLE} to the --api-key it was started with")
    if status == 404:
        return EngineError(f"{url} is something else than SGLang: it knows no such page; check --url")
    if status in (429, 502, 503, 504):
        return ServerAway(f"{url} is not ready, or has too much to do: {said}")
    if "out of memory" in low:
        return EngineError(f"{url} is out of memory: send fewer requests at once, or start it with --mem-fraction-static")
    if any(sign in low for sign in ("never been loaded", "lora is not enabled", "failed to implicitly load")):
        return EngineError(f"{url} does not have the adapter: see 'rsagent experts status', then load it ({said})")
    if "context length" in low or "longer than" in low or "maximum allowed" in low:
        return EngineError(f"the prompt is too long for {url}: ask shorter, or fewer --max-tokens ({said})")
    return EngineError(f"{url} refuses the request ({status}): {said}")


def message_of(raw: bytes) -> str:
    """What an error's body says, in one line."""
    text = raw.decode("utf-8", "replace")
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    while isinstance(found, dict):
        inner = cast("dict[str, Any]", found)
        found = next((inner[key] for key in ("error", "message", "error_message", "detail") if inner.get(key)), None)
    return " ".join(str(found or text).split())[:300]
