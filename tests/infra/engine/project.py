"""A Pulumi project of a test's own, with a state of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from infra.engine import environment
from infra.engine.paths import Paths


@dataclass
class Project:
    """A project under test.

    Attributes:
        folder: Where its files are.
        variables: The whole environment of its commands: this tree's engine, and no Python of the tree on PATH.
    """

    folder: Path
    variables: dict[str, str]

    @classmethod
    def create(cls, parent: Path, files: Mapping[str, str]) -> Self:
        """Write the files into ``parent/project``; its ``.venv`` is that of this tree."""
        folder = parent / "project"
        for name, text in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        paths = Paths.of_environment()
        (folder / ".venv").symlink_to(paths.venv)
        (parent / "state").mkdir()
        ours = environment.engine_environment(paths, os.environ["PATH"])
        path = [part for part in ours["PATH"].split(os.pathsep) if part != str(paths.venv / "bin")]
        variables = {
            **ours,
            "HOME": str(parent),
            "PATH": os.pathsep.join(path),
            "PULUMI_BACKEND_URL": f"file://{parent}/state",
            "PULUMI_CONFIG_PASSPHRASE": "of a test",
        }
        return cls(folder, variables)

    def pulumi(self, *arguments: str, code: int = 0) -> str:
        """Run a command that must end with an exit code, and give back all that it printed."""
        done = self._run(arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run a command that answers with a JSON object."""
        done = self._run(arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        command = ["pulumi", *arguments, "--non-interactive"]
        return subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False
        )
