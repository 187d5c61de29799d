"""`scripts/stage`: checks a data set, and writes it as a folder of the data contract."""

import argparse
import json
import sys
from pathlib import Path

from model.data.dataset import Summary, write_contract
from model.data.detection import open_dataset
from model.data.errors import DataError


def main() -> int:
    """Validates, converts, and prints what was found."""
    parser = argparse.ArgumentParser(
        prog="scripts/stage",
        description="Check a data set and write it as a folder of the data contract. pulumi up uploads it.",
    )
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="contract folder, Stack Exchange, MovieLens or BEIR"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write; without it, only check")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    arguments = parser.parse_args()
    try:
        dataset = open_dataset(arguments.data)
        if sys.stderr.isatty():
            dataset.progress = lambda name, count: print(
                f"\r{name}: {count:,} records\033[K", end="", file=sys.stderr
            )
        summary = write_contract(dataset, arguments.output) if arguments.output else dataset.summary
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"error: {error.filename or arguments.output or arguments.data}: {error.strerror or error}",
            file=sys.stderr,
        )
        return 1
    if arguments.json:
        print(json.dumps(_json(dataset.format, summary)))
        return 0
    for warning in summary.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    counts = ", ".join(f"{file.records:,} in {name}" for name, file in summary.files.items())
    print(f"{arguments.data} ({dataset.format}): {counts}; digest {summary.digest[:12]}")
    if arguments.output:
        print(f"written to {arguments.output}")
    return 0


def _json(source: str, summary: Summary) -> dict[str, object]:
    files = {name: {"records": file.records, "size": file.size} for name, file in summary.files.items()}
    return {"format": source, "digest": summary.digest, "files": files, "warnings": list(summary.warnings)}


if __name__ == "__main__":
    sys.exit(main())
