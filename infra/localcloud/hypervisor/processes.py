"""Starting and reaping processes, as PID 1 of a machine has to: accounts, limits, output by the line."""

from __future__ import annotations

import asyncio
import math
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from infra.localcloud.hypervisor import guest, namespaces

EXIT_CHDIR = 200
EXIT_EXEC = 203
EXIT_USER = 217
"""Exit statuses of systemd.exec(5) for what fails before the program runs."""


class SpawnError(RuntimeError):
    """A process could not be started; `code` is the exit status that systemd reports."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Account:
    """A user of the machine with the groups that its processes get."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


def find_account(user: str, group: str = "", supplementary: Sequence[str] = (), etc: Path = Path("/etc")) -> Account:
    """Looks the names (or numbers) up in the machine's own tables.

    Raises:
        SpawnError: there is no such user or group.
    """
    groups = guest.read_table(etc / "group")

    def gid_of(name: str) -> int:
        for row in groups:
            if name in (row[0], row[2]):
                return int(row[2])
        raise SpawnError(EXIT_USER, f"group {name} does not exist")

    for name, _, uid, gid, _, home, shell in guest.read_table(etc / "passwd"):
        if user in (name, uid):
            member = [int(row[2]) for row in groups if name in row[3].split(",")]
            extra = [*member, *map(gid_of, supplementary)]
            return Account(name, int(uid), gid_of(group) if group else int(gid), tuple(extra), home, shell)
    raise SpawnError(EXIT_USER, f"user {user} does not exist")


@dataclass(frozen=True)
class Setting:
    """How a process runs: everything but its command line."""

    environment: Mapping[str, str]
    directory: str = "/"
    account: Account | None = None  # None: root
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    umask: int = 0o022
    nice: int = 0
    no_new_privileges: bool = False


@dataclass(frozen=True)
class Process:
    """A running child; `exited` gets the exit code, or the negative number of the signal that ended it."""

    pid: int
    exited: asyncio.Future[int]


class Processes:
    """Starts children and reaps them and every orphan of the machine. One per event loop."""

    def __init__(self, *, single_user: bool) -> None:
        self._single_user = single_user
        self._watched: dict[int, asyncio.Future[int]] = {}
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)

    def reap(self) -> None:
        """Collects every ended child and tells those who wait for it."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            watched = self._watched.pop(pid, None)
            if watched is not None and not watched.done():
                watched.set_result(os.waitstatus_to_exitcode(status))

    def watch(self, pid: int) -> Process:
        """A process that is, or as an orphan will become, a child of this one."""
        if pid not in self._watched:
            self._watched[pid] = asyncio.get_running_loop().create_future()
        return Process(pid, self._watched[pid])

    def spawn(
        self,
        command: Sequence[str],
        setting: Setting,
        *,
        output: int | IO[bytes] = subprocess.DEVNULL,
        errors: int | IO[bytes] = subprocess.STDOUT,
    ) -> Process:
        """Starts a program in a session of its own.

        Raises:
            SpawnError: the folder, the program or the account can't be used.
        """
        program = command[0]
        if "/" not in program:
            found = shutil.which(program, path=setting.environment.get("PATH"))
            if found is None:
                raise SpawnError(EXIT_EXEC, f"{program}: command not found")
            program = found
        if not Path(setting.directory).is_dir():
            raise SpawnError(EXIT_CHDIR, f"{setting.directory}: no such directory")
        try:
            child = subprocess.Popen(
                command,
                executable=program,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=setting.directory,
                env=dict(setting.environment),
                umask=setting.umask,
                start_new_session=True,
                preexec_fn=self._preparation(setting),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SpawnError(EXIT_EXEC, f"{program}: {error}") from error
        child.returncode = 0  # `reap` collects it, not Popen
        return self.watch(child.pid)

    def _preparation(self, setting: Setting) -> Callable[[], None]:
        account, single_user = setting.account, self._single_user

        def prepare() -> None:
            for name, (soft, hard) in setting.limits.items():
                _limit(getattr(resource, f"RLIMIT_{name}"), soft, hard)
            if setting.nice:
                os.nice(setting.nice)
            if account is not None and account.uid != 0:
                if single_user:
                    namespaces.enter_user_namespace(account.uid, account.gid)
                else:
                    os.setgroups([account.gid, *account.groups])
                    os.setresgid(account.gid, account.gid, account.gid)
                    os.setresuid(account.uid, account.uid, account.uid)
            if setting.no_new_privileges:
                namespaces.no_new_privileges()

        return prepare


def _limit(kind: int, soft: float, hard: float) -> None:
    """Sets a resource limit; one above what this user may have becomes the highest that is allowed."""
    _, ceiling = resource.getrlimit(kind)
    numbers = [resource.RLIM_INFINITY if math.isinf(value) else int(value) for value in (soft, hard)]
    try:
        resource.setrlimit(kind, (numbers[0], numbers[1]))
    except (ValueError, OSError):
        lower = ceiling if numbers[0] == resource.RLIM_INFINITY else min(numbers[0], ceiling)
        resource.setrlimit(kind, (lower, ceiling))


class LineReader(asyncio.Protocol):
    """Hands each line that arrives in a pipe to `write`; very long lines come in pieces."""

    LIMIT = 48 * 1024  # journald's LineMax

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Splits into lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > self.LIMIT:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._write(line.decode(errors="replace").rstrip("\r"))

    def connection_lost(self, _: Exception | None) -> None:
        """The last line may have no end."""
        if self._rest:
            self._write(self._rest.decode(errors="replace"))
            self._rest = b""


async def line_pipe(write: Callable[[str], None]) -> IO[bytes]:
    """The writing end of a pipe whose lines go to `write`; close it after it was given to a child."""
    reading, writing = os.pipe()
    await asyncio.get_running_loop().connect_read_pipe(lambda: LineReader(write), os.fdopen(reading, "rb", 0))
    return os.fdopen(writing, "wb", 0)


def members(marker: str | None, leader: int | None = None) -> set[int]:
    """Processes that carry `marker` (``NAME=value``) in their environment or descend from `leader`.

    Without control groups of its own (an ordinary user has none) that is how a machine tells whose process is whose;
    the marker also finds daemons that left their parent and session.
    """
    parents: dict[int, int] = {}
    found: set[int] = set()
    wanted = marker.encode() if marker else None
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        try:
            stat = (folder / "stat").read_text()
            parents[pid] = int(stat.rpartition(")")[2].split()[1])
            if wanted is not None and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(pid)
        except (OSError, ValueError):
            continue  # ended meanwhile, or a zombie
    if leader is not None and leader in parents:
        found.add(leader)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {1, os.getpid()}


def signal_all(pids: set[int], number: int) -> None:
    """Sends the signal to each that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
