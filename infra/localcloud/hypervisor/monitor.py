"""The process outside that keeps a machine: starts its init, lends it a network, notes its state, ends with it.

It is started by the local cloud but doesn't depend on it: machines go on while the local cloud is restarted. What is
known of the machine is in its folder: ``state.json``, a lock that is held as long as this process lives, and
``monitor.sock``, which takes ``stop`` and ``kill``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from infra.localcloud.hypervisor import init, namespaces
from infra.localcloud.hypervisor.edge import Edge
from infra.localcloud.hypervisor.fabric import Fabric, unix_address
from infra.localcloud.hypervisor.image import METADATA_ADDRESS, PROXY_ADDRESS, PROXY_PORT
from infra.localcloud.hypervisor.relay import Relay

STATE_FILE = "state.json"
SOCKET = "monitor.sock"
METADATA_SOCKET = "metadata.sock"
PROXY_SOCKET = "cloud.sock"
"""Sockets in the local cloud's folder; the first gets ``<machine id>`` and a line feed before the client's bytes."""


def write_state(machine: Path, state: dict[str, Any]) -> None:
    """Replaces the machine's state file in one step."""
    temporary = machine / f".{STATE_FILE}.{os.getpid()}"
    temporary.write_text(json.dumps(state))
    temporary.replace(machine / STATE_FILE)


class Monitor:
    """One run of a machine."""

    def __init__(self, machine: Path, channel: socket.socket, init_pid: int, description: dict[str, Any]) -> None:
        self._machine = machine
        self._spec = description["spec"]
        self._channel = channel
        self._init_pid = init_pid
        self._state: dict[str, Any] = {"state": "starting", "exit_code": None, "boot": "", "detail": ""}
        self._stopped = False  # because somebody asked for it
        self._clients: list[asyncio.StreamWriter] = []  # those who asked; kept open until this process ends
        self._services: list[Relay] = []
        self._how = "poweroff"

    async def run(self) -> str:
        """Keeps the machine until it ends; returns ``poweroff`` or ``reboot``."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        loop.add_signal_handler(signal.SIGCHLD, self._reap, ended)
        loop.add_signal_handler(signal.SIGTERM, self._kill)
        self._reap(ended)
        self._channel.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=self._channel)
        path = self._machine / SOCKET
        path.unlink(missing_ok=True)
        with unix_address(path) as address:
            control = await asyncio.start_unix_server(self._control, address)
        path.chmod(0o600)
        listening = asyncio.create_task(self._listen(reader, writer))
        code = await ended
        # What init said last may still be on its way.
        await asyncio.wait([listening], timeout=2)
        control.close()
        self._finish(code)
        return self._how

    def _reap(self, ended: asyncio.Future[int]) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._init_pid and not ended.done():
                ended.set_result(os.waitstatus_to_exitcode(status))

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Follows what init says; makes the network when init is in its namespace."""
        self._writer = writer
        networking: asyncio.Task[None] | None = None
        while line := await reader.readline():
            message = json.loads(line)
            if "unshared" in message:
                networking = await self._connect_network(writer)
                if networking is None:
                    return
            if "ready" in message:
                self._change(state="running")
            if "boot" in message:
                self._change(boot=message["boot"], detail=message.get("detail", ""))
            elif "detail" in message:
                self._change(detail=message["detail"])
            if "exit" in message:
                self._change(exit_code=message["exit"])
            if "end" in message:
                self._how = message["end"]
        if networking is not None:
            networking.cancel()

    async def _connect_network(self, writer: asyncio.StreamWriter) -> asyncio.Task[None] | None:
        edge = Edge(self._spec["address"], init.LINK, self._init_pid)
        try:
            await edge.open()
            cloud = self._machine.parent.parent
            self._services = [
                Relay(
                    await edge.listener(METADATA_ADDRESS, 80),
                    _unix_connector(cloud / METADATA_SOCKET),
                    f"{self._spec['id']}\n".encode(),
                ),
                Relay(await edge.listener(PROXY_ADDRESS, PROXY_PORT), _unix_connector(cloud / PROXY_SOCKET)),
            ]
            for relay in self._services:
                await relay.open()
        except OSError as error:
            self._change(detail=f"cannot make the machine's network: {error}")
            log(f"cannot make the machine's network: {error}")
            self._kill()
            return None
        writer.write(b"\n")
        fabric = Fabric(self._machine, self._spec["address"], edge, self._init_pid, self._tell)
        return asyncio.create_task(_until_cancelled(fabric))

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """``stop`` or ``kill``; the connection ends when the machine has."""
        request = (await reader.readline()).decode().strip()
        if request in ("stop", "kill"):
            self._stopped = True
        if request == "stop" and self._state["state"] == "running":
            self._writer.write(b'{"op": "stop"}\n')
        elif request in ("stop", "kill"):
            self._kill()
        self._clients.append(writer)

    def _tell(self, message: str) -> None:
        """What concerns whoever looks at the machine, on its console as well."""
        log(message)
        with (self._machine / "console.log").open("a") as console:
            console.write(f"network: {message}\n")

    def _kill(self) -> None:
        self._stopped = True
        try:
            os.kill(self._init_pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _change(self, **values: Any) -> None:
        self._state |= values
        write_state(self._machine, self._state)

    def _finish(self, code: int) -> None:
        """Notes how it ended."""
        if self._state["state"] == "starting" and not (self._stopped and not self._state["detail"]):
            detail = self._state["detail"] or f"init ended with {code} before the machine ran"
            self._change(state="failed", detail=detail)
        elif self._spec["kind"] == "pod" and not self._stopped:
            exit_code = self._state["exit_code"]
            self._change(state="exited", exit_code=exit_code if exit_code is not None else 128 + abs(code))
        elif self._how == "reboot":
            self._change(state="starting", boot="")
        else:
            self._change(state="stopped")


async def _until_cancelled(fabric: Fabric) -> None:
    try:
        await fabric.run()
    except asyncio.CancelledError:
        pass
    except Exception as error:
        log(f"the network fabric failed: {error!r}")
        raise


def _unix_connector(path: Path) -> Any:
    async def connect(_: tuple[str, int]) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with unix_address(path) as address:
                await asyncio.get_running_loop().sock_connect(connection, address)
        except BaseException:
            connection.close()
            raise
        return connection

    return connect


def log(message: str) -> None:
    """A line in the machine's monitor.log."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {message}\n")
    sys.stderr.flush()


def fork_init(machine: Path, description: dict[str, Any], *, single_user: bool) -> tuple[int, socket.socket]:
    """Starts PID 1 of the machine; returns its process id out here and the socket to it.

    Between the two stands a process that enters the new PID namespace, in which only its children are, and ends: what
    stayed behind in this process would forbid it to have threads.
    """
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            namespaces.unshare(namespaces.NEWPID)
            pid = os.fork()
            if pid == 0:
                ours.close()
                os.close(writing)
                init.run(machine, description, theirs, single_user=single_user)
            os.write(writing, str(pid).encode())
        except OSError as error:
            log(f"cannot start init: {error}")
        os._exit(0)
    os.close(writing)
    theirs.close()
    os.waitpid(between, 0)
    answer = os.read(reading, 32)
    os.close(reading)
    if not answer:
        raise OSError("cannot start init, see monitor.log")
    ours.sendall(b"\n")  # init is a child of this process now
    return int(answer), ours


def main(arguments: list[str]) -> None:
    """``monitor MACHINE_FOLDER LOCK_DESCRIPTOR [inside]``: runs the machine until it is powered off."""
    machine, lock = Path(arguments[0]), int(arguments[1])
    inside = "inside" in arguments[2:]
    description = json.loads((machine / "machine.json").read_text())
    os.set_inheritable(lock, False)
    try:
        single_user = inside or os.geteuid() != 0
        if single_user and not inside:
            namespaces.enter_user_namespace()
        namespaces.become_subreaper()
        pid, channel = fork_init(machine, description, single_user=single_user)
        how = asyncio.run(Monitor(machine, channel, pid, description).run())
    except OSError as error:
        log(f"cannot start: {error}")
        state = {"state": "failed", "exit_code": None, "boot": "", "detail": f"cannot start: {error}"}
        write_state(machine, state)
        raise SystemExit(1) from None
    if how == "reboot":
        os.set_inheritable(lock, True)
        command = [sys.executable, "-S", "-m", "infra.localcloud.hypervisor.monitor", str(machine), str(lock)]
        # The same program again, with the lock still held.
        os.execv(sys.executable, [*command, "inside"] if single_user else command)  # noqa: S606 - our own interpreter


if __name__ == "__main__":
    main(sys.argv[1:])
