"""Running the tools that do the work: their last line is shown live, their last lines explain a failure."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.engine.errors import SetupError
from infra.engine.progress import Report

KEPT_LINES = 200
STOP_SECONDS = 10.0


class Processes:
    """The programs that run now, so that all can be ended at once when one step fails or a person interrupts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    @contextmanager
    def started(self, process: subprocess.Popen[str]) -> Iterator[None]:
        """Count a program in while it runs; end it, and all that it started, when the block is left early."""
        with self._lock:
            self._running.add(process)
            late = self._stopped
        if late:
            end(process)
        try:
            yield
        except BaseException:
            end(process)
            raise
        finally:
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """End every program, and every one that is started from now on."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            end(process)
        # A step may have started programs without telling.
        for child in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)


def children() -> list[int]:
    """The processes that this one has started and that still run."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def end(process: subprocess.Popen[str]) -> None:
    """End a program's whole session: politely, then for good."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


processes = Processes()


def run(
    command: Sequence[str | Path],
    *,
    failure: str,
    report: Report | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a program to its end and give back what it printed (its last 200 lines).

    Args:
        command: The program and its arguments.
        failure: What an error begins with: what could not be done.
        report: Gets every line as it comes.
        environment: Added to this process's own.
        folder: Where the program runs.

    Raises:
        SetupError: It can't be started or fails; the message ends with its last words.
    """
    arguments = [str(part) for part in command]
    try:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise SetupError(f"{failure}: {arguments[0]} can't be started: {error.strerror}") from error
    lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
    with process, processes.started(process):
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if report is not None and line.strip():
                report(line)
        code = process.wait()
    if code != 0:
        cause = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
        raise SetupError(f"{failure}: {Path(arguments[0]).name} {cause}{telling(lines)}")
    return "".join(lines)


def telling(lines: Sequence[str] | collections.deque[str]) -> str:
    """What explains a failure best, to end its message: the last line that says "error", else the last one."""
    words = [line.strip() for line in lines if line.strip()]
    errors = [line for line in words if "error" in line.lower()]
    return f": {(errors or words)[-1]}" if words else ""


@contextmanager
def exclusive(lock: Path, report: Report) -> Iterator[None]:
    """Hold a lock file, so that two setups don't fill one cache at once; wait for the other one."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            report(f"waiting for another setup (process {file.read().strip() or 'unknown'})")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
