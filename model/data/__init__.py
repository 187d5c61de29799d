"""The data contract: records, readers of foreign formats, validation and digests. Needs nothing but Python itself."""

from model.data.dataset import DataSet, FileSummary, Progress, Summary, write_contract
from model.data.detection import open_dataset
from model.data.errors import DataChangedError, DataError
from model.data.records import Document, Interaction, Judgment, Query
from model.data.text import body_text, document_text

__all__ = [
    "DataChangedError",
    "DataError",
    "DataSet",
    "Document",
    "FileSummary",
    "Interaction",
    "Judgment",
    "Progress",
    "Query",
    "Summary",
    "body_text",
    "document_text",
    "open_dataset",
    "write_contract",
]
