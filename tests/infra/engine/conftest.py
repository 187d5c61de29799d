"""A tree of its own for every test, and programs that answer as the test wants."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.engine.paths import TREE, Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A tree with the engine's sources, an empty cache and no state."""
    tree = tmp_path / "tree"
    shutil.copytree(TREE / "infra" / "engine", tree / "infra" / "engine")
    (tree / "requirements.lock").write_text("uv==1.0 \\\n    --hash=sha256:00\n")
    (tree / "Pulumi.yaml").write_text("name: probe\nruntime: python\n")
    return Paths(tree=tree, cache=tmp_path / "cache", state=tree / ".ragrec")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Makes shell scripts; the PATH has them and a shell's own tools, but no Go, Java, Maven or Pulumi."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "cat", "sed", "mkdir", "touch", "env", "git"):
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, script: str) -> Path:
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    return make
