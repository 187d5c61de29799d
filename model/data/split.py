"""Which queries train, validate and test, and the points in time that go with them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from model.data.records import Document, Interaction, Judgment, Query

Part: TypeAlias = Literal["train", "validation", "test"]
TRAIN_SHARE, VALIDATION_SHARE = 0.70, 0.15


@dataclass(frozen=True, slots=True)
class Split:
    """A fixed split. Nothing from `validation_from` on may be trained on, and nothing that answers a held-out query.

    Attributes:
        validation_from: Start of validation; None when the data has no times.
        test_from: Start of test; None when the data has no times.
        parts: Query id to part.
        held_out_texts: Normalised texts of validation and test queries, which may not occur in training pairs.
    """

    validation_from: datetime | None
    test_from: datetime | None
    parts: Mapping[str, Part]
    held_out_texts: frozenset[str]

    def known(self, time: datetime | None) -> bool:
        """Whether something of that time may be trained on; things without a time are part of the given corpus."""
        return time is None or self.validation_from is None or time < self.validation_from

    def queries(self, queries: Iterable[Query], part: Part) -> list[Query]:
        """The queries of a part, in the order given."""
        return [query for query in queries if self.parts.get(query.id) == part]

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change when any query changes its part, or a point in time moves."""
        content = [
            f"{self.validation_from} {self.test_from}",
            *(f"{key} {part}" for key, part in sorted(self.parts.items())),
        ]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()[:12]


def normal(text: str) -> str:
    """A query's text for comparison: case and spacing don't make another query."""
    return " ".join(text.lower().split())


def split_by_time(
    documents: Sequence[Document],
    interactions: Sequence[Interaction],
    queries: Sequence[Query],
    judgments: Sequence[Judgment],
) -> Split:
    """Splits by time: the last 15 % of queries test, the 15 % before them validate.

    Queries that are asked at the same moment stay together. Queries without times are split by the documents that
    answer them: queries that share an answer are in the same part. Then the points in time come from interactions,
    or, when there are no queries either, from documents.
    """
    validation_from: datetime | None
    test_from: datetime | None
    judged = {judgment.query_id for judgment in judgments if judgment.grade > 0}
    asked = [query for query in queries if query.id in judged]
    times = sorted(query.created_at for query in asked if query.created_at is not None)
    if asked and len(times) == len(asked):
        validation_from, test_from = _points(times)
        parts: dict[str, Part] = {}
        for query in asked:
            assert query.created_at is not None
            parts[query.id] = _part_of_time(query.created_at, validation_from, test_from)
    else:
        parts = _parts_by_document(asked, judgments)
        events = sorted(interaction.timestamp for interaction in interactions)
        if not events and not asked:
            events = sorted(document.created_at for document in documents if document.created_at is not None)
        validation_from, test_from = _points(events) if events else (None, None)
    held_out = frozenset(normal(query.text) for query in asked if parts[query.id] != "train")
    return Split(validation_from, test_from, parts, held_out)


def _points(times: Sequence[datetime]) -> tuple[datetime, datetime]:
    last = len(times) - 1
    return (
        times[min(int(len(times) * TRAIN_SHARE), last)],
        times[min(int(len(times) * (TRAIN_SHARE + VALIDATION_SHARE)), last)],
    )


def _part_of_time(time: datetime, validation_from: datetime, test_from: datetime) -> Part:
    return "train" if time < validation_from else "validation" if time < test_from else "test"


def _parts_by_document(queries: Sequence[Query], judgments: Sequence[Judgment]) -> dict[str, Part]:
    # Union-find over items and queries: a component of the bipartite graph goes to one part.
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for judgment in judgments:
        if judgment.grade > 0:
            first, second = sorted((root(f"q{judgment.query_id}"), root(f"d{judgment.item_id}")))
            parent[second] = first
    found: dict[str, Part] = {}
    for query in queries:
        digest = hashlib.sha256(root(f"q{query.id}").encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        if share < TRAIN_SHARE:
            found[query.id] = "train"
        else:
            found[query.id] = "validation" if share < TRAIN_SHARE + VALIDATION_SHARE else "test"
    return found
