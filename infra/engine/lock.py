"""The lock file of the Python packages; ``scripts/lock`` writes it anew."""

from __future__ import annotations

import argparse
import os

from infra.engine.command import conclude
from infra.engine.paths import Paths
from infra.engine.process import run
from infra.engine.python import uv_environment
from infra.engine.versions import versions


def compile_lock(paths: Paths, *, upgrade: bool = False) -> None:
    """Resolve pyproject.toml. Versions that are locked already and still fit are kept, unless `upgrade` is set.

    The file names no index, since it must serve every mirror; the hashes say what is the right package.

    Raises:
        SetupError: The requirements can't be resolved.
    """
    run(
        [
            *(paths.venv / "bin" / "uv", "pip", "compile", "pyproject.toml", "--group", "dev", "--generate-hashes"),
            *("--python-version", versions().python, "--no-emit-index-url", "--no-header", "-o", paths.lock.name),
            *(["--upgrade"] if upgrade else []),
        ],
        folder=paths.tree,
        environment=uv_environment(os.environ),
        failure="the requirements can't be locked",
    )


def main(arguments: list[str] | None = None) -> int:
    """Run ``scripts/lock``."""
    parser = argparse.ArgumentParser(
        prog="scripts/lock",
        description="Write requirements.lock anew from pyproject.toml, with the hash of every package. "
        "Run scripts/setup afterwards.",
    )
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    options = parser.parse_args(arguments)

    def work() -> int:
        compile_lock(Paths.of_environment(), upgrade=options.upgrade)
        return 0

    return conclude("scripts/lock", work)
