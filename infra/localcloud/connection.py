"""One client connection: HTTP/1.1 in plain, under TLS, and inside CONNECT, request after request."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h11

from infra.localcloud.certificates import CertificateAuthority
from infra.localcloud.streams import Stream, TlsStream
from infra.localcloud.wire import CHUNK, Body, FileSlice, Request, Response, split_authority

LOG = logging.getLogger(__name__)
HOST = "127.0.0.1"
IDLE_SECONDS = 120
HEADER_LIMIT = 1 << 16  # bytes of a request's head
BODY_LIMIT = 16 << 30  # bytes
TLS_HANDSHAKE = 0x16

Handler = Callable[[Request], Awaitable[Response | None]]
"""Answers a request; None drops the connection without an answer."""


class HttpConnection:
    """Serves the requests of one stream until one side is done with it."""

    def __init__(self, handler: Handler, spool: Path, busy: set[asyncio.Task[Any]]) -> None:
        self._handler = handler
        self._spool = spool
        self._busy = busy  # tasks between a request's head and the end of its answer

    async def serve(self, stream: Stream, scheme: str = "http") -> tuple[Stream, str] | None:
        """Serves `stream`. Returns the stream and the authority of a CONNECT when one came.

        Raises:
            OSError: the connection broke.
        """
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_LIMIT)
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    head = await _next_event(http, stream)
                if not isinstance(head, h11.Request):
                    return None
                if head.method == b"CONNECT":
                    return stream, head.target.decode("ascii")
                task = asyncio.current_task()
                assert task is not None
                self._busy.add(task)
                try:
                    if not await self._exchange(http, stream, scheme, head):
                        return None
                finally:
                    self._busy.discard(task)
                http.start_next_cycle()
            except TimeoutError:
                return None
            except h11.RemoteProtocolError as error:
                if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    await _send(http, stream, plain(error.error_status_hint, f"Malformed HTTP request: {error}"))
                return None

    async def _exchange(self, http: h11.Connection, stream: Stream, scheme: str, head: h11.Request) -> bool:
        """Reads one request and answers it; whether another may follow on this connection."""
        with Body(self._spool) as body:
            refused = await self._read_body(http, stream, body)
            response = refused or await self._handler(self._request(head, body, scheme))
        if response is None:
            return False
        try:
            await _send(http, stream, response, head_only=head.method == b"HEAD")
        finally:
            response.close()
        return refused is None and http.our_state is h11.DONE and http.their_state is h11.DONE

    @staticmethod
    async def _read_body(http: h11.Connection, stream: Stream, body: Body) -> Response | None:
        while True:
            if http.they_are_waiting_for_100_continue:
                await stream.send(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            event = await _next_event(http, stream)
            if isinstance(event, h11.Data):
                if body.size + len(event.data) > BODY_LIMIT:
                    return plain(413, f"The request body is longer than {BODY_LIMIT} bytes.")
                body.write(event.data)
            elif isinstance(event, h11.EndOfMessage):
                body.finish()
                return None
            else:
                raise ConnectionResetError("the client left in the middle of a request")

    def _request(self, head: h11.Request, body: Body, scheme: str) -> Request:
        headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii").lower(), raw_value.decode("utf-8", "surrogateescape")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        target = head.target.decode("latin-1")
        authority = headers.get("host", "")
        if target.startswith(("http://", "https://")):
            parts = urlsplit(target)
            # A proxied request names its host in the target; the Host header is what was signed.
            authority = authority or parts.netloc
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        raw_path, _, raw_query = target.partition("?")
        return Request(
            method=head.method.decode("ascii"),
            scheme=scheme,
            authority=authority,
            raw_path=raw_path,
            raw_query=raw_query,
            headers=headers,
            body=body,
        )


class ProxyConnection:
    """A connection of the main port: finds out what is spoken and serves it, inside CONNECT again."""

    def __init__(self, http: HttpConnection, authority: CertificateAuthority, serves: Callable[[str], bool]) -> None:
        self._http = http
        self._authority = authority
        self._serves = serves

    async def serve(self, stream: Stream) -> None:
        """Serves `stream` until it ends; it is closed afterwards."""
        host, depth = HOST, 0  # clients that address an IP name no server
        while True:
            scheme = "http"
            if (await stream.peek())[:1] == bytes([TLS_HANDSHAKE]):
                tls = TlsStream(stream, self._authority.context(host))
                stream, scheme = tls, "https"
                await tls.handshake()
            tunnel = await self._http.serve(stream, scheme)
            if tunnel is None:
                break
            stream, authority = tunnel
            host = split_authority(authority)[0]
            depth += 1
            if depth > 3 or not self._serves(host):
                reason = f"The local cloud does not relay to {host}: only hosts of Alibaba Cloud's APIs are served.\n"
                await stream.send(_raw(502, reason))
                break
            await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await stream.close()


async def guarded(work: Awaitable[None], stream: Stream) -> None:
    """Runs what serves a connection; what a peer does wrong ends that connection and nothing else."""
    try:
        await work
    except (OSError, ssl.SSLError, ValueError, h11.ProtocolError) as error:
        LOG.info("connection ended: %s: %s", type(error).__name__, error)
        await stream.close()


def plain(status: int, text: str) -> Response:
    """A response of one line of text."""
    return Response(status, {"Content-Type": "text/plain; charset=utf-8"}, f"{text}\n".encode())


async def _next_event(http: h11.Connection, stream: Stream) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
    while True:
        event = http.next_event()
        if event is not h11.NEED_DATA:
            return event
        http.receive_data(await stream.receive())


async def _send(http: h11.Connection, stream: Stream, response: Response, *, head_only: bool = False) -> None:
    body = response.body
    length = body.length if isinstance(body, FileSlice) else len(body)
    headers = dict(response.headers)
    if not any(name.lower() == "content-length" for name in headers) and response.status not in (204, 304):
        headers["Content-Length"] = str(length)
    head = h11.Response(
        status_code=response.status,
        reason=_reason(response.status).encode(),
        headers=[(name.encode("ascii"), value.encode("utf-8", "surrogateescape")) for name, value in headers.items()],
    )
    await stream.send(http.send(head) or b"")
    if not head_only and length:
        if isinstance(body, FileSlice):
            body.file.seek(body.offset)
            left = body.length
            while left:
                chunk = body.file.read(min(CHUNK, left))
                if not chunk:
                    raise ConnectionAbortedError("a file became shorter while it was sent")
                left -= len(chunk)
                await stream.send(http.send(h11.Data(data=chunk)) or b"")
        else:
            await stream.send(http.send(h11.Data(data=body)) or b"")
    await stream.send(http.send(h11.EndOfMessage()) or b"")


def _raw(status: int, text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {status} {_reason(status)}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
