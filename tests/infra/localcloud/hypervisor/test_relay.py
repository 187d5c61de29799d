"""Bytes go both ways, and each direction ends by itself."""

import asyncio
import socket

import pytest

from infra.localcloud.hypervisor.relay import Relay


async def _relayed(serve: asyncio.Server, greeting: bytes = b"", *, refuse: bool = False) -> tuple[Relay, int]:
    """A relay in front of the server, and the relay's port."""
    target = serve.sockets[0].getsockname()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)

    async def connect(client: tuple[str, int]) -> socket.socket:
        if refuse:
            raise PermissionError(f"{client[0]} may not")
        made = socket.socket()
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, target)
        except OSError:
            made.close()
            raise
        return made

    relay = Relay(listener, connect, greeting)
    await relay.open()
    return relay, listener.getsockname()[1]


def test_the_answer_comes_after_the_client_has_ended_its_side() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read()
        writer.write(b"%d bytes" % len(received))
        writer.close()

    async def run() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        relay, port = await _relayed(server, b"hello\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 5_000_000)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        relay.close()
        server.close()
        return answer

    assert asyncio.run(run()) == b"5000006 bytes"


def test_what_comes_before_the_far_side_is_there_is_kept() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async def run() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        target = server.sockets[0].getsockname()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)

        async def connect(_: tuple[str, int]) -> socket.socket:
            await asyncio.sleep(0.2)
            made = socket.socket()
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, target)
            return made

        relay = Relay(listener, connect, b"who\n")
        await relay.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        writer.write(b"early")
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        relay.close()
        server.close()
        return answer

    assert asyncio.run(run()) == b"who\nearly"


def test_a_slow_reader_holds_the_sender_back() -> None:
    sent = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while sent < 200:
                writer.write(b"x" * (1 << 20))
                await writer.drain()
                sent += 1
        except ConnectionError:
            pass
        writer.close()

    async def run() -> int:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        relay, port = await _relayed(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        await reader.readexactly(10)
        await asyncio.sleep(0.5)
        held_at = sent
        writer.close()
        relay.close()
        server.close()
        await asyncio.sleep(0.1)
        return held_at

    assert 0 < asyncio.run(run()) < 100


@pytest.mark.parametrize("refuse", [True, False])
def test_who_may_not_or_finds_nobody_is_cut_off(refuse: bool) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def run() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        relay, port = await _relayed(server, refuse=refuse)
        if not refuse:
            server.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        writer.close()
        relay.close()
        server.close()
        return answer

    assert asyncio.run(run()) == b""
