"""The language host's own tests, which are written in Go beside it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from infra.engine.paths import TREE

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go: the machine's own Pulumi is used"),
]


# -trimpath and no cgo, as in the build: then all packages are compiled already.
@pytest.mark.parametrize("command", [["vet", "-trimpath", "./..."], ["test", "-trimpath", "-count=1", "./..."]])
def test_go(command: list[str]) -> None:
    done = subprocess.run(
        ["go", *command],
        cwd=TREE / "infra" / "engine" / "language",
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_go_sources_are_formatted() -> None:
    files = [str(file) for file in (TREE / "infra" / "engine").rglob("*.go")]
    assert subprocess.check_output(["gofmt", "-l", *files], text=True) == ""
