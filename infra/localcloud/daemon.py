"""The local cloud in the background: started once, found by its lock, ended by a signal."""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.localcloud.cloud import LocalCloud
from infra.localcloud.connection import HOST
from infra.localcloud.environment import PORT_VARIABLE, ca_bundle, default_port, wanted_port
from infra.localcloud.files import unix_address
from infra.localcloud.gateway import ADMIN
from infra.localcloud.paths import TREE, StatePaths

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class DaemonError(RuntimeError):
    """Why a command can't do what it was asked to, in one line."""


@dataclass(frozen=True)
class Process:
    """A running local cloud."""

    pid: int
    port: int
    ready: bool = False  # services have taken up what was running


def running(paths: StatePaths) -> Process | None:
    """The local cloud that runs on a state folder, or None."""
    try:
        with paths.process.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read()
                return Process(**json.loads(text)) if text else Process(0, 0)  # it registers right now
    except FileNotFoundError:
        pass
    return None


@contextmanager
def registered(paths: StatePaths, port: int) -> Iterator[Callable[[int], None]]:
    """Holds the lock that says "running"; call what it yields with the port once everything is ready.

    Raises:
        DaemonError: another process holds it.
    """
    paths.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with paths.process.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DaemonError(f"a local cloud runs on {paths.state} already") from error

        def write(process: Process) -> None:
            file.seek(0)
            file.truncate()
            file.write(json.dumps(asdict(process)))
            file.flush()

        write(Process(os.getpid(), port))
        yield lambda bound: write(Process(os.getpid(), bound, ready=True))


def start(paths: StatePaths, port: int | None) -> tuple[Process, bool]:
    """Starts the local cloud in the background and waits until it answers; False when it ran already.

    Args:
        paths: the state folder.
        port: None takes ``$RAGREC_PORT``, else the port that it runs on or ran on last, else 7780.

    Raises:
        DaemonError: the port is in use, or the process ended before it answered.
        ValueError: ``RAGREC_PORT`` is no port.
    """
    known = running(paths)
    wanted = wanted_port() if port is None else port
    if known is not None:
        if known.port and wanted and known.port != wanted:
            raise DaemonError(
                f"a local cloud runs on {paths.state} already, on port {known.port} and not {wanted}: "
                "stop it first (scripts/localcloud stop)"
            )
        return _healthy(paths, None), False
    port = default_port(paths) if wanted is None else wanted
    check_port(port)
    paths.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_bundle(paths.state)
    with paths.output.open("wb") as output:
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "infra.localcloud",
                "start",
                "--foreground",
                "--state",
                paths.state,
                "--port",
                str(port),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=TREE,
            env={k: v for k, v in os.environ.items() if k.upper() not in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")},
        )
    return _healthy(paths, child), True


def stop(paths: StatePaths, *, machines: bool = False) -> bool:
    """Ends the local cloud, and with `machines` every machine too; False when it didn't run.

    Raises:
        DaemonError: it doesn't end.
    """
    known = running(paths)
    if known is not None:
        if not known.pid:
            known = _healthy(paths, None)
        os.kill(known.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while running(paths) is not None:
            if time.monotonic() > deadline:
                raise DaemonError(f"process {known.pid} does not end; see {paths.log}")
            time.sleep(0.05)
    if machines and paths.store.exists():
        cloud = LocalCloud(paths.state)
        try:
            for machine_id in cloud.hypervisor.machines():
                cloud.hypervisor.stop(machine_id)
        finally:
            cloud.close()
    return known is not None


def reset(paths: StatePaths) -> None:
    """Ends the local cloud and its machines, and removes everything that it keeps.

    Raises:
        DaemonError: it doesn't end.
    """
    stop(paths)
    if paths.store.exists():
        cloud = LocalCloud(paths.state)
        try:
            for machine_id in cloud.hypervisor.machines():
                cloud.hypervisor.delete(machine_id)
        finally:
            cloud.close()
    if paths.directory.exists():
        shutil.rmtree(paths.directory)


def health(paths: StatePaths) -> dict[str, Any]:
    """What the running local cloud says about itself.

    Raises:
        OSError: it doesn't answer.
    """
    connection = _UnixConnection(paths.socket)
    try:
        connection.request("GET", f"{ADMIN}health")
        reply: dict[str, Any] = json.loads(connection.getresponse().read())
        return reply
    finally:
        connection.close()


def check_port(port: int) -> None:
    """Makes sure that a port can be listened on; 0 always can.

    Raises:
        DaemonError: it is in use.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            told = "is in use by another program or another clone" if taken else f"is refused ({error.strerror})"
            raise DaemonError(
                f"port {port} of {HOST} {told}: set {PORT_VARIABLE} (or --port) to a free one"
            ) from error


def _healthy(paths: StatePaths, child: subprocess.Popen[bytes] | None) -> Process:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child is not None and child.poll() is not None:
            raise DaemonError(f"the local cloud did not start: {_last_line(paths.output)}")
        known = running(paths)
        if known is not None and known.ready:
            try:
                health(paths)
            except (OSError, ValueError, http.client.HTTPException):
                pass  # not yet
            else:
                return known
        time.sleep(0.05)
    if child is not None:
        child.terminate()
    raise DaemonError(
        f"the local cloud did not answer within {START_SECONDS:.0f} s; see {paths.output} and {paths.log}"
    )


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "it ended without a word"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with unix_address(self._path) as address:
            self.sock.connect(address)
