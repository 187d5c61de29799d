"""What can be expected to go wrong ends a command in one line."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.engine.command import INTERRUPTED, conclude
from infra.engine.errors import SetupError
from infra.engine.paths import TREE


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def failing(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (SetupError("no Java"), 1, "error: no Java"),
        (KeyError("ours"), 1, "error: 'ours'"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/a"), 1, "error: /a: No such file"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "error: No space left on device: make room there, or set RAGREC_CACHE and RAGREC_STATE to larger disks",
        ),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted: run scripts/x again to go on"),
    ],
)
def test_one_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert conclude("scripts/x", failing(error), KeyError) == status
    assert capsys.readouterr() == ("", f"{line}\n")


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        conclude("scripts/x", failing(ZeroDivisionError()))


PULUMI = """#!/bin/sh
trap 'echo cancelled >> "$LOG"; kill $!; exit 1' INT
echo started > "$LOG"
sleep 30 &
wait
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_pulumi_is_told_and_waited_for(tmp_path: Path, ending: signal.Signals) -> None:
    program = tmp_path / "pulumi"
    program.write_text(PULUMI)
    program.chmod(0o755)
    log = tmp_path / "log"
    code = f"""if 1:
        from pathlib import Path
        from infra.engine import command, pulumi_cli
        from infra.engine.paths import Paths
        paths = Paths.of_environment(Path({str(tmp_path)!r}))
        raise SystemExit(command.conclude("scripts/up", lambda: pulumi_cli.run(paths, ["up"], {{}})))
    """
    variables = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=TREE, env=variables, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 20
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(ending)
    _, said = process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED, said
    assert log.read_text() == "started\ncancelled\n"
    assert said.splitlines()[0].startswith("stopping: ")
    assert said.splitlines()[-1] == "interrupted: run scripts/up again to go on"
    assert "Traceback" not in said
