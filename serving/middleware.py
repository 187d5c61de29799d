"""What both servers do around a request: limit its body, name it, measure it, log it."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("ragrec.request")

BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds


class RequestMetrics:
    """Counts and latencies of requests by route."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.latency = Histogram(
            "ragrec_http_request_seconds",
            "Time from a request's arrival to the end of its response.",
            ["method", "route", "status"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.refused = Counter(
            "ragrec_http_body_too_large_total", "Requests whose body was over the limit.", registry=registry
        )


class RequestLog:
    """Measures each request and writes one line; a query string, which may hold what a person typed, stays out."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(dict(scope["headers"]))
        status = 500

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {
                    **message,
                    "headers": [*message["headers"], (b"x-request-id", request_id.encode()), *_SECURITY],
                }
            await send(message)

        try:
            await self.app(scope, receive, observe)
        finally:
            seconds = time.perf_counter() - started
            route = _route(scope)
            self.metrics.latency.labels(scope["method"], route, str(status)).observe(seconds)
            if route not in _QUIET or status >= 400:
                log.info(
                    "%s %s %d %.1f ms id=%s caller=%s",
                    scope["method"],
                    route,
                    status,
                    seconds * 1000,
                    request_id,
                    scope.get("state", {}).get("caller", "-"),
                )


class BodyLimit:
    """Refuses a body over `limit` bytes with 413 before it is read into memory."""

    def __init__(self, app: ASGIApp, limit: int, body: Mapping[str, object], metrics: RequestMetrics) -> None:
        self.app = app
        self.limit = limit
        self.body = json.dumps(body).encode()
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.limit:
            await self._refuse(receive, send, drain=True)
            return
        seen = 0
        refused = False
        more = True

        async def count() -> Message:
            nonlocal seen, refused, more
            message = await receive()
            more = message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > self.limit:
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def note(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self.app(scope, count, note)
        except ClientDisconnect:
            if not refused:
                raise
        if refused:
            await self._refuse(receive, send, drain=more)

    async def _refuse(self, receive: Receive, send: Send, *, drain: bool) -> None:
        self.metrics.refused.inc()
        # A client that is still sending would take a closed connection for a failure, so some of the rest is read.
        left = _DRAIN if drain else 0
        while left > 0:
            message = await receive()
            left = left - len(message.get("body", b"")) if message.get("more_body") else 0
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Guard:
    """Asks `admit` before anything of a request's body is read; a response of it ends the request."""

    def __init__(self, app: ASGIApp, admit: Callable[[Request], Response | None]) -> None:
        self.app = app
        self.admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it."""
        if scope["type"] == "http" and (refusal := self.admit(Request(scope))):
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


_DRAIN = 64 * 1024 * 1024  # bytes
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
_QUIET = {"/healthz", "/readyz", "/metrics"}


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    """The route's template, so that instance ids make no new time series."""
    route = scope.get("route")
    return str(getattr(route, "path", "unmatched"))
