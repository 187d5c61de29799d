"""``scripts/bench``: where the time of a stack goes, measured side by side with what can't be beaten."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from infra.engine import pulumi_cli
from infra.engine.command import conclude
from infra.engine.environment import DEV, environment
from infra.engine.errors import SetupError
from infra.engine.paths import Paths

_EMPTY = """\
import pulumi
from pulumi.dynamic import CreateResult, ResourceProvider, Resource


class Nothing(ResourceProvider):
    def create(self, props):
        return CreateResult("nothing", props)


class Empty(Resource):
    pass


for index in range({count}):
    Empty(Nothing(), f"nothing-{{index}}", {{}})
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs ``scripts/bench``."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure set-up, no-change up and no-change preview of the running dev stack, the last two in "
        "turn with an empty Pulumi program of as many resources; write the figures to a file.",
    )
    parser.add_argument("--runs", type=_positive, default=5, help="runs of each command (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/bench/stack.json"), help="default: %(default)s")
    options = parser.parse_args(arguments)

    def work() -> int:
        figures = measure(Paths.of_environment(), options.runs)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(figures, indent=2) + "\n")
        for name, figure in figures.items():
            print(f"{name:<28} {json.dumps(figure)}")
        print(f"written to {options.output}")
        return 0

    return conclude("scripts/bench", work)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number of at least 1 is expected")
    return int(text)


def measure(paths: Paths, runs: int) -> dict[str, Any]:
    """Medians in seconds, and ratios pair by pair.

    Raises:
        SetupError: the stack isn't up, or a command fails.
    """
    pulumi_cli.control(paths, "start")
    variables = environment(paths)
    os.environ["PATH"] = variables["PATH"]
    resources = _resources(paths, variables)
    empty = paths.state / "bench"
    empty_variables = _empty_project(paths, empty, resources, variables)
    figures: dict[str, Any] = {
        "resources": resources,
        "setup_warm": _spread([_timed(["scripts/setup"], paths.tree, variables) for _ in range(runs)]),
    }
    for name, options in (("preview", ["preview"]), ("up", ["up", "--yes", "--skip-preview"])):
        command = ["pulumi", *options, "--non-interactive", "--expect-no-changes", "--stack"]
        ours, least = _paired(
            partial(_timed, [*command, DEV], paths.tree, variables),
            partial(_timed, [*command, "bench"], empty, empty_variables),
            runs,
        )
        figures[f"{name}_no_change"] = _spread(ours)
        figures[f"{name}_empty_program"] = _spread(least)
        figures[f"{name}_ratio"] = _spread([a / b for a, b in zip(ours, least, strict=True)])
    return figures


def _resources(paths: Paths, variables: Mapping[str, str]) -> int:
    command = ["pulumi", "stack", "export", "--stack", DEV]
    done = subprocess.run(command, cwd=paths.tree, env={**os.environ, **variables}, capture_output=True, text=True)
    resources = json.loads(done.stdout)["deployment"].get("resources", []) if done.returncode == 0 else []
    if not resources:
        raise SetupError("the dev stack is not up: run scripts/up first")
    return len(resources)


def _empty_project(paths: Paths, folder: Path, resources: int, variables: Mapping[str, str]) -> dict[str, str]:
    """A project of as many resources that do nothing, already up, in a state of its own."""
    (folder / "state").mkdir(parents=True, exist_ok=True)
    (folder / "Pulumi.yaml").write_text(
        f"name: bench\nruntime:\n  name: python\n  options:\n    virtualenv: {paths.venv}\n"
    )
    if not (folder / "Pulumi.bench.yaml").exists():
        # The SDK's dynamic provider fails on a stack without any configuration.
        (folder / "Pulumi.bench.yaml").write_text("config:\n  bench:of: nothing\n")
    # The stack itself and the default provider are resources, too.
    (folder / "__main__.py").write_text(_EMPTY.format(count=max(1, resources - 2)))
    own = {**variables, "PULUMI_BACKEND_URL": f"file://{folder / 'state'}"}
    for command in (["stack", "select", "--create", "bench"], ["up", "--yes", "--skip-preview", "--stack", "bench"]):
        _timed(["pulumi", *command, "--non-interactive"], folder, own)
    return own


def _timed(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> float:
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise SetupError(f"{' '.join(command)} failed: {(done.stdout + done.stderr).strip()[-500:]}")
    return time.monotonic() - started


def _paired(first: Callable[[], float], second: Callable[[], float], runs: int) -> tuple[list[float], list[float]]:
    """In turn, so that a machine whose speed drifts slows both; one run of each is thrown away."""
    first(), second()
    pairs = [(first(), second()) for _ in range(runs)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "min": round(min(values), 3),
        "median": round(statistics.median(values), 3),
        "max": round(max(values), 3),
    }


if __name__ == "__main__":
    sys.exit(main())
