"""Programs are shown live, explain their failures, and never outlive the setup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from infra.engine.errors import SetupError
from infra.engine.paths import TREE
from infra.engine.process import Processes, exclusive, run, telling


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def until(condition: threading.Event | Path) -> None:
    for _ in range(200):
        if condition.exists() if isinstance(condition, Path) else condition.is_set():
            return
        time.sleep(0.05)
    raise AssertionError(f"{condition} did not come")


def test_output_is_reported_and_given_back() -> None:
    lines: list[str] = []
    text = run(["sh", "-c", "echo one; echo two >&2; pwd"], failure="no", report=lines.append, folder=Path("/"))
    assert text == "one\ntwo\n/\n"
    assert lines == ["one\n", "two\n", "/\n"]


def test_environment_is_added() -> None:
    assert run(["sh", "-c", "echo $GIVEN$HOME"], failure="no", environment={"GIVEN": "x"}).startswith("x/")


def test_a_failure_ends_with_the_line_that_tells_most() -> None:
    with pytest.raises(SetupError, match=r"^it can't be built: sh failed with exit code 3: Error: disk on fire$"):
        run(
            ["sh", "-c", "echo start; echo 'Error: disk on fire'; echo see above; exit 3"],
            failure="it can't be built",
        )


def test_a_killed_program_is_told_from_a_failed_one() -> None:
    with pytest.raises(SetupError, match=r"^no: sh was ended by SIGKILL$"):
        run(["sh", "-c", "kill -KILL $$"], failure="no")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(SetupError, match=r"^no: /not/there can't be started: No such file or directory$"):
        run(["/not/there"], failure="no")


@pytest.mark.parametrize(
    ("lines", "expected"), [([], ""), (["a", " b \n", "\n"], ": b"), (["error: x", "error: y", "done"], ": error: y")]
)
def test_telling(lines: list[str], expected: str) -> None:
    assert telling(lines) == expected


def test_stop_ends_a_program_and_what_it_started(tmp_path: Path) -> None:
    ours, ready = Processes(), tmp_path / "pid"
    command = ["sh", "-c", f"sleep 60 & echo $! > {ready}.new; mv {ready}.new {ready}; wait"]
    process = subprocess.Popen(command, start_new_session=True, text=True)
    with process, ours.started(process):
        until(ready)
        ours.stop()
        assert process.wait(5) == -signal.SIGTERM
    for _ in range(100):
        if not alive(int(ready.read_text())):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the program's own child lives")


def test_nothing_is_started_after_stop() -> None:
    ours = Processes()
    ours.stop()
    process = subprocess.Popen(["sleep", "60"], start_new_session=True, text=True)
    with process, ours.started(process):
        assert process.wait(5) == -signal.SIGTERM


def test_one_setup_waits_for_the_other(tmp_path: Path) -> None:
    lock, ready = tmp_path / "cache" / "lock", tmp_path / "ready"
    script = (
        "import pathlib, sys, time\n"
        "from infra.engine.process import exclusive\n"
        f"with exclusive(pathlib.Path({str(lock)!r}), print):\n"
        f"    pathlib.Path({str(ready)!r}).touch(); time.sleep(0.5)\n"
    )
    reports: list[str] = []
    with subprocess.Popen([sys.executable, "-c", script], cwd=TREE) as other:
        until(ready)
        with exclusive(lock, reports.append):
            assert lock.read_text() == f"{os.getpid()}\n"
    assert reports == [f"waiting for another setup (process {other.pid})"]
