"""``scripts/preview``: what an update would do, under the guardrails; other stacks than dev are rehearsed."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.engine import pulumi_cli, stack
from infra.engine.command import conclude
from infra.engine.environment import DEV, environment
from infra.engine.errors import SetupError
from infra.engine.paths import Paths

POLICIES = "infra/policies"


def main(arguments: list[str] | None = None) -> int:
    """Runs ``scripts/preview``."""
    parser = argparse.ArgumentParser(
        prog="scripts/preview",
        description="Preview a stack with the policy pack. dev is previewed as it is; the configuration of any other "
        "stack is rehearsed on the local cloud, with a state of its own: the real stack is not touched.",
        epilog="For the real thing: pulumi preview -s STACK --policy-pack infra/policies",
    )
    parser.add_argument("--stack", default=DEV, help="stack to preview (default: %(default)s)")
    parser.add_argument("--diff", action="store_true", help="show every property")
    options = parser.parse_args(arguments)
    paths = Paths.of_environment()
    details = ["--policy-pack", POLICIES, *(["--diff"] if options.diff else [])]

    def work() -> int:
        pulumi_cli.control(paths, "start")
        variables = environment(paths)
        os.environ["PATH"] = variables["PATH"]
        if options.stack == DEV:
            stack.select_or_init(paths, DEV, variables)
            pulumi_cli.run(paths, ["preview", "--stack", DEV, *details], variables)
        else:
            rehearse(paths, options.stack, details, variables)
        return 0

    return conclude("scripts/preview", work)


def rehearse(paths: Paths, name: str, details: list[str], variables: Mapping[str, str]) -> None:
    """Previews a stack from nothing: its configuration file is copied, its state is thrown away.

    Raises:
        SetupError: there is no such configuration, or the preview fails.
    """
    source = stack.config_file(paths, name)
    if not source.exists():
        known = ", ".join(sorted(file.suffixes[0][1:] for file in paths.tree.glob("Pulumi.*.yaml")))
        raise SetupError(f"{source} does not exist; stacks with a configuration are {known}")
    with tempfile.TemporaryDirectory(dir=paths.state, prefix="rehearsal-") as folder:
        copy = Path(folder) / source.name
        (Path(folder) / "state").mkdir()
        (Path(folder) / "Pulumi.yaml").write_text(f"name: {stack.project_name(paths)}\nruntime: python\n")
        # Without an old salt: this state has its own.
        copy.write_text(stack.SALT.sub("", source.read_text()))
        own = {**variables, "PULUMI_BACKEND_URL": f"file://{folder}/state"}
        pulumi_cli.run(paths, ["stack", "init", name, "--no-select"], own, folder=Path(folder))
        pulumi_cli.run(paths, ["preview", "--stack", name, "--config-file", str(copy), *details], own)


if __name__ == "__main__":
    sys.exit(main())
