"""Runs units as systemd does: order, readiness, restarts, stopping, and the answers to `systemctl`."""

# ruff: noqa: ASYNC230, ASYNC240 - init has one thread, so that it may fork; its files are small and local.

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from infra.localcloud.hypervisor import processes, units
from infra.localcloud.hypervisor.journal import Journal
from infra.localcloud.hypervisor.processes import Account, Process, Processes, Setting, SpawnError
from infra.localcloud.hypervisor.units import Command, Unit, UnitError

UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system")
NOTIFY_FOLDER = "/run/systemd/notify"
# What is always there when units start: the network, the disks, and what orders them.
_ALWAYS_ACTIVE = ".target"
_POLL_SECONDS = 0.1


class StartError(RuntimeError):
    """A unit did not start; the text is the reason."""


class Service:
    """A unit while the machine runs."""

    def __init__(self, unit: Unit, supervisor: Supervisor) -> None:
        self.unit = unit
        self.state = "inactive"  # activating, active, deactivating, failed
        self.result = "success"
        self.main: Process | None = None
        self.exit_code = 0
        self.restarts = 0
        self.since = time.time()
        self._supervisor = supervisor
        self._invocation = ""
        self._starts: deque[float] = deque()
        self._lock = asyncio.Lock()
        self._restart: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stopping = False

    # --- what systemctl asks for

    async def start(self) -> None:
        """Starts the unit unless it is active; returns when it is ready.

        Raises:
            StartError: it failed, or was started too often.
        """
        self._cancel_restart()
        async with self._lock:
            if self.state == "active":
                return
            await self._start()

    async def stop(self) -> None:
        """Ends every process of the unit: the signal, then SIGKILL after the unit's time."""
        self._cancel_restart()
        self._stopping = True
        try:
            # A start that is under way is cut short by ending its processes.
            if self._lock.locked():
                await self._end_processes()
            async with self._lock:
                if self.state in ("active", "activating") or self.main is not None:
                    await self._stop()
                if self.state != "failed":
                    self._change("inactive")
        finally:
            self._stopping = False

    async def reload(self) -> None:
        """Runs the unit's ExecReload.

        Raises:
            StartError: it is not active, has none, or one failed.
        """
        if self.state != "active" or not self.unit.exec_reload:
            raise StartError(f"Job type reload is not applicable for unit {self.unit.name}.")
        await self._run_all(self.unit.exec_reload, self.unit.timeout_start, "reload")

    def kill(self, number: int) -> None:
        """Sends a signal to every process of the unit."""
        processes.signal_all(self._members(), number)

    def reset(self) -> None:
        """Forgets a failure and the starts that count towards the limit."""
        self._starts.clear()
        if self.state == "failed":
            self._change("inactive")
            self.result = "success"

    def sub_state(self) -> str:
        """The second word that `systemctl status` shows."""
        if self._restart is not None:
            return "auto-restart"
        if self.state == "active":
            return "running" if self.main is not None else "exited"
        return {"inactive": "dead", "activating": "start", "deactivating": "stop-sigterm"}.get(self.state, self.state)

    # --- starting

    async def _start(self) -> None:
        unit = self.unit
        missing = next((path for path in unit.condition_path_exists if not _condition_holds(path)), None)
        if missing is not None:
            self._log(
                f"{self._title()} was skipped because of an unmet condition check (ConditionPathExists={missing})."
            )
            return
        self._count_start()
        self._invocation = uuid.uuid4().hex
        self._change("activating")
        self._log(f"Starting {self._title()}...")
        try:
            async with asyncio.timeout(None if unit.timeout_start == float("inf") else unit.timeout_start):
                await self._launch()
        except TimeoutError:
            await self._failed_start("timeout", "start operation timed out. Terminating.")
        except SpawnError as error:
            self.exit_code = error.code
            await self._failed_start("exit-code", f"Failed to start: {error} (status={error.code})")
        except StartError as error:
            await self._failed_start("exit-code", str(error))
        if self._stopping:
            raise StartError(f"Job for {unit.name} was canceled.")
        if unit.type == "oneshot" and not unit.remain_after_exit:
            self._change("inactive")
            self._log(f"Finished {self._title()}.")
            return
        self._change("active")
        self._log(f"{'Finished' if unit.type == 'oneshot' else 'Started'} {self._title()}.")
        if self.main is not None:
            self._watcher = self._supervisor.spawn_task(self._watch(self.main))

    async def _launch(self) -> None:
        unit = self.unit
        self._make_directories()
        await self._run_all(unit.exec_start_pre, float("inf"), "start-pre")
        if unit.type == "oneshot":
            await self._run_all(unit.exec_start, float("inf"), "start")
        elif unit.type == "forking":
            await self._run_all(unit.exec_start, float("inf"), "start")
            self.main = await self._forked_main()
        else:
            notify = _NotifySocket(unit.name) if unit.type == "notify" else None
            try:
                extra = {"NOTIFY_SOCKET": notify.path} if notify else {}
                self.main = await self._spawn(unit.exec_start[0], extra)
                if notify:
                    await self._ready(notify, self.main)
            finally:
                if notify:
                    notify.close()
        await self._run_all(unit.exec_start_post, float("inf"), "start-post")

    async def _ready(self, notify: _NotifySocket, main: Process) -> None:
        while not notify.ready():
            if main.exited.done():
                self.exit_code = main.exited.result()
                raise StartError(f"Main process exited before it was ready, {_describe(self.exit_code)}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _forked_main(self) -> Process | None:
        """The daemon that the start command left behind: by PIDFile=, else the unit's only process."""
        if not self.unit.pid_file:
            found = self._members()
            return self._supervisor.processes.watch(min(found)) if found else None
        while True:
            with contextlib.suppress(OSError, ValueError):
                return self._supervisor.processes.watch(int(Path(self.unit.pid_file).read_text()))
            await asyncio.sleep(_POLL_SECONDS)

    async def _failed_start(self, result: str, reason: str) -> None:
        self._log(f"{self.unit.name}: {reason}")
        await self._end_processes()
        self._failed(result)
        if not self._stopping and self.unit.restart in ("always", "on-failure"):
            self._schedule_restart()
        raise StartError(
            f"Job for {self.unit.name} failed because the control process exited with error code: {reason}\n"
            f'See "systemctl status {self.unit.name}" and "journalctl -u {self.unit.name}" for details.'
        )

    def _count_start(self) -> None:
        """Refuses the start when there were too many of late, StartLimitIntervalSec= and StartLimitBurst=."""
        unit, now = self.unit, time.monotonic()
        while self._starts and now - self._starts[0] > unit.start_limit_interval:
            self._starts.popleft()
        if unit.start_limit_interval > 0 and len(self._starts) >= unit.start_limit_burst > 0:
            self._log(f"{unit.name}: Start request repeated too quickly.")
            self._failed("start-limit-hit")
            raise StartError(f"Job for {unit.name} failed: start request repeated too quickly.")
        self._starts.append(now)

    # --- running

    async def _watch(self, main: Process) -> None:
        """Waits for the main process to end by itself, then does what Restart= says."""
        code = await asyncio.shield(main.exited)
        async with self._lock:
            if self.main is not main:
                return  # it was stopped
            self.main, self.exit_code = None, code
            clean = self.unit.succeeded(code)
            self._log(f"{self.unit.name}: Main process exited, {_describe(code)}")
            await self._end_processes()
            with contextlib.suppress(StartError, SpawnError, TimeoutError):
                await self._run_all(self.unit.exec_stop_post, self.unit.timeout_stop, "stop-post")
            if clean:
                self._change("inactive")
                self._log(f"{self.unit.name}: Deactivated successfully.")
            else:
                self._failed("signal" if code < 0 else "exit-code")
            if self.unit.restarts_after(code):
                self._schedule_restart()

    def _schedule_restart(self) -> None:
        if self._restart is None or self._restart.done():
            self._restart = self._supervisor.spawn_task(self._restart_later())

    async def _restart_later(self) -> None:
        await asyncio.sleep(self.unit.restart_seconds)
        self.restarts += 1
        self._log(f"{self.unit.name}: Scheduled restart job, restart counter is at {self.restarts}.")
        self._restart = None
        with contextlib.suppress(StartError):  # its reason is in the journal
            async with self._lock:
                if self.state != "active":
                    await self._start()

    def _cancel_restart(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None

    # --- stopping

    async def _stop(self) -> None:
        self._log(f"Stopping {self._title()}...")
        self._change("deactivating")
        main = self.main
        if main is not None and not main.exited.done():
            try:
                await self._run_all(self.unit.exec_stop, self.unit.timeout_stop, "stop")
            except (StartError, SpawnError, TimeoutError) as error:
                self._log(f"{self.unit.name}: ExecStop: {error or 'timed out'}")
        await self._end_processes()
        self.main = None
        if main is not None and main.exited.done():
            self.exit_code = main.exited.result()
        with contextlib.suppress(StartError, SpawnError, TimeoutError):
            await self._run_all(self.unit.exec_stop_post, self.unit.timeout_stop, "stop-post")
        self._change("inactive")
        self._log(f"Stopped {self._title()}.")

    async def _end_processes(self) -> None:
        """KillSignal to the unit's processes, SIGKILL to those that are left after TimeoutStopSec."""
        main_only = self.unit.kill_mode in ("mixed", "process") and self.main is not None
        first = {self.main.pid} if main_only and self.main is not None else self._members()
        processes.signal_all(first, self.unit.kill_signal)
        processes.signal_all(first, signal.SIGCONT)
        deadline = time.monotonic() + self.unit.timeout_stop
        pause = 0.01
        while left := self._members():
            if self.unit.kill_mode == "process" and (self.main is None or self.main.exited.done()):
                return
            if self.unit.kill_mode == "mixed" and (self.main is None or self.main.exited.done()):
                processes.signal_all(left, signal.SIGKILL)
            elif time.monotonic() > deadline:
                self._log(f"{self.unit.name}: State 'stop-sigterm' timed out. Killing.")
                processes.signal_all(left, signal.SIGKILL)
                deadline = time.monotonic() + 5
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.2)

    # --- processes

    def _members(self) -> set[int]:
        if not self._invocation:
            return set()
        running = self.main is not None and not self.main.exited.done()
        return processes.members(
            f"INVOCATION_ID={self._invocation}", self.main.pid if running and self.main else None
        )

    async def _run_all(self, commands: Sequence[Command], seconds: float, step: str) -> None:
        """Runs commands one after the other.

        Raises:
            StartError: one failed and its failure counts.
            TimeoutError: they took too long.
        """
        async with asyncio.timeout(None if seconds == float("inf") else seconds):
            for command in commands:
                try:
                    process = await self._spawn(command)
                except SpawnError:
                    if command.ignore_failure:
                        continue
                    raise
                code = await asyncio.shield(process.exited)
                if code != 0 and code not in self.unit.success_exit_status and not command.ignore_failure:
                    self.exit_code = code
                    raise StartError(f"Control process ({step}: {command.arguments[0]}) exited, {_describe(code)}")

    async def _spawn(self, command: Command, extra: Mapping[str, str] | None = None) -> Process:
        unit = self.unit
        account = None
        if (unit.user or unit.group) and not command.privileged:
            account = processes.find_account(unit.user or "root", unit.group, unit.supplementary_groups)
        environment = self._environment(account, extra or {})
        arguments = units.expand_variables(command.arguments, environment)
        directory = unit.working_directory
        if directory == "~":
            directory = account.home if account else "/root"
        if directory.startswith("-"):
            directory = directory[1:] if Path(directory[1:]).is_dir() else "/"
        setting = Setting(
            environment, directory or "/", account, unit.limits, unit.umask, unit.nice, unit.no_new_privileges
        )
        identifier = Path(command.arguments[0]).name
        pid = [0]

        def write(line: str) -> None:
            self._supervisor.journal.write(unit.name, line, identifier, pid[0])

        async with contextlib.AsyncExitStack() as opened:
            output = await self._output(unit.standard_output, write, opened)
            inherits = unit.standard_error in ("inherit", unit.standard_output)
            errors = subprocess.STDOUT if inherits else await self._output(unit.standard_error, write, opened)
            process = self._supervisor.processes.spawn(arguments, setting, output=output, errors=errors)
        pid[0] = process.pid
        return process

    async def _output(
        self, kind: str, write: Callable[[str], None], opened: contextlib.AsyncExitStack
    ) -> int | IO[bytes]:
        if kind == "null":
            return subprocess.DEVNULL
        if kind in ("journal", "inherit"):
            return opened.enter_context(await processes.line_pipe(write))
        mode, _, path = kind.partition(":")
        return opened.enter_context(Path(path).open({"append": "ab", "truncate": "wb", "file": "r+b"}[mode]))

    def _environment(self, account: Account | None, extra: Mapping[str, str]) -> dict[str, str]:
        unit = self.unit
        values = dict(self._supervisor.environment)
        if account is not None:
            values |= {"HOME": account.home, "USER": account.name, "LOGNAME": account.name, "SHELL": account.shell}
        else:
            values |= {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash"}
        values |= {"INVOCATION_ID": self._invocation, **extra}
        if self.main is not None:
            values["MAINPID"] = str(self.main.pid)
        for variable, names in (("RUNTIME", unit.runtime_directories), ("STATE", unit.state_directories)):
            if names:
                base = "/run" if variable == "RUNTIME" else "/var/lib"
                values[f"{variable}_DIRECTORY"] = ":".join(f"{base}/{name}" for name in names)
        values |= unit.environment
        for path in unit.environment_files:
            optional, path = path.startswith("-"), path.removeprefix("-")
            try:
                values |= units.parse_environment_file(Path(path).read_text())
            except OSError as error:
                if not optional:
                    raise StartError(f"Failed to load environment file {path}: {error.strerror}") from error
        return values

    def _make_directories(self) -> None:
        unit = self.unit
        account = processes.find_account(unit.user or "root", unit.group)
        places = {
            "/run": unit.runtime_directories,
            "/var/lib": unit.state_directories,
            "/var/cache": unit.cache_directories,
            "/var/log": unit.logs_directories,
        }
        for base, names in places.items():
            for name in names:
                folder = Path(base, name)
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(unit.directory_mode)
                os.chown(folder, account.uid, account.gid)

    # --- telling

    def _title(self) -> str:
        return f"{self.unit.name} - {self.unit.description}" if self.unit.description else self.unit.name

    def _log(self, message: str) -> None:
        self._supervisor.journal.write(self.unit.name, message)

    def _change(self, state: str) -> None:
        if state != self.state:
            self.state, self.since = state, time.time()

    def _failed(self, result: str) -> None:
        self.result, self.main = result, None
        self._change("failed")
        self._log(f"{self.unit.name}: Failed with result '{result}'.")


class Supervisor:
    """The units of a machine."""

    def __init__(
        self,
        journal: Journal,
        machine_processes: Processes,
        environment: Mapping[str, str],
        folders: Sequence[str] = UNIT_FOLDERS,
    ) -> None:
        self.journal = journal
        self.processes = machine_processes
        self.environment = environment
        self._folders = [Path(folder) for folder in folders]
        self._services: dict[str, Service] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[str, asyncio.Task[None]] = {}

    def spawn_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` beside; what it raises goes to the console."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.journal.console(f"internal error: {error!r}", "systemd[1]")

    # --- units

    def service(self, name: str) -> Service:
        """The unit of that name, loaded from its file when it isn't yet.

        Raises:
            UnitError: there is no such file, or it can't be run.
        """
        name = units.full_name(name)
        if name not in self._services:
            path = self._find(name)
            if path is None:
                raise UnitError(f"Unit {name} not found.")
            canonical = path.resolve().name if "@" not in name else name
            if canonical != name and self._find(canonical) is not None:
                return self.service(canonical)
            self._services[name] = Service(self._load(name, path), self)
        return self._services[name]

    def unit_file(self, name: str) -> Path:
        """Where the unit is written.

        Raises:
            UnitError: nowhere.
        """
        path = self._find(units.full_name(name))
        if path is None:
            raise UnitError(f"Unit {units.full_name(name)} not found.")
        return path

    def _find(self, name: str) -> Path | None:
        stem, _, kind = name.rpartition(".")
        names = [name] + ([f"{stem.partition('@')[0]}@.{kind}"] if "@" in stem else [])
        for candidate in names:
            for folder in self._folders:
                if (folder / candidate).is_file():
                    return folder / candidate
        return None

    def _load(self, name: str, path: Path) -> Unit:
        text = path.read_text()
        for drop_in in sorted(path.parent.glob(f"{name}.d/*.conf")):
            text += f"\n{drop_in.read_text()}"
        unit = units.parse(text, name, socket.gethostname())
        for warning in unit.warnings:
            self.journal.write(name, warning)
        return unit

    def daemon_reload(self) -> None:
        """Reads every loaded unit file again; what runs keeps running."""
        for name, service in list(self._services.items()):
            path = self._find(name)
            if path is None:
                if service.state in ("inactive", "failed"):
                    del self._services[name]
                continue
            try:
                service.unit = self._load(name, path)
            except UnitError as error:
                self.journal.write(name, str(error))

    # --- jobs

    async def start(self, names: Sequence[str]) -> None:
        """Starts units with what they require and want, in the order that After= gives.

        Raises:
            StartError: one of `names`, or one that it requires, did not start; every reason in its text.
        """
        wanted: dict[str, Service] = {}
        for name in names:
            self._collect(name, wanted)
        started = {name: asyncio.create_task(self._start_one(service, wanted)) for name, service in wanted.items()}
        self._starting |= started
        results = await asyncio.gather(*started.values(), return_exceptions=True)
        errors = []
        for name, result in zip(started, results, strict=True):
            self._starting.pop(name, None)
            if isinstance(result, StartError):
                if name in map(units.full_name, names):
                    errors.append(str(result))
            elif isinstance(result, BaseException):
                raise result
        if errors:
            raise StartError("\n".join(errors))

    def _collect(self, name: str, wanted: dict[str, Service]) -> None:
        name = units.full_name(name)
        if name.endswith(_ALWAYS_ACTIVE) and self._find(name) is None:
            return
        service = self.service(name)
        if service.unit.name in wanted:
            return
        wanted[service.unit.name] = service
        for required in service.unit.requires:
            self._collect(required, wanted)
        for other in service.unit.wants:
            with contextlib.suppress(UnitError):
                self._collect(other, wanted)

    async def _start_one(self, service: Service, wanted: Mapping[str, Service]) -> None:
        for name in service.unit.after:
            if name in wanted and service.unit.name not in wanted[name].unit.after:
                with contextlib.suppress(StartError):
                    await self._wait_for(name)
        for name in service.unit.requires:
            required = wanted.get(name)
            if required is not None and name in service.unit.after and required.state == "failed":
                raise StartError(f"A dependency job for {service.unit.name} failed: {name}.")
        if service.unit.name.endswith(".target"):
            service.state = "active"
            return
        await service.start()

    async def _wait_for(self, name: str) -> None:
        task = self._starting.get(name)
        if task is not None:
            await asyncio.wait([task])

    async def start_enabled(self) -> None:
        """Starts what is enabled, as the boot's target does; failures are in the journal."""
        names = self.enabled()
        loaded = []
        for name in names:
            try:
                self.service(name)
                loaded.append(name)
            except UnitError as error:
                self.journal.write(name, str(error))
        if loaded:
            with contextlib.suppress(StartError):
                await self.start(loaded)

    async def stop_all(self) -> None:
        """Stops every unit, those that others come after last."""
        left = {name: service for name, service in self._services.items() if not name.endswith(".target")}
        while left:
            last = [n for n in left if not any(n in other.unit.after for m, other in left.items() if m != n)]
            batch = last or list(left)
            await asyncio.gather(*(left[name].stop() for name in batch))
            for name in batch:
                del left[name]

    # --- enabling

    def enabled(self) -> list[str]:
        """Units that boot starts."""
        found: set[str] = set()
        for target in ("multi-user.target", "default.target", "graphical.target"):
            found |= {path.name for path in (self._folders[0] / f"{target}.wants").glob("*")}
        return sorted(found)

    def enable(self, name: str) -> str:
        """Makes the links that [Install] asks for; returns what `systemctl` prints.

        Raises:
            UnitError: no such unit, or its file has no [Install] section.
        """
        unit = self.service(name).unit
        path = self._find(unit.name)
        if not unit.wanted_by or path is None:
            raise UnitError(f"The unit files of {unit.name} have no installation config (WantedBy=).")
        lines = []
        for target in unit.wanted_by:
            link = self._folders[0] / f"{target}.wants" / unit.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(path)
                lines.append(f"Created symlink {link} -> {path}.\n")
        for alias in unit.aliases:
            link = self._folders[0] / alias
            if not link.is_symlink():
                link.symlink_to(path)
                lines.append(f"Created symlink {link} -> {path}.\n")
        return "".join(lines)

    def disable(self, name: str) -> str:
        """Removes the links of `enable`."""
        full = units.full_name(name)
        lines = []
        for link in self._folders[0].glob(f"*.wants/{full}"):
            link.unlink()
            lines.append(f"Removed {link}.\n")
        return "".join(lines)

    def is_enabled(self, name: str) -> bool:
        """Whether a link of `enable` is there."""
        return any(self._folders[0].glob(f"*.wants/{units.full_name(name)}"))

    def listed(self) -> list[Service]:
        """Every loaded unit, by name."""
        return [self._services[name] for name in sorted(self._services)]


class _NotifySocket:
    """Where a Type=notify service says that it is ready, sd_notify(3)."""

    def __init__(self, name: str) -> None:
        Path(NOTIFY_FOLDER).mkdir(parents=True, exist_ok=True)
        self.path = f"{NOTIFY_FOLDER}/{name}"
        Path(self.path).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(self.path)
        Path(self.path).chmod(0o777)
        self._ready = False

    def ready(self) -> bool:
        """Whether READY=1 arrived."""
        while not self._ready:
            try:
                message = self._socket.recv(4096)
            except BlockingIOError:
                break
            self._ready = b"READY=1" in message.split(b"\n")
        return self._ready

    def close(self) -> None:
        """Takes the socket away."""
        self._socket.close()
        Path(self.path).unlink(missing_ok=True)


def _condition_holds(path: str) -> bool:
    return not Path(path[1:]).exists() if path.startswith("!") else Path(path).exists()


def _describe(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name.removeprefix("SIG") if -code in set(signal.Signals) else str(-code)
        return f"code=killed, status={-code}/{name}"
    return f"code=exited, status={code}/{'SUCCESS' if code == 0 else 'FAILURE'}"
