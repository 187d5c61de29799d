"""Runs machines in Linux namespaces, each kept by a monitor process of its own; see docs/local-cloud-machines.md."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.localcloud.hypervisor import cloudinit, fabric, image
from infra.localcloud.hypervisor.machine import Ingress, MachineSpec, MachineStatus
from infra.localcloud.hypervisor.monitor import SOCKET, STATE_FILE, write_state

_TREE = Path(__file__).resolve().parents[3]
STOP_SECONDS = 40.0
"""After that a machine that was asked to stop is killed."""


class MachineError(RuntimeError):
    """A machine can't be started or removed; the text says what stands in the way."""


class NamespaceHypervisor:
    """The `Hypervisor` of this host; safe to call from several threads.

    Args:
        directory: the local cloud's folder. Machines live in ``machines/<id>``, the image's own files in ``image``;
            ``metadata.sock``, ``cloud.sock`` and ``ca.pem`` are the local cloud's.
        describe_image: what machines are made of; looked up at the first start.
    """

    def __init__(self, directory: Path, describe_image: Callable[[Path], image.Image] = image.describe) -> None:
        self._directory = directory.resolve()
        self._machines = self._directory / "machines"
        self._machines.mkdir(parents=True, exist_ok=True)
        self._describe_image = describe_image
        self._lock = threading.RLock()

    # --- life cycle

    def start(self, spec: MachineSpec) -> None:
        """Starts the machine unless it runs; user data runs at the first start.

        Raises:
            MachineError: the host lacks something, for example Java.
        """
        with self._lock:
            machine = self._machines / spec.id
            machine.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(machine / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if not _try_lock(lock):
                    return
                self._launch(machine, spec, lock)
            finally:
                os.close(lock)

    def _launch(self, machine: Path, spec: MachineSpec, lock: int) -> None:
        try:
            described = self._describe_image(self._directory)
        except image.ImageError as error:
            raise MachineError(str(error)) from error
        document = {
            "spec": {
                **asdict(spec),
                "environment": dict(spec.environment),
                "mounts": [{**asdict(mount), "source": str(mount.source.resolve())} for mount in spec.mounts],
            },
            "user_data": user_data_document(spec.user_data),
            "image": described.document(),
        }
        temporary = machine / ".machine.json"
        temporary.write_text(json.dumps(document))
        temporary.replace(machine / "machine.json")
        (machine / "console.log").touch(mode=0o600)
        write_state(machine, {"state": "starting", "exit_code": None, "boot": "", "detail": ""})
        with (machine / "monitor.log").open("ab") as log:
            # -S: neither the monitor nor init needs installed packages, and both stay small.
            starter = subprocess.Popen(
                [sys.executable, "-S", "-c", _DETACH, str(machine), str(lock)],
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(_TREE), "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                start_new_session=True,
            )
            if starter.wait() != 0:
                raise MachineError(f"the monitor of {spec.id} could not be started, see {machine / 'monitor.log'}")

    def stop(self, machine_id: str, *, force: bool = False) -> None:
        """Ends the machine and waits for it, as long as `STOP_SECONDS`; then it is killed."""
        machine = self._machines / machine_id
        if not machine.exists() or not self._runs(machine):
            return
        deadline = time.monotonic() + STOP_SECONDS
        while self._runs(machine):
            late = time.monotonic() > deadline
            try:
                with socket.socket(socket.AF_UNIX) as connection, fabric.unix_address(machine / SOCKET) as address:
                    connection.settimeout(max(1.0, deadline - time.monotonic()))
                    connection.connect(address)
                    connection.sendall(b"kill\n" if force or late else b"stop\n")
                    connection.recv(1)  # ends with the machine
            except (FileNotFoundError, ConnectionError):
                time.sleep(0.02)  # it just starts, or just ended
            except TimeoutError:
                if late:
                    raise MachineError(f"the monitor of {machine_id} does not answer") from None

    def delete(self, machine_id: str) -> None:
        """Kills the machine and removes its folder.

        Raises:
            MachineError: something is mounted below the folder, so removing it would remove what is mounted.
        """
        self.stop(machine_id, force=True)
        with self._lock:
            machine = self._machines / machine_id
            if not machine.exists():
                return
            if mounted := mounts_below(machine, Path("/proc/self/mountinfo").read_text()):
                raise MachineError(f"not removing {machine}: {mounted[0]} is a mount point; unmount it first")
            # Renamed first: a machine that is half removed must not be taken for one.
            doomed = self._machines / f".deleted-{machine_id}-{time.time_ns()}"
            machine.rename(doomed)
            _remove(doomed)

    # --- telling

    def status(self, machine_id: str) -> MachineStatus:
        """The state by what the monitor noted, and by whether it lives."""
        machine = self._machines / machine_id
        running = self._runs(machine)
        try:
            noted: dict[str, Any] = json.loads((machine / STATE_FILE).read_text())
        except FileNotFoundError:
            raise KeyError(machine_id) from None
        if running or noted["state"] not in ("starting", "running"):
            return MachineStatus(noted["state"], noted["exit_code"], noted["boot"], noted["detail"])
        if self._runs(machine):  # was started in between
            return MachineStatus("starting")
        # Its monitor was killed, or the host rebooted: the kernel ended the machine with it.
        detail = "ended with the host or its monitor"
        if json.loads((machine / "machine.json").read_text())["spec"]["kind"] == "pod":
            return MachineStatus("failed", noted["exit_code"], "", detail)
        return MachineStatus("stopped", None, noted["boot"], detail)

    def console(self, machine_id: str) -> str:
        """The console's text; empty for a machine that isn't there."""
        try:
            return (self._machines / machine_id / "console.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def machines(self) -> list[str]:
        """Ids of the machines, sorted."""
        return sorted(path.name for path in self._machines.iterdir() if (path / "machine.json").exists())

    def set_ingress(self, rules: Sequence[Ingress]) -> None:
        """Writes the rules file that every monitor follows.

        Raises:
            ValueError: a source is neither an IPv4 address nor a block.
        """
        fabric.Rules.parse(rules)
        with self._lock:
            temporary = self._directory / f".{fabric.RULES_FILE}"
            temporary.write_text(json.dumps([{**asdict(rule), "sources": list(rule.sources)} for rule in rules]))
            temporary.replace(self._directory / fabric.RULES_FILE)

    @staticmethod
    def _runs(machine: Path) -> bool:
        """Whether the monitor holds the machine's lock."""
        try:
            lock = os.open(machine / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(lock)
        finally:
            os.close(lock)


# The starter ends at once, so that the monitor is nobody's child and no zombie is left to the local cloud.
_DETACH = """
import os, sys
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-S", "-m", "infra.localcloud.hypervisor.monitor", *sys.argv[1:]])
"""


def user_data_document(text: str) -> dict[str, Any]:
    """User data as init takes it: parsed, or the reason why it can't be carried out (which fails the boot)."""
    try:
        return cloudinit.parse(text).document()
    except cloudinit.UserDataError as error:
        return {"error": str(error)}


def mounts_below(folder: Path, mountinfo: str) -> list[Path]:
    """Mount points in or at the folder, by the text of /proc/self/mountinfo."""
    points = [Path(line.split()[4].encode().decode("unicode_escape")) for line in mountinfo.splitlines()]
    return [point for point in points if point.is_relative_to(folder)]


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> None:
    """Removes a tree, folders without write permission in it too; never follows a link."""
    for path, _, _ in os.walk(folder):
        mode = Path(path).stat().st_mode
        if mode & 0o700 != 0o700:
            Path(path).chmod(mode | 0o700)
    shutil.rmtree(folder)
