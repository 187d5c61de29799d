"""The first half of ``scripts/up``, as users run it: it refuses before setup."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.engine import launch
from infra.engine.paths import TREE


def up(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it with the system's Python, a cache that is empty, and nothing on PATH."""
    variables = {
        "PATH": str(tmp_path),
        "RAGREC_CACHE": str(tmp_path / "cache"),
        "RAGREC_STATE": str(tmp_path / "state"),
    }
    python = os.path.realpath(sys.executable)
    return subprocess.run(
        [python, TREE / "scripts" / "up", *arguments],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_needs_no_setup(tmp_path: Path) -> None:
    done = up(tmp_path, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: scripts/up")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--data", "nowhere"], "error: {here}/nowhere: there is no such folder"),
        (["--data", "."], "error: {here}: is no data set; expected one of: "),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused_before_setup(
    tmp_path: Path, arguments: list[str], line: str
) -> None:
    done = up(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(line.format(here=tmp_path))
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "cache").exists()


def test_missing_tools_are_named_in_one_line(tmp_path: Path) -> None:
    done = up(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: Java is missing, ")
    assert "Traceback" not in done.stderr


def test_the_sample_is_no_folder() -> None:
    assert launch.folder(None) is launch.folder("sample") is None
    assert launch.folder("sub") == Path.cwd() / "sub"
