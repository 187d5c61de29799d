"""Runs ASGI applications as real servers for tests."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def running(app: ASGIApp, *, certificate: Path | None = None, key: Path | None = None) -> Iterator[str]:
    """A server on a free port of the loopback, in a thread of its own; gives its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            lifespan="on",
            ssl_certfile=certificate,
            ssl_keyfile=key,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        started = threading.Event()

        async def serve() -> None:
            task = asyncio.create_task(server.serve(sockets=[listener]))
            # uvicorn has no event for this.
            while not server.started and not task.done():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            started.set()
            await task

        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        assert started.wait(10)
        assert server.started
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
