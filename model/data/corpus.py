"""A data set in memory, with its split: what one training or evaluation works on."""

from dataclasses import dataclass

from model.data.dataset import DataSet
from model.data.records import Document, Interaction, Judgment, Query
from model.data.split import Split, split_by_time
from model.data.text import document_text


@dataclass(frozen=True, slots=True)
class Corpus:
    """A data set in memory, with its split."""

    digest: str
    documents: list[Document]
    interactions: list[Interaction]
    queries: list[Query]
    judgments: list[Judgment]
    split: Split

    @classmethod
    def read(cls, dataset: DataSet) -> "Corpus":
        """Reads everything; raises what `DataSet` raises."""
        documents, interactions = list(dataset.documents()), list(dataset.interactions())
        queries, judgments = list(dataset.queries()), list(dataset.judgments())
        split = split_by_time(documents, interactions, queries, judgments)
        return cls(dataset.digest, documents, interactions, queries, judgments, split)

    def texts(self) -> list[str]:
        """What the encoder reads of each document."""
        return [document_text(document.title, document.text) for document in self.documents]
