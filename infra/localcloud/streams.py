"""Byte streams that can be looked into before they are read, and turned into TLS at any point, inside CONNECT too."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod

CHUNK = 1 << 16


class Stream(ABC):
    """A bidirectional byte stream with one chunk of look-ahead."""

    def __init__(self, ahead: bytes = b"") -> None:
        self._ahead = ahead

    async def peek(self) -> bytes:
        """The next bytes, at least one, without taking them; empty at the end."""
        if not self._ahead:
            self._ahead = await self._receive()
        return self._ahead

    async def receive(self) -> bytes:
        """The next bytes, at least one; empty at the end."""
        if self._ahead:
            taken, self._ahead = self._ahead, b""
            return taken
        return await self._receive()

    async def receive_line(self, limit: int) -> bytes:
        """Bytes up to and without the next line feed.

        Raises:
            ValueError: the line is longer than `limit`, or the stream ends in it.
        """
        line = b""
        while b"\n" not in line:
            chunk = await self.receive()
            line += chunk
            if not chunk or len(line.partition(b"\n")[0]) > limit:
                raise ValueError(f"no line of at most {limit} bytes came first")
        line, _, self._ahead = line.partition(b"\n")
        return line

    @abstractmethod
    async def _receive(self) -> bytes: ...

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Sends bytes; waits while the peer is slow."""

    @abstractmethod
    async def close(self) -> None:
        """Ends the stream; never raises."""


class SocketStream(Stream):
    """The connection itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader = reader
        self._writer = writer

    async def _receive(self) -> bytes:
        return await self._reader.read(CHUNK)

    async def send(self, data: bytes) -> None:
        """Sends bytes; waits while the peer is slow."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Closes the connection."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # the peer was faster


class TlsStream(Stream):
    """The server's side of TLS over another stream."""

    def __init__(self, inner: Stream, context: ssl.SSLContext) -> None:
        super().__init__()
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        """Negotiates.

        Raises:
            ssl.SSLError: the peer speaks no TLS, or trusts another authority.
        """
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError:
                await self._flush()  # the alert
                raise
        await self._flush()

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError:
                return b""  # many clients leave without a close_notify

    async def send(self, data: bytes) -> None:
        """Sends bytes; waits while the peer is slow."""
        for start in range(0, len(data), CHUNK):
            self._tls.write(data[start : start + CHUNK])
            await self._flush()

    async def close(self) -> None:
        """Says goodbye and closes what is below."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the peer's goodbye isn't waited for
        try:
            await self._flush()
        except OSError:
            pass  # the peer was faster
        await self._inner.close()

    async def _feed(self) -> None:
        if data := await self._inner.receive():
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._inner.send(data)
