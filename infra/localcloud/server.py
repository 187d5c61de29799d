"""The local cloud's server: one TCP port and two Unix sockets in front of the gateway and the metadata service."""

from __future__ import annotations

import asyncio
import importlib
import logging
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from infra.localcloud.certificates import CertificateAuthority
from infra.localcloud.cloud import LocalCloud
from infra.localcloud.connection import HOST, HttpConnection, ProxyConnection, guarded, plain
from infra.localcloud.files import unix_address
from infra.localcloud.streams import SocketStream, Stream
from infra.localcloud.wire import Request, Response

LOG = logging.getLogger(__name__)
THREADS = 32
GRACE_SECONDS = 5.0

_Result = TypeVar("_Result")
MetadataHandler = Callable[[Any, str, str, str, Mapping[str, str]], tuple[int, dict[str, str], bytes]]


class Server:
    """Serves one local cloud until it is stopped."""

    def __init__(self, cloud: LocalCloud, port: int) -> None:
        self._cloud = cloud
        self.port = port
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="call")
        self._authority = CertificateAuthority(cloud.directory)
        self._listeners: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[Any]] = set()
        self._busy: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Binds the port and the sockets.

        Raises:
            OSError: the port is in use.
        """
        paths = self._cloud.paths
        shutil.rmtree(paths.spool, ignore_errors=True)  # what a crash left
        main = await asyncio.start_server(self._accept(self._serve_api), HOST, self.port)
        self.port = main.sockets[0].getsockname()[1]
        self._listeners.append(main)
        for path, serve in ((paths.socket, self._serve_api), (paths.metadata_socket, self._serve_metadata)):
            path.unlink(missing_ok=True)
            with unix_address(path) as address:
                self._listeners.append(await asyncio.start_unix_server(self._accept(serve), address))
            path.chmod(0o600)

    async def run(self) -> None:
        """Serves until `stop`, then finishes what is under way."""
        await self._stopping.wait()
        for listener in self._listeners:
            listener.close()
        self._cloud.faults.end()
        if self._busy:
            await asyncio.wait(self._busy, timeout=GRACE_SECONDS, return_when=asyncio.ALL_COMPLETED)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._cloud.paths.socket.unlink(missing_ok=True)
        self._cloud.paths.metadata_socket.unlink(missing_ok=True)

    def stop(self) -> None:
        """Asks `run` to end; call it from the loop's thread."""
        self._stopping.set()

    def _accept(
        self, serve: Callable[[Stream], Awaitable[None]]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            stream = SocketStream(reader, writer)
            try:
                await guarded(serve(stream), stream)
            except asyncio.CancelledError:
                writer.transport.abort()

        return connected

    async def _serve_api(self, stream: Stream) -> None:
        http = HttpConnection(self._respond, self._cloud.paths.spool, self._busy)
        await ProxyConnection(http, self._authority, self._cloud.gateway.serves).serve(stream)

    async def _serve_metadata(self, stream: Stream) -> None:
        machine_id = (await stream.receive_line(256)).decode("ascii").strip()

        async def respond(request: Request) -> Response:
            return await self._in_thread(self._metadata, machine_id, request)

        await HttpConnection(respond, self._cloud.paths.spool, self._busy).serve(stream)
        await stream.close()

    async def _respond(self, request: Request) -> Response | None:
        return await self._in_thread(self._cloud.gateway.respond, request)

    def _metadata(self, machine_id: str, request: Request) -> Response:
        module = importlib.import_module("infra.localcloud.services.ecs.metadata")
        handle: MetadataHandler = module.handle
        path = request.raw_path + (f"?{request.raw_query}" if request.raw_query else "")
        try:
            status, headers, body = handle(self._cloud, machine_id, request.method, path, request.headers)
        except Exception:
            LOG.exception("defect in the metadata service: %s %s for %s", request.method, path, machine_id)
            return plain(500, "A defect of the local cloud; its log has the details.")
        return Response(status, headers, body)

    async def _in_thread(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


async def serve(state: Path, port: int, ready: Callable[[int], None]) -> None:
    """Runs the local cloud of a state folder until SIGTERM or SIGINT; `ready` gets the port once it answers.

    Raises:
        OSError: the port is in use.
    """
    cloud = LocalCloud(state)
    try:
        server = Server(cloud, port)
        await server.start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        await loop.run_in_executor(None, cloud.start)
        ready(server.port)
        await server.run()
    finally:
        cloud.close()
