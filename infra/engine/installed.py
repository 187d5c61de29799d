"""A Pulumi that is installed on the machine already, and the plugins that it can fetch by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.engine.errors import SetupError
from infra.engine.paths import Paths
from infra.engine.process import run
from infra.engine.progress import Report
from infra.engine.versions import numbers, versions

QUERY_SECONDS = 20.0
HOST = "pulumi-language-python"


@dataclass(frozen=True)
class Installed:
    """An installed Pulumi command line that fits.

    Attributes:
        program: Its path.
        version: Its version.
    """

    program: Path
    version: str


def find(paths: Paths) -> Installed | None:
    """Look on PATH for a Pulumi that fits: the SDK's major version, not older, with its Python language host.

    What this project built itself does not count: it may be on PATH after ``eval "$(scripts/env)"``.
    """
    folders = [folder for folder in os.get_exec_path() if not Path(folder).is_relative_to(paths.cache)]
    program = shutil.which("pulumi", path=os.pathsep.join(folders))
    if program is None:
        return None
    version = version_of(program)
    fits = numbers(version)[:1] == numbers(versions().pulumi)[:1] and numbers(version) >= numbers(versions().pulumi)
    beside = Path(program).resolve().parent / HOST
    if not fits or not (beside.exists() or shutil.which(HOST, path=os.pathsep.join(folders))):
        return None
    return Installed(program=Path(program), version=version)


def version_of(program: str) -> str:
    """Ask a Pulumi command line for its version; ``""`` when it does not say."""
    quiet = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        answer = subprocess.run(
            [program, "version"], capture_output=True, text=True, timeout=QUERY_SECONDS, env=quiet
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip().removeprefix("v")


def fetched_plugins(paths: Paths) -> Path:
    """Where fetched plugins are kept, for all trees."""
    return paths.cache / "engine" / "plugins"


def fetch_plugin(paths: Paths, pulumi: Installed, report: Report) -> bool:
    """Let an installed Pulumi fetch the alicloud plugin.

    Returns:
        Whether it is there: where only package registries can be reached, it can't be fetched.
    """
    version = versions().plugin
    if (fetched_plugins(paths) / f"resource-alicloud-v{version}").exists():
        return True
    fetched_plugins(paths).mkdir(parents=True, exist_ok=True)
    try:
        run(
            [pulumi.program, "plugin", "install", "resource", "alicloud", version],
            failure="the alicloud plugin can't be fetched",
            environment={"PULUMI_HOME": str(fetched_plugins(paths).parent), "PULUMI_SKIP_UPDATE_CHECK": "true"},
            report=report,
        )
    except SetupError as error:
        report(str(error))
        return False
    return True
