"""Reader of the data contract's own folder."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from model.data.dataset import FILES, DataSet, Located
from model.data.errors import Place, Problems
from model.data.records import (
    Document,
    FieldError,
    Interaction,
    Judgment,
    Query,
    parse_document,
    parse_interaction,
    parse_judgment,
    parse_query,
)

T = TypeVar("T")


class ContractFolder(DataSet):
    """`documents.jsonl` and, optionally, `interactions.jsonl`, `queries.jsonl`, `judgments.tsv`."""

    format = "contract"

    def files(self) -> list[Path]:
        """The contract's files that are there."""
        return [self.path / name for name in FILES if (self.path / name).is_file()]

    def read_documents(self, problems: Problems) -> Located[Document]:
        """Yields the lines of documents.jsonl."""
        return parsed(json_lines(self.path / FILES[0], problems), parse_document, problems)

    def read_interactions(self, problems: Problems) -> Located[Interaction]:
        """Yields the lines of interactions.jsonl."""
        return parsed(json_lines(self.path / FILES[1], problems), parse_interaction, problems)

    def read_queries(self, problems: Problems) -> Located[Query]:
        """Yields the lines of queries.jsonl."""
        return parsed(json_lines(self.path / FILES[2], problems), parse_query, problems)

    def read_judgments(self, problems: Problems) -> Located[Judgment]:
        """Yields the lines of judgments.tsv; a header is accepted."""
        for place, line in lines(self.path / FILES[3], problems):
            if place.line == 1 and line.split("\t")[-1].strip().lower() in {"grade", "score", "relevance"}:
                continue
            try:
                yield place, parse_judgment(line)
            except FieldError as error:
                problems.error(place, str(error))


def lines(path: Path, problems: Problems) -> Iterator[tuple[Place, str]]:
    """Yields the non-blank lines of a UTF-8 file with their places; a file that isn't there has none."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            place = Place(path.name, number)
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                problems.error(place, f"is not UTF-8 at byte {error.start}")
                continue
            if line.strip():
                yield place, line


def json_lines(path: Path, problems: Problems) -> Iterator[tuple[Place, dict[str, object]]]:
    """Yields the objects of a JSON Lines file with their places."""
    for place, line in lines(path, problems):
        try:
            record = json.loads(line)
        except ValueError as error:
            problems.error(place, f"is not JSON: {error}")
            continue
        except RecursionError:
            problems.error(place, "is nested too deeply")
            continue
        if not isinstance(record, dict):
            problems.error(place, "expected a JSON object")
            continue
        yield place, record


def parsed(
    records: Iterator[tuple[Place, dict[str, object]]],
    parse: Callable[[dict[str, object]], tuple[T, list[str]]],
    problems: Problems,
) -> Iterator[tuple[Place, T]]:
    """Parses records; errors go to `problems` and their records are left out."""
    for place, record in records:
        try:
            found, warnings = parse(record)
        except FieldError as error:
            problems.error(place, str(error))
            continue
        for warning in warnings:
            problems.warning(place, warning)
        yield place, found
