"""The far side of a machine's network: a namespace in which the monitor stands for the rest of the world.

A network namespace belongs to a thread, and an ordinary user can't come back from one. So one thread enters it,
stays, and makes sockets for the others: a socket keeps the namespace that it was made in, whoever uses it.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TypeVar, cast

from infra.localcloud.hypervisor import namespaces, netlink

T = TypeVar("T")

_LINK = "machine"
_IP_FREEBIND = 15
_IP_BIND_ADDRESS_NO_PORT = 24

HOST_ADDRESS = "100.100.100.202"
"""Where connections from the host seem to come from; its 127.0.0.1 would be the machine's own."""


class Edge:
    """The namespace of one machine's edge."""

    def __init__(self, address: str, machine_link: str, init_pid: int) -> None:
        self.address = address
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._machine_link = machine_link
        self._init_pid = init_pid
        self._thread = threading.Thread(target=self._work, name="edge", daemon=True)

    async def open(self) -> None:
        """Enters the namespace and connects it with the machine's.

        Raises:
            OSError: the kernel refuses; the text says which step.
        """
        self._thread.start()
        await self._do(self._configure)

    def _configure(self) -> None:
        namespaces.unshare(namespaces.NEWNET)
        netlink.create_veth(_LINK, self._machine_link, self._init_pid)
        netlink.configure_edge(IPv4Address(self.address), _LINK)

    def _work(self) -> None:
        while True:
            self._requests.get()()

    async def _do(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: OSError | None) -> None:
            if result.cancelled():
                return
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(cast("T", value))

        def request() -> None:
            try:
                value = work()
            except OSError as error:
                loop.call_soon_threadsafe(settle, None, error)
            else:
                loop.call_soon_threadsafe(settle, value, None)

        self._requests.put(request)
        return await result

    async def listener(self, address: str, port: int) -> socket.socket:
        """A socket that listens, as far as the machine can tell, at `address`.

        Raises:
            OSError: the port is taken.
        """
        made = await self._do(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            made.listen(512)
            made.setblocking(False)
        except OSError:
            made.close()
            raise
        return made

    async def connect(self, source: str, port: int) -> socket.socket:
        """A connection to a port of the machine that seems to come from `source`.

        Raises:
            OSError: nobody listens there.
        """
        made = await self._do(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        try:
            made.setblocking(False)
            made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            made.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(made, (self.address, port))
        except BaseException:
            made.close()
            raise
        return made
