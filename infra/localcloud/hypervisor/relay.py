"""Relays bytes between two TCP or Unix connections, each direction ending by itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast

Connect = Callable[[tuple[str, int]], Awaitable[socket.socket]]
"""Opens the far connection for a client with that address.

Raises:
    OSError: it can't; the client's connection is closed then.
    PermissionError: the client may not.
"""

_BUFFER = 1 << 20


class _End(asyncio.Protocol):
    """One of the two connections; what it receives goes out by `other`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self._ended = False
        # What came before the far side was there: Python 3.11.2 reads on although reading is paused at the start.
        self._early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_BUFFER)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
        else:
            self._early += data

    def eof_received(self) -> bool:
        """Passes the end on; the way back stays open until it ends too."""
        self._ended = True
        if self.other is None or self.other.transport is None or self.transport is None:
            return True  # passed on once the far side is there
        if self.other._ended:
            self.other.transport.close()  # after what is buffered
            return False
        if self.other.transport.can_write_eof() and not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is None or self.other.transport is None:
            return
        if exc is not None:
            self.other.transport.abort()
        else:
            self.other.transport.close()

    def pause_writing(self) -> None:
        """This side's buffer is full: the other side stops reading."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()


class _Front(_End):
    """The client's side: opens the far side as soon as the client is there."""

    def __init__(self, connect: Connect, greeting: bytes, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._connect = connect
        self._greeting = greeting
        self._tasks = tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        task = asyncio.create_task(self._join(self.transport))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, transport: asyncio.Transport) -> None:
        try:
            connection = await self._connect(transport.get_extra_info("peername"))
        except OSError:  # refused by the rules, or nobody listens any more
            transport.abort()
            return
        back = _End()
        back.other = self
        await _adopt(back, connection)
        assert back.transport is not None
        if self._greeting:
            back.transport.write(self._greeting)
        self.other = back
        back.transport.write(bytes(self._early))
        self._early.clear()
        if transport.is_closing():
            back.transport.close()
            return
        if self._ended:
            back.transport.write_eof()
        transport.resume_reading()


async def _adopt(end: _End, connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    if connection.family == socket.AF_UNIX:
        await loop.create_unix_connection(lambda: end, sock=connection)
    else:
        await loop.create_connection(lambda: end, sock=connection)


class Relay:
    """Relays every connection that `listener` accepts to what `connect` opens for it."""

    def __init__(self, listener: socket.socket, connect: Connect, greeting: bytes = b"") -> None:
        self._listener = listener
        self._connect = connect
        self._greeting = greeting
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Starts accepting."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Front(self._connect, self._greeting, self._tasks), sock=self._listener, backlog=512
        )

    def close(self) -> None:
        """Stops accepting; connections that are open go on."""
        if self._server is not None:
            self._server.close()
