"""What training is stopped by: retrieval on validation queries, or a contrast on pairs when there are none."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from model.data.records import Document, Judgment, Query
from model.data.split import Split
from model.data.text import document_text
from model.embedding.encoder import Encoder
from model.evaluation.retrieval import grades_of, ndcg_by_query, rank

QUERIES, DOCUMENTS = 200, 600
"""At most so many validation queries, against the documents that answer them and others up to so many in all."""


@dataclass(frozen=True, slots=True)
class Validation:
    """nDCG@10 of validation queries over a fixed part of the corpus.

    Attributes:
        queries: Validation queries.
        documents: Their answers and other documents.
        grades: By query and document.
    """

    queries: list[Query]
    documents: list[Document]
    grades: dict[str, dict[str, int]]

    def measure(self, encoder: Encoder) -> float:
        """Mean nDCG@10 of the encoder alone."""
        texts = [document_text(document.title, document.text) for document in self.documents]
        scores = encoder.encode([query.text for query in self.queries], kind="query") @ encoder.encode(texts).T
        rankings = rank(scores, self.queries, [document.id for document in self.documents])
        return float(ndcg_by_query(rankings, self.grades).mean())


def validation_set(
    documents: Sequence[Document],
    queries: Sequence[Query],
    judgments: Sequence[Judgment],
    split: Split,
    seed: int,
) -> Validation | None:
    """Draws what to validate on, or None when there is no judged validation query."""
    chance = random.Random(seed)
    chosen = split.queries(queries, "validation")
    if not chosen:
        return None
    chosen = chance.sample(chosen, min(QUERIES, len(chosen)))
    names = {query.id for query in chosen}
    grades = {query: found for query, found in grades_of(judgments).items() if query in names}
    answers = {item for found in grades.values() for item, grade in found.items() if grade > 0}
    others = [document.id for document in documents if document.id not in answers]
    kept = answers | set(chance.sample(others, min(len(others), max(0, DOCUMENTS - len(answers)))))
    return Validation(chosen, [document for document in documents if document.id in kept], grades)
