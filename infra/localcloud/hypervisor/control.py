"""What the guest tools ask of init: a request a connection on a Unix socket, answered as the original tool would."""

# ruff: noqa: ASYNC240 - init has one thread, so that it may fork; its files are small and local.

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.localcloud.hypervisor import units
from infra.localcloud.hypervisor.guest import CONTROL_SOCKET, JOURNAL
from infra.localcloud.hypervisor.supervisor import Service, StartError, Supervisor
from infra.localcloud.hypervisor.units import UnitError

Reply = dict[str, Any]
_ROOT_VERBS = frozenset(
    {
        "start",
        "stop",
        "restart",
        "try-restart",
        "reload",
        "reload-or-restart",
        "enable",
        "disable",
        "reenable",
        "daemon-reload",
        "kill",
        "reset-failed",
    }
)


def reply(code: int = 0, out: str = "", err: str = "") -> Reply:
    """Exit status, standard output and standard error of the tool."""
    return {"code": code, "out": out, "err": err}


class Control:
    """Answers requests; ending the machine is left to `shut_down`, which gets ``poweroff`` or ``reboot``."""

    def __init__(self, supervisor: Supervisor, shut_down: Callable[[str], None]) -> None:
        self._supervisor = supervisor
        self._shut_down = shut_down
        self._verbs: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Reply]]] = {
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "try-restart": self._restart,
            "reload": self._reload,
            "reload-or-restart": self._reload,
            "enable": self._enable,
            "reenable": self._enable,
            "disable": self._disable,
            "daemon-reload": self._daemon_reload,
            "is-active": self._is_active,
            "is-failed": self._is_failed,
            "is-enabled": self._is_enabled,
            "is-system-running": self._is_system_running,
            "status": self._status,
            "show": self._show,
            "cat": self._cat,
            "list-units": self._list_units,
            "kill": self._kill,
            "reset-failed": self._reset_failed,
        }

    async def serve(self, path: str = CONTROL_SOCKET) -> asyncio.Server:
        """Listens for the tools; every user of the machine may ask, root alone may change."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._connection, path)
        Path(path).chmod(0o666)
        return server

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if not line:
                return
            connection: socket.socket = writer.get_extra_info("socket")
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            _, uid, _ = struct.unpack("3i", credentials)
            answer = await self.handle(json.loads(line), root=uid == 0)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except ConnectionError:
            pass  # the tool was ended; what it asked for goes on
        finally:
            writer.close()

    async def handle(self, request: Mapping[str, Any], *, root: bool) -> Reply:
        """Answers one request."""
        operation, verb = request["op"], request.get("verb", "")
        if operation in ("poweroff", "halt", "reboot"):
            if not root:
                return reply(1, err="Access denied: only root can end the machine.\n")
            self._shut_down("reboot" if operation == "reboot" else "poweroff")
            return reply()
        if verb not in self._verbs:
            return reply(1, err=f"systemctl: {verb!r} is not supported on this image\n")
        if verb in _ROOT_VERBS and not root:
            return reply(1, err=f"Access denied: only root can {verb} units.\n")
        if not request["units"] and verb not in ("daemon-reload", "list-units", "is-system-running", "reset-failed"):
            return reply(1, err=f"systemctl: {verb} needs at least one unit\n")
        try:
            return await self._verbs[verb](request)
        except UnitError as error:
            return reply(5, err=f"Failed to {verb} {' '.join(request['units'])}: {error}\n")

    # --- changing

    async def _start(self, request: Mapping[str, Any]) -> Reply:
        for name in request["units"]:
            self._supervisor.service(name)
        job = self._supervisor.start(request["units"])
        if not request["block"]:
            self._supervisor.spawn_task(_quietly(job))
            return reply()
        try:
            await job
        except StartError as error:
            return reply(1, err=f"{error}\n")
        return reply()

    async def _stop(self, request: Mapping[str, Any]) -> Reply:
        services = [self._supervisor.service(name) for name in request["units"]]
        stops = [self._supervisor.spawn_task(service.stop()) for service in services]
        if request["block"]:
            await asyncio.wait(stops)
        return reply()

    async def _restart(self, request: Mapping[str, Any]) -> Reply:
        services = [self._supervisor.service(name) for name in request["units"]]
        if request["verb"] == "try-restart":
            services = [service for service in services if service.state == "active"]
        for service in services:
            await service.stop()
            service.reset()
        return await self._start({**request, "units": [service.unit.name for service in services]})

    async def _reload(self, request: Mapping[str, Any]) -> Reply:
        for name in request["units"]:
            service = self._supervisor.service(name)
            if request["verb"] == "reload-or-restart" and not service.unit.exec_reload:
                answer = await self._restart({**request, "units": [name]})
                if answer["code"]:
                    return answer
                continue
            try:
                await service.reload()
            except StartError as error:
                return reply(1, err=f"{error}\n")
        return reply()

    async def _enable(self, request: Mapping[str, Any]) -> Reply:
        out = "".join(self._supervisor.enable(name) for name in request["units"])
        answer = await self._start(request) if request["now"] else reply()
        return {**answer, "err": out + answer["err"]}

    async def _disable(self, request: Mapping[str, Any]) -> Reply:
        out = "".join(self._supervisor.disable(name) for name in request["units"])
        answer = await self._stop(request) if request["now"] else reply()
        return {**answer, "err": out + answer["err"]}

    async def _daemon_reload(self, _: Mapping[str, Any]) -> Reply:
        self._supervisor.daemon_reload()
        return reply()

    async def _kill(self, request: Mapping[str, Any]) -> Reply:
        name = request["signal"]
        number = int(name) if name.isdigit() else signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
        for unit in request["units"]:
            self._supervisor.service(unit).kill(number)
        return reply()

    async def _reset_failed(self, request: Mapping[str, Any]) -> Reply:
        chosen = [self._supervisor.service(name) for name in request["units"]] or self._supervisor.listed()
        for service in chosen:
            service.reset()
        return reply()

    # --- telling

    def _state(self, name: str) -> str:
        try:
            return self._supervisor.service(name).state
        except UnitError:
            return (
                "active" if name in ("multi-user.target", "network-online.target", "network.target") else "inactive"
            )

    async def _is_active(self, request: Mapping[str, Any]) -> Reply:
        states = [self._state(name) for name in request["units"]]
        return reply(0 if "active" in states else 3, "".join(f"{state}\n" for state in states))

    async def _is_failed(self, request: Mapping[str, Any]) -> Reply:
        states = [self._state(name) for name in request["units"]]
        return reply(0 if "failed" in states else 1, "".join(f"{state}\n" for state in states))

    async def _is_enabled(self, request: Mapping[str, Any]) -> Reply:
        words = []
        for name in request["units"]:
            static = not self._supervisor.service(name).unit.wanted_by
            words.append("static" if static else "enabled" if self._supervisor.is_enabled(name) else "disabled")
        return reply(0 if any(word != "disabled" for word in words) else 1, "".join(f"{word}\n" for word in words))

    async def _is_system_running(self, _: Mapping[str, Any]) -> Reply:
        degraded = any(service.state == "failed" for service in self._supervisor.listed())
        return reply(1 if degraded else 0, "degraded\n" if degraded else "running\n")

    async def _status(self, request: Mapping[str, Any]) -> Reply:
        out, code = [], 0
        for name in request["units"]:
            service = self._supervisor.service(name)
            out.append(self._describe(service))
            if service.state not in ("active", "activating"):
                code = 3
        return reply(code, "\n".join(out))

    def _describe(self, service: Service) -> str:
        unit = service.unit
        enabled = "enabled" if self._supervisor.is_enabled(unit.name) else "disabled"
        stamp = time.strftime("%a %Y-%m-%d %H:%M:%S %Z", time.localtime(service.since))
        mark = {"active": "●", "failed": "x"}.get(service.state, "○")
        why = f" (Result: {service.result})" if service.state == "failed" else f" ({service.sub_state()})"
        lines = [
            f"{mark} {unit.name} - {unit.description or unit.name}",
            f"     Loaded: loaded ({enabled})",
            f"     Active: {service.state}{why} since {stamp}",
        ]
        if service.main is not None:
            command = Path(unit.exec_start[0].arguments[0]).name if unit.exec_start else ""
            lines.append(f"   Main PID: {service.main.pid} ({command})")
        return "\n".join([*lines, "", *_last_lines(unit.name)]) + "\n"

    async def _show(self, request: Mapping[str, Any]) -> Reply:
        out = []
        for name in request["units"]:
            service = self._supervisor.service(name)
            values = {
                "Id": service.unit.name,
                "Description": service.unit.description,
                "LoadState": "loaded",
                "ActiveState": service.state,
                "SubState": service.sub_state(),
                "Result": service.result,
                "MainPID": str(service.main.pid if service.main else 0),
                "ExecMainStatus": str(abs(service.exit_code)),
                "NRestarts": str(service.restarts),
                "Type": service.unit.type,
                "Restart": service.unit.restart,
                "User": service.unit.user,
                "UnitFileState": "enabled" if self._supervisor.is_enabled(service.unit.name) else "disabled",
            }
            for key in request["properties"] or values:
                if key in values:
                    out.append(values[key] if request["value"] else f"{key}={values[key]}")
        return reply(0, "".join(f"{line}\n" for line in out))

    async def _cat(self, request: Mapping[str, Any]) -> Reply:
        out = []
        for name in request["units"]:
            path = self._supervisor.unit_file(name)
            out.append(f"# {path}\n{path.read_text()}")
        return reply(0, "\n".join(out))

    async def _list_units(self, _: Mapping[str, Any]) -> Reply:
        rows = [
            f"  {each.unit.name:36} loaded {each.state:10} {each.sub_state():12} {each.unit.description}\n"
            for each in self._supervisor.listed()
        ]
        return reply(0, "".join(rows))


async def _quietly(job: Awaitable[None]) -> None:
    with contextlib.suppress(StartError):  # its reason is in the journal
        await job


def _last_lines(name: str, count: int = 10) -> Sequence[str]:
    path = Path(JOURNAL, f"{units.full_name(name)}.jsonl")
    if not path.exists():
        return []
    lines = []
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 65536))
        for line in file.read().splitlines()[-count:]:
            with contextlib.suppress(ValueError):  # the first may be cut
                entry = json.loads(line)
                stamp = time.strftime("%b %d %H:%M:%S", time.localtime(entry["time"]))
                lines.append(f"{stamp} {entry['identifier']}[{entry['pid']}]: {entry['message']}")
    return lines
