"""Stacks of this tree: they are made so that no file that git tracks changes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.engine import state
from infra.engine.errors import SetupError
from infra.engine.paths import Paths
from infra.engine.process import telling

SALT = re.compile(r"^encryptionsalt:.*\n?", re.MULTILINE)


def config_file(paths: Paths, stack: str) -> Path:
    """The stack's configuration file."""
    return paths.tree / f"Pulumi.{stack}.yaml"


def project_name(paths: Paths) -> str:
    """The name in Pulumi.yaml.

    Raises:
        SetupError: There is none.
    """
    file = paths.tree / "Pulumi.yaml"
    found = re.search(r"^name:\s*[\"']?([\w.-]+)", file.read_text(), re.MULTILINE) if file.exists() else None
    if found is None:
        raise SetupError(f"{file} has no name: it is the project file of Pulumi and comes with the repository")
    return found.group(1)


def select_or_init(paths: Paths, stack: str, environment: Mapping[str, str]) -> bool:
    """Make a stack the current one; create it where it does not exist.

    Pulumi writes the salt of a new stack into its configuration file and formats the file anew. So the stack is made
    from a copy of the project, and only the line with the salt is added to the file: git is told to overlook that
    line (`state.keep_salt_out_of_git`), and whoever reads the file finds it as it was written.

    Args:
        paths: The tree.
        stack: Name of the stack.
        environment: As `environment.environment` gives it.

    Returns:
        Whether it was created.

    Raises:
        SetupError: Pulumi refuses.
    """
    project = project_name(paths)
    file = paths.state / "pulumi" / ".pulumi" / "stacks" / project / f"{stack}.json"
    created = not file.exists()
    if created:
        _init(paths, project, stack, environment)
    if salt := state_salt(file):
        # A tree may have several states (RAGREC_STATE), each with a passphrase of its own.
        write_salt(config_file(paths, stack), f"encryptionsalt: {salt}\n")
        state.overlook_salt(paths.tree, config_file(paths, stack))
    _pulumi(
        ["stack", "select", stack, "--non-interactive"], paths.tree, environment, f"stack {stack} can't be selected"
    )
    return created


def remove(paths: Paths, stack: str, environment: Mapping[str, str]) -> None:
    """Remove a stack that has no resources any more; its configuration file stays, without the salt.

    Raises:
        SetupError: Pulumi refuses, since there are resources.
    """
    arguments = ["stack", "rm", stack, "--yes", "--preserve-config", "--non-interactive"]
    _pulumi(arguments, paths.tree, environment, f"stack {stack} can't be removed")
    write_salt(config_file(paths, stack), "")
    state.overlook_salt(paths.tree, config_file(paths, stack))


def _init(paths: Paths, project: str, stack: str, environment: Mapping[str, str]) -> None:
    config = config_file(paths, stack)
    text = config.read_text() if config.exists() else ""
    with tempfile.TemporaryDirectory(dir=paths.state) as name:
        copy = Path(name)
        (copy / "Pulumi.yaml").write_text(f"name: {project}\nruntime: python\n")
        if re.search(r"^\s+secure:", text, re.MULTILINE):
            # Its secrets were encrypted with its salt: only the passphrase of that salt will do.
            shutil.copyfile(config, copy / config.name)
        arguments = ["stack", "init", stack, "--no-select", "--non-interactive"]
        _pulumi(arguments, copy, environment, f"stack {stack} can't be created")


def state_salt(file: Path) -> str:
    """The salt that a stack's state was encrypted with; "" where it has none."""
    latest = json.loads(file.read_text())["checkpoint"].get("latest") or {}
    providers = latest.get("secrets_providers") or {}
    return str((providers.get("state") or {}).get("salt", ""))


def write_salt(config: Path, line: str) -> None:
    """Replace the line of the salt in a configuration file, or remove it when `line` is empty."""
    text = config.read_text() if config.exists() else ""
    rest = SALT.sub("", text)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    wanted = rest + (line if not line or line.endswith("\n") else f"{line}\n")
    if wanted != text:
        unfinished = config.with_name(f".{config.name}.{os.getpid()}")
        unfinished.write_text(wanted)
        unfinished.rename(config)


def _pulumi(arguments: list[str], folder: Path, environment: Mapping[str, str], failure: str) -> None:
    program = shutil.which("pulumi", path=environment["PATH"])
    if program is None:
        raise SetupError(f"{failure}: pulumi is not there: run scripts/setup")
    answer = subprocess.run(
        [program, *arguments], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    if answer.returncode != 0:
        raise SetupError(failure + telling((answer.stdout + answer.stderr).splitlines()))
