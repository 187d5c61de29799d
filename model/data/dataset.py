"""A data set: four streams of records from a folder, checked once, with a digest of their content."""

import hashlib
import json
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeAlias, TypeVar

from model.data.errors import DataChangedError, Place, Problems
from model.data.records import Document, Interaction, Judgment, Query, Record, to_line

FORMAT = 1
"""Version of the canonical form; part of every digest."""
FILES = ("documents.jsonl", "interactions.jsonl", "queries.jsonl", "judgments.tsv")
MANIFEST = "MANIFEST.json"


@dataclass(frozen=True, slots=True)
class FileSummary:
    """One file of the contract's folder as `write_contract` writes it."""

    sha256: str
    size: int
    records: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What one full pass over a data set found.

    Attributes:
        digest: SHA-256 over the canonical content: equal for a dump and for the folder it was converted to.
        files: By name, each non-empty file of the contract.
        warnings: Lines for a person, about records that were dropped or cut.
    """

    digest: str
    files: dict[str, FileSummary]
    warnings: tuple[str, ...]

    def count(self, file: str) -> int:
        """How many records the named file of the contract has."""
        return self.files[file].records if file in self.files else 0

    def manifest(self) -> str:
        """The text of MANIFEST.json, which depends on nothing but the content."""
        files = {name: {"sha256": f.sha256, "size": f.size, "records": f.records} for name, f in self.files.items()}
        return json.dumps({"format": FORMAT, "digest": self.digest, "files": files}, indent=2) + "\n"


T = TypeVar("T")
Progress: TypeAlias = Callable[[str, int], None]
"""Called with a file's name and how many of its records are done, every few thousand records."""
Located: TypeAlias = Iterator[tuple[Place, T]]


class DataSet(ABC):
    """Records of one folder. Subclasses read one format; this class checks what holds between records.

    The first use reads everything once: errors are raised together, and the digest is computed. Later reads fail when
    a file has changed since.
    """

    format: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.progress: Progress | None = None
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._documents: frozenset[str] = frozenset()
        self._queries: frozenset[str] = frozenset()

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that are read."""

    @abstractmethod
    def read_documents(self, problems: Problems) -> Located[Document]:
        """Yields documents with their places; what can't be read is reported to `problems` and left out."""

    @abstractmethod
    def read_interactions(self, problems: Problems) -> Located[Interaction]:
        """Yields interactions; see `read_documents`."""

    @abstractmethod
    def read_queries(self, problems: Problems) -> Located[Query]:
        """Yields queries; see `read_documents`."""

    @abstractmethod
    def read_judgments(self, problems: Problems) -> Located[Judgment]:
        """Yields judgments; see `read_documents`."""

    @cached_property
    def summary(self) -> Summary:
        """Digest, counts and warnings, from one full pass.

        Raises:
            DataError: The data set has errors; the first ten are named.
            DataChangedError: A file changed meanwhile.
        """
        self._seen = {path: _signature(path) for path in self.files()}
        problems = Problems()
        files = {}
        for name, records in self._streams(problems):
            hashed, size, count = hashlib.sha256(), 0, 0
            for record in records:
                line = (to_line(record) + "\n").encode()
                hashed.update(line)
                size += len(line)
                count += 1
            if count:
                files[name] = FileSummary(hashed.hexdigest(), size, count)
        if "documents.jsonl" not in files and not problems.count:
            problems.error(Place("documents.jsonl"), "there is no document")
        problems.raise_errors(str(self.path))
        self._unchanged()
        return Summary(content_digest(files), files, tuple(problems.warnings()))

    @property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) over the canonical content."""
        return self.summary.digest

    def documents(self) -> Iterator[Document]:
        """Yields every document, in the order of the source."""
        return self._again(self._checked_documents)

    def interactions(self) -> Iterator[Interaction]:
        """Yields every interaction with a known item, in the order of the source."""
        return self._again(self._checked_interactions)

    def queries(self) -> Iterator[Query]:
        """Yields every query, in the order of the source."""
        return self._again(self._checked_queries)

    def judgments(self) -> Iterator[Judgment]:
        """Yields every judgment of a known query and item, in the order of the source."""
        return self._again(self._checked_judgments)

    def _again(self, checked: Callable[[Problems], Iterator[T]]) -> Iterator[T]:
        _ = self.summary
        problems = Problems()
        yield from checked(problems)
        problems.raise_errors(str(self.path))
        self._unchanged()

    def _streams(self, problems: Problems) -> Iterator[tuple[str, Iterator[Record]]]:
        yield FILES[0], self._counted(FILES[0], self._checked_documents(problems))
        yield FILES[1], self._counted(FILES[1], self._checked_interactions(problems))
        yield FILES[2], self._counted(FILES[2], self._checked_queries(problems))
        yield FILES[3], self._counted(FILES[3], self._checked_judgments(problems))

    def _counted(self, name: str, records: Iterator[Record]) -> Iterator[Record]:
        count = 0
        for record in records:
            yield record
            count += 1
            if self.progress and count % 5_000 == 0:
                self.progress(name, count)
        if self.progress and count:
            self.progress(name, count)

    def _checked_documents(self, problems: Problems) -> Iterator[Document]:
        seen: set[str] = set()
        for place, document in self.read_documents(problems):
            if document.id in seen:
                problems.error(place, f"field 'id': {document.id!r} is there twice")
                continue
            seen.add(document.id)
            yield document
        self._documents = frozenset(seen)

    def _checked_interactions(self, problems: Problems) -> Iterator[Interaction]:
        known = unknown = 0
        first: tuple[Place, str] | None = None
        for place, interaction in self.read_interactions(problems):
            if interaction.item_id not in self._documents:
                unknown += 1
                first = first or (place, interaction.item_id)
                problems.warning(place, "interaction with an item that is no document, dropped")
                continue
            known += 1
            yield interaction
        # A few deleted items are normal in a log; a log that is mostly unknown belongs to other documents.
        if first and unknown > known:
            problems.error(
                first[0],
                f"field 'item_id': {first[1]!r} is no document, as in {unknown:,} of {unknown + known:,}",
            )

    def _checked_queries(self, problems: Problems) -> Iterator[Query]:
        seen: set[str] = set()
        for place, query in self.read_queries(problems):
            if query.id in seen:
                problems.error(place, f"field 'id': {query.id!r} is there twice")
                continue
            seen.add(query.id)
            yield query
        self._queries = frozenset(seen)

    def _checked_judgments(self, problems: Problems) -> Iterator[Judgment]:
        grades: dict[tuple[str, str], int] = {}
        for place, judgment in self.read_judgments(problems):
            key = (judgment.query_id, judgment.item_id)
            if judgment.query_id not in self._queries:
                problems.warning(place, "judgment of a query that is not in queries.jsonl, dropped")
            elif judgment.item_id not in self._documents:
                problems.warning(place, "judgment of an item that is no document, dropped")
            elif key in grades:
                if grades[key] != judgment.grade:
                    problems.error(
                        place, f"query {key[0]!r} and item {key[1]!r} were judged before with another grade"
                    )
            else:
                grades[key] = judgment.grade
                yield judgment

    def _unchanged(self) -> None:
        for path, before in self._seen.items():
            try:
                now = _signature(path)
            except FileNotFoundError:
                raise DataChangedError(f"{path}: was removed while it was being read; start again") from None
            if now != before:
                raise DataChangedError(f"{path}: changed while it was being read; start again when it is complete")


def content_digest(files: dict[str, FileSummary]) -> str:
    """The digest of a data set from the digests of its canonical files."""
    content = {name: file.sha256 for name, file in sorted(files.items())}
    return hashlib.sha256(json.dumps({"format": FORMAT, "files": content}, sort_keys=True).encode()).hexdigest()


def write_contract(dataset: DataSet, folder: Path) -> Summary:
    """Writes a data set as a folder of the data contract, MANIFEST.json last. All or nothing.

    Args:
        dataset: Where from.
        folder: Where to; its contract files are replaced together, other files stay.

    Raises:
        DataError: The data set has errors; nothing was written.
        DataChangedError: A file changed meanwhile; nothing was written.
        OSError: The folder can't be written (disk full, permissions).
    """
    summary = dataset.summary
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
        streams: tuple[Iterator[Record], ...] = (
            dataset.documents(),
            dataset.interactions(),
            dataset.queries(),
            dataset.judgments(),
        )
        written: dict[str, FileSummary] = {}
        for name, records in zip(FILES, streams, strict=True):
            if found := _write(Path(temporary, name), records):
                written[name] = found
        if content_digest(written) != summary.digest:
            raise DataChangedError(
                f"{dataset.path}: changed while it was being read; start again when it is complete"
            )
        Path(temporary, MANIFEST).write_text(summary.manifest(), encoding="utf-8")
        (folder / MANIFEST).unlink(missing_ok=True)
        for name in FILES:
            if name in written:
                shutil.move(Path(temporary, name), folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        shutil.move(Path(temporary, MANIFEST), folder / MANIFEST)
    return summary


def _write(path: Path, records: Iterator[Record]) -> FileSummary | None:
    hashed, size, count = hashlib.sha256(), 0, 0
    with path.open("wb") as file:
        for record in records:
            line = (to_line(record) + "\n").encode()
            file.write(line)
            hashed.update(line)
            size += len(line)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return FileSummary(hashed.hexdigest(), size, count) if count else None


def _signature(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
