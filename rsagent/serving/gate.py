"""What each HTTP request passes: its id, the host it names, its key, its line in the log, its place in the metrics."""

from __future__ import annotations

import json
import re
import uuid
from time import perf_counter
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rsagent.serving.logs import log
from rsagent.serving.protocol import RequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from rsagent.serving.admission import Admission, Keys

ROUTES = ("/v1/chat/completions", "/v1/models", "/health", "/metrics", "/openapi.json")
_OPEN = frozenset(("/health",))
_ID = re.compile(r"[\w.\-]{1,64}", re.ASCII)
_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """What Prometheus reads, in a registry of its own: two servers in one process do not mix."""

    def __init__(self, admission: Admission) -> None:
        """Count for the server behind `admission`."""
        self.registry = CollectorRegistry()
        self.requests = Counter("rsagent_requests", "Requests by route and status", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "rsagent_turn_seconds", "Seconds of a turn", ["task"], buckets=_BUCKETS, registry=self.registry
        )
        self.partial = Counter("rsagent_partial", "Turns in which an expert failed", registry=self.registry)
        running = Gauge("rsagent_running", "Turns that run now", registry=self.registry)
        running.set_function(lambda: admission.running)
        waiting = Gauge("rsagent_waiting", "Requests that wait for a place", registry=self.registry)
        waiting.set_function(lambda: admission.inside - admission.running)


class Gate:
    """ASGI middleware around the routes."""

    def __init__(self, app: ASGIApp, *, keys: Keys, hosts: frozenset[str] | None, metrics: Metrics) -> None:
        """Let pass what holds a key and names one of `hosts` (None: any).

        Args:
            app: what is behind the gate.
            keys: which are accepted, on all routes but /health.
            hosts: a page of some other site may reach a server on loopback through the browser that shows it; then the
                Host header names that site.
            metrics: where requests are counted.
        """
        self._app, self._keys, self._hosts, self._metrics = app, keys, hosts, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        facts: dict[str, Any] = {}
        scope["state"] = {**scope.get("state", {}), "facts": facts}
        began, status = perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            self._check(scope["path"], headers)
            await self._app(scope, receive, answer)
        except RequestError as error:
            facts["code"] = error.code
            await send_error(error, answer)
        except Exception as error:
            # the one place where a fault of the program becomes an answer; the client learns nothing of its insides
            log.error("fault", extra={"facts": {"id": request_id, "fault": type(error).__name__}}, exc_info=error)
            if status == 0:
                await send_error(RequestError(500, f"an error in the server, request {request_id}"), answer)
        finally:
            route = next((name for name in ROUTES if scope["path"].startswith(name)), "other")
            self._metrics.requests.labels(route, str(status)).inc()
            spent = round((perf_counter() - began) * 1000, 1)
            line = {"id": request_id, "method": scope["method"][:16], "route": route, "status": status, "ms": spent}
            log.info("request", extra={"facts": {**line, **facts}})

    def _check(self, path: str, headers: dict[str, str]) -> None:
        host = re.sub(r":\d+$", "", headers.get("host", "")).strip("[]").lower()
        if self._hosts is not None and host not in self._hosts:
            raise RequestError(403, "this server answers only to localhost; use that name", code="wrong_host")
        if path not in _OPEN:
            self._keys.check(headers.get("authorization"))


async def send_error(error: RequestError, send: Send) -> None:
    """Answer with an error in OpenAI's form."""
    body = json.dumps(error.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if error.retry_after_s:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
