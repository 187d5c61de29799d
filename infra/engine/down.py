"""``scripts/down``: the stack destroyed and removed, and the proof that nothing is left."""

from __future__ import annotations

import argparse
import json
import os
import sys

from infra.engine import pulumi_cli, stack
from infra.engine.command import conclude
from infra.engine.environment import DEV, environment
from infra.engine.paths import Paths


def main(arguments: list[str] | None = None) -> int:
    """Runs ``scripts/down``."""
    parser = argparse.ArgumentParser(
        prog="scripts/down",
        description="Destroy the dev stack, remove it, and fail unless the local cloud's inventory is empty.",
    )
    parser.add_argument("--json", action="store_true", help='print {"remaining": [...]}; all else to stderr')
    parser.add_argument("--keep-cloud", action="store_true", help="leave the local cloud running")
    options = parser.parse_args(arguments)

    def work() -> int:
        remaining = take_down(Paths.of_environment(), keep_cloud=options.keep_cloud)
        if options.json:
            print(json.dumps({"remaining": remaining}))
        elif not remaining:
            print("Nothing is left.")
        if remaining:
            print(
                f"error: still there, not in the stack's state: {', '.join(remaining)}; an interrupted update leaves "
                "such: scripts/up goes on with it, scripts/localcloud reset deletes it with all of the local cloud",
                file=sys.stderr,
            )
        return 1 if remaining else 0

    return conclude("scripts/down", work)


def take_down(paths: Paths, *, keep_cloud: bool) -> list[str]:
    """Destroys and removes the stack.

    Returns:
        What the local cloud still holds, one ``type id`` each.

    Raises:
        SetupError: the local cloud or Pulumi failed.
    """
    pulumi_cli.control(paths, "start")
    variables = environment(paths)
    os.environ["PATH"] = variables["PATH"]
    stack.select_or_init(paths, DEV, variables)
    pulumi_cli.run(paths, ["destroy", "--yes", "--skip-preview", "--stack", DEV], variables)
    stack.remove(paths, DEV, variables)
    remaining: list[str] = json.loads(pulumi_cli.control(paths, "inventory", "--json"))
    if not remaining and not keep_cloud:
        pulumi_cli.control(paths, "stop")
    return remaining
