"""Writes the sample domain: `python -m model.sample --output DIR`."""

import argparse
import sys
from pathlib import Path

from model.data import write_contract
from model.sample import SEED, Sample


def main() -> int:
    """Writes the sample and prints what it holds."""
    parser = argparse.ArgumentParser(prog="python -m model.sample", description="Writes the sample domain.")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--seed", type=int, default=SEED, help="source of chance (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        summary = write_contract(Sample(arguments.seed), arguments.output)
    except OSError as error:
        print(f"{arguments.output}: {error.strerror or error}", file=sys.stderr)
        return 1
    counts = ", ".join(f"{file.records:,} in {name}" for name, file in summary.files.items())
    print(f"{arguments.output}: {counts}; digest {summary.digest[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
