"""PID 1 of a machine: builds its world, runs user data or the pod's command, supervises, reaps, and ends it.

The monitor forks this process (see `monitor`); it talks with the monitor over a socket: one JSON object a line.
From the monitor: ``{"op": "stop"}``. To it: ``{"ready": true}``, ``{"boot": ..., "detail": ...}``,
``{"exit": code}``, ``{"end": "poweroff" | "reboot"}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import traceback
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NoReturn

from infra.localcloud.hypervisor import namespaces, netlink, processes, root, seccomp, units
from infra.localcloud.hypervisor.boot import Boot, wait_for_exit
from infra.localcloud.hypervisor.control import Control
from infra.localcloud.hypervisor.image import VENV, Image
from infra.localcloud.hypervisor.journal import Journal
from infra.localcloud.hypervisor.processes import Processes, Setting, SpawnError
from infra.localcloud.hypervisor.supervisor import Supervisor

LINK = "eth0"
STOP_SECONDS = 25.0
"""Longest gentle stop of all units together; a stop by the cloud's API doesn't wait for ever either."""


def run(machine: Path, description: Mapping[str, Any], channel: socket.socket, *, single_user: bool) -> NoReturn:
    """Becomes the machine that ``machine.json`` describes; never returns.

    Args:
        machine: its folder on the host.
        description: see `hypervisor`.
        channel: the socket to the monitor.
        single_user: the machine has one user id only, because an ordinary user of the host started it.
    """
    code = 1
    try:
        console = os.open(machine / "console.log", os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if channel.recv(1) != b"\n":  # by now the monitor is this process's parent
                raise OSError("the monitor has ended")
            namespaces.die_with_parent(signal.SIGKILL)
            _enter(machine, description, channel, single_user=single_user)
            code = asyncio.run(_Init(description, channel, console, single_user=single_user).main())
        except OSError as error:
            _tell(channel, {"detail": f"cannot start: {error}"})
            os.write(console, f"cannot start: {error}\n".encode())
        except BaseException:  # PID 1 must say why it ends, then end
            os.write(console, traceback.format_exc().encode())
            raise
    finally:
        # The kernel ends every other process of the machine with this one.
        os._exit(code)


def _tell(channel: socket.socket, message: Mapping[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


def _enter(machine: Path, description: Mapping[str, Any], channel: socket.socket, *, single_user: bool) -> None:
    """Namespaces, network and root folder; the network's other end is made by the monitor in between."""
    spec = description["spec"]
    namespaces.unshare(namespaces.NEWNS | namespaces.NEWNET | namespaces.NEWUTS | namespaces.NEWIPC)
    namespaces.set_hostname(spec["hostname"])
    namespaces.set_process_name("init")
    _tell(channel, {"unshared": True})
    if channel.recv(1) != b"\n":  # the monitor has made the link
        raise OSError("the monitor has ended")
    netlink.configure_machine(IPv4Address(spec["address"]), LINK)
    mounts = [(mount["source"], mount["target"], mount["read_only"]) for mount in spec["mounts"]]
    root.build(
        machine,
        Image.load(description["image"]),
        hostname=spec["hostname"],
        address=spec["address"],
        mounts=mounts,
    )
    if single_user:
        seccomp.pretend_ownership()
    else:
        namespaces.drop_dangerous_capabilities()
    os.umask(0o022)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))


class _Init:
    """The machine's life after its world is built."""

    def __init__(
        self, description: Mapping[str, Any], channel: socket.socket, console: int, *, single_user: bool
    ) -> None:
        self._spec = description["spec"]
        self._user_data = description["user_data"]
        self._channel = channel
        self._console = console
        self._single_user = single_user

    async def main(self) -> int:
        """Runs until the machine ends; returns the exit code of PID 1."""
        self._ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._processes = Processes(single_user=self._single_user)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._end, "poweroff")
        self._channel.setblocking(False)
        reader, _ = await asyncio.open_unix_connection(sock=self._channel)
        listening = asyncio.create_task(self._listen(reader))
        try:
            if self._spec["kind"] == "pod":
                return await self._run_pod()
            return await self._run_instance()
        finally:
            listening.cancel()

    def _send(self, message: Mapping[str, Any]) -> None:
        """Messages are small and few: the socket's buffer holds them."""
        os.write(self._channel.fileno(), json.dumps(message).encode() + b"\n")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if json.loads(line)["op"] == "stop":
                self._end("poweroff")

    def _end(self, how: str) -> None:
        if not self._ending.done():
            self._ending.set_result(how)

    def _environment(self) -> dict[str, str]:
        environment = units.parse_environment_file(Path("/etc/environment").read_text())
        direct = f"{environment.get('NO_PROXY', '')},{self._spec['address']}"
        return {**environment, "NO_PROXY": direct, "no_proxy": direct, **self._spec["environment"]}

    # --- pods

    async def _run_pod(self) -> int:
        environment = {"HOME": "/root", "USER": "root", "HOSTNAME": self._spec["hostname"], **self._environment()}
        if "PATH" not in self._spec["environment"]:  # as in images for training, `python` is the one with packages
            environment["PATH"] = f"{VENV}/bin:{environment['PATH']}"
        setting = Setting(environment, "/root")
        with os.fdopen(os.dup(self._console), "ab", 0) as output:
            try:
                command = ["/bin/bash", "-c", self._spec["command"]]
                process = self._processes.spawn(command, setting, output=output)
            except SpawnError as error:
                output.write(f"{error}\n".encode())
                self._send({"exit": error.code, "detail": str(error)})
                return error.code
        self._send({"ready": True})
        running = asyncio.create_task(wait_for_exit(process))
        waiting: list[asyncio.Future[Any]] = [running, self._ending]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            # As a container's stop: SIGTERM to the command, SIGKILL to what is left.
            processes.signal_all(processes.members(None, process.pid), signal.SIGTERM)
            await asyncio.wait([running], timeout=STOP_SECONDS)
        if not running.done():
            processes.signal_all({process.pid}, signal.SIGKILL)
        code = await running
        self._send({"exit": code})
        return code

    # --- instances

    async def _run_instance(self) -> int:
        journal = Journal(self._console)
        journal.console(f"Booting {self._spec['hostname']} ({self._spec['id']}), Alibaba Cloud Linux 3, local image")
        environment = self._environment()
        supervisor = Supervisor(journal, self._processes, environment)
        server = await Control(supervisor, self._end).serve()
        self._send({"ready": True})
        self._send({"boot": "running"})
        boot = Boot(self._spec["id"], self._user_data, journal, self._processes, environment)
        booting = asyncio.create_task(self._boot(boot, supervisor, journal))
        how = await self._ending
        booting.cancel()
        journal.console(f"Going down: {how}")
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await supervisor.stop_all()
        except TimeoutError:
            journal.console("Units did not stop in time; killing them")
        server.close()
        self._send({"end": how})
        return 0

    async def _boot(self, boot: Boot, supervisor: Supervisor, journal: Journal) -> None:
        try:
            await boot.before_units()
            await supervisor.start_enabled()
            await boot.after_units()
        except Exception as error:
            journal.console("".join(traceback.format_exception(error)))
            self._send({"boot": "failed", "detail": f"internal error: {error!r}"})
            raise
        if boot.errors:
            self._send({"boot": "failed", "detail": boot.errors[0].splitlines()[0]})
        else:
            self._send({"boot": "done"})
