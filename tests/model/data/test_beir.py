import json
from pathlib import Path

import pytest

from model.data import DataError, open_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    corpus = [
        {"_id": "d1", "title": "T", "text": "x", "metadata": {"a": 1}},
        {"_id": "d2", "title": "only", "text": ""},
    ]
    queries = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "not judged"}]
    for name, records in (("corpus", corpus), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t-1\n")
    return tmp_path


def test_a_folder_is_read(folder: Path) -> None:
    dataset = open_dataset(folder)
    first, second = dataset.documents()
    assert (first.id, first.fields, second.text) == ("d1", {"a": 1}, "only")
    assert [(query.id, query.tags) for query in dataset.queries()] == [("q1", ("split:test",))]
    assert [(j.item_id, j.grade) for j in dataset.judgments()] == [("d1", 2), ("d2", 0)]


def test_errors_name_the_file_of_the_split(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("q1\td1\n")
    with pytest.raises(DataError, match=r"qrels/test\.tsv:1: field 'line'"):
        _ = open_dataset(folder).summary
