"""The first half of ``scripts/up``: its command line, and setup; needs nothing but Python itself."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from infra.engine import capacity, setup
from infra.engine.command import conclude
from infra.engine.environment import DEV
from infra.engine.paths import Paths
from infra.engine.progress import Progress
from model.data import DataError, open_dataset

SAMPLE = "sample"
STACK_GIB = 2.0
"""Disk, in GiB, of the local cloud's buckets and of its instances' own files, with room for a data set."""
SETUP = "RAGREC_SETUP"
"""The variable in which the second half finds how long setup took."""


def parser() -> argparse.ArgumentParser:
    """The command line of ``scripts/up``."""
    made = argparse.ArgumentParser(
        prog="scripts/up",
        description="Set up what is missing, start the local cloud, run pulumi up on the dev stack, then print "
        "recommendations of the live API for two users and one query.",
        epilog="RAGREC_PORT is the local cloud's port: a second clone on one machine needs another one.",
    )
    made.add_argument(
        "--data",
        metavar="DIR",
        help="use this data set from now on (written into the stack's configuration): a Stack Exchange dump, "
        "MovieLens, BEIR or the data contract's folder; 'sample' goes back to the one that comes with the project",
    )
    made.add_argument("--stack", default=DEV, help="stack to bring up (default: %(default)s)")
    made.add_argument("--json", action="store_true", help="print one JSON object at the end; all else to stderr")
    return made


def folder(data: str | None) -> Path | None:
    """The absolute path of a data set that ``--data`` names; None for the sample, and where it is not given."""
    return Path(data).expanduser().absolute() if data is not None and data != SAMPLE else None


def main(arguments: list[str]) -> int:
    """Run setup, and go on with `infra.engine.up` in the environment that it made."""
    options = parser().parse_args(arguments)
    return conclude("scripts/up", lambda: _launch(options, arguments), DataError)


def _launch(options: argparse.Namespace, arguments: list[str]) -> int:
    if source := folder(options.data):
        # What is wrong at first sight is better heard before setup than after it.
        open_dataset(source)
    paths, progress = Paths.of_environment(), Progress()
    if options.stack == DEV:
        capacity.require_disk("a dev stack", STACK_GIB, paths.state, "RAGREC_STATE")
    engine = setup.run(paths, progress)
    os.environ[SETUP] = json.dumps(setup.document(paths, engine, progress))
    python = str(paths.venv / "bin" / "python")
    os.execv(python, [python, "-m", "infra.engine.up", *arguments])  # noqa: S606 - replaces this process
