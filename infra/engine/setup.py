"""Everything that a stack needs on this machine, in one idempotent command."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from infra.engine import capacity, golang, java, python, state
from infra.engine.command import conclude
from infra.engine.components import Component, components, join
from infra.engine.errors import SetupError
from infra.engine.installed import Installed, fetch_plugin, fetched_plugins, find
from infra.engine.paths import Paths
from infra.engine.process import exclusive
from infra.engine.progress import Progress, Report
from infra.engine.tasks import Task, run_all
from infra.engine.versions import versions


@dataclass(frozen=True)
class Engine:
    """What runs the stacks.

    Attributes:
        installed: The Pulumi that was there already, or None where the engine is built here.
        built: The components that are built here.
    """

    installed: Installed | None
    built: tuple[Component, ...]

    @property
    def closed(self) -> bool:
        """Whether Pulumi must not try to fetch plugins: every try costs seconds and fails."""
        return any(component.name == "alicloud" for component in self.built)

    def programs(self, paths: Paths) -> Path | None:
        """The folder of the built programs, for PATH; None where all of them were there already."""
        if not self.built:
            return None
        folder = join(paths, self.built) / "bin"
        return folder if folder.exists() else None

    def plugins(self, paths: Paths) -> Path:
        """The folder of plugins, for Pulumi's home."""
        return join(paths, self.built) / "plugins" if self.closed else fetched_plugins(paths)


def choose_engine(paths: Paths, report: Report) -> Engine:
    """Use the Pulumi and the plugin that are there or can be fetched; what can't be had is to be built."""
    known = components()
    installed = find(paths)
    built = [] if installed else [known["pulumi"], known["language"]]
    fetched = (
        installed is not None and not known["alicloud"].is_complete(paths) and fetch_plugin(paths, installed, report)
    )
    if not fetched:
        built.append(known["alicloud"])
    return Engine(installed, tuple(built))


def missing_steps(paths: Paths, engine: Engine) -> list[str]:
    """Names, as in versions.toml, of the steps that have work to do."""
    missing = [component.name for component in engine.built if not component.is_complete(paths)]
    if not python.is_complete(python.cached_environment(paths)):
        missing.append("python")
    if not _opensearch_homes(paths):
        missing.append("opensearch")
    return missing


def _opensearch_homes(paths: Paths) -> list[Path]:
    from infra.engine.opensearch import Recipe

    home = paths.cache / "opensearch" / Recipe.load().home_name
    return [home] if home.is_dir() else []


def check_machine(paths: Paths, engine: Engine) -> str:
    """Check, before anything is fetched, that everything can be: tools, disk, memory.

    Returns:
        What was found, in a few words.

    Raises:
        SetupError: The first thing that is missing.
    """
    missing = missing_steps(paths, engine)
    found = [f"Java {java.require_java()}"]
    if "python" in missing:
        python.require_venv()
    if any(component.name in missing for component in engine.built):
        golang.require_go()
    if "opensearch" in missing and shutil.which("mvn") is None:
        raise SetupError("Maven is missing, and assembling OpenSearch needs it: apt-get install maven")
    if missing:
        needs = [versions().needs[name] for name in missing]
        what = f"setting up ({', '.join(missing)})"
        capacity.require_disk(what, sum(need.disk for need in needs), paths.cache)
        capacity.require_memory(what, max(need.memory for need in needs))
        found.append(f"{capacity.free_memory():.0f} GiB of memory, {capacity.free_disk(paths.cache):.0f} GiB of disk")
    return ", ".join(found)


def ensure_opensearch(paths: Paths, report: Report) -> str:
    """Assemble OpenSearch where it is missing."""
    from infra.engine.opensearch import AssemblyError, ensure

    cached = bool(_opensearch_homes(paths))
    try:
        ensure(paths.cache, report)
    except AssemblyError as error:
        raise SetupError(str(error)) from error
    return "cached" if cached else "assembled"


def setup(paths: Paths, progress: Progress) -> Engine:
    """Make everything that is missing, what can run at once at once.

    Raises:
        SetupError: A step can't be done.
    """
    with progress.step("Engine") as step:
        engine = choose_engine(paths, step.report)
        step.result = f"Pulumi {engine.installed.version} of this machine" if engine.installed else "own build"
    with progress.step("Machine") as step:
        step.result = check_machine(paths, engine)
    needs = versions().needs
    # The longest first.
    tasks = [
        Task(component.program, needs[component.name].memory, partial(component.ensure, paths))
        for component in sorted(engine.built, key=lambda one: -needs[one.name].memory)
    ]
    tasks.append(Task("Python packages", needs["python"].memory, partial(python.ensure_packages, paths)))
    tasks.append(Task("OpenSearch", needs["opensearch"].memory, partial(ensure_opensearch, paths)))
    run_all(tasks, progress, capacity.free_memory())
    with progress.step("This tree") as step:
        step.result = python.ensure_tree(paths)
        state.ensure(paths, engine.plugins(paths))
        state.write_engine(paths, state.EngineRecord(str(engine.programs(paths) or ""), engine.closed))
    return engine


def main(arguments: list[str] | None = None) -> int:
    """Run ``scripts/setup``."""
    parser = argparse.ArgumentParser(
        prog="scripts/setup",
        description="Install everything that a stack runs on: Python packages, the Pulumi engine, OpenSearch. "
        "What is there already is kept; an interrupted run goes on where it was.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object with the time of every step")
    options = parser.parse_args(arguments)
    paths, progress = Paths.of_environment(), Progress()

    def work() -> int:
        engine = run(paths, progress)
        if options.json:
            print(json.dumps(document(paths, engine, progress)))
        return 0

    return conclude("scripts/setup", work)


def run(paths: Paths, progress: Progress) -> Engine:
    """Set up while no other setup does, away from the local cloud's proxy.

    Raises:
        SetupError: A step can't be done.
        OSError: The cache or the state can't be written.
    """
    leave_local_cloud(paths)
    with exclusive(paths.cache / "setup.lock", lambda text: print(text, file=sys.stderr)):
        return setup(paths, progress)


def leave_local_cloud(paths: Paths) -> None:
    """Drop what ``eval "$(scripts/env)"`` has set: package registries are not behind the local cloud's proxy."""
    if not Path(os.environ.get("SSL_CERT_FILE", "/")).is_relative_to(paths.state):
        return
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        os.environ.pop(name, None)
        os.environ.pop(name.lower(), None)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)


def document(paths: Paths, engine: Engine, progress: Progress) -> dict[str, object]:
    """What ``--json`` prints. Steps run at the same time, so their seconds add up to more than those of the whole."""
    return {
        "engine": {
            "pulumi": str(engine.installed.program) if engine.installed else None,
            "built": str(engine.programs(paths) or "") or None,
        },
        "python": str(paths.venv / "bin" / "python"),
        "steps": [step.document() for step in progress.steps],
        "seconds": round(time.monotonic() - progress.started, 3),
    }
