import json
import os
from pathlib import Path

import pytest

from model.data import DataChangedError, DataError, open_dataset, write_contract

DOCUMENT = {"id": "a", "title": "A", "text": "about a"}
INTERACTION = {"user_id": "u", "item_id": "a", "event": "click", "timestamp": "2024-01-01T00:00:00Z"}


def write(folder: Path, **files: list[object] | str) -> Path:
    names = {"judgments": "judgments.tsv"}
    for name, content in files.items():
        text = content if isinstance(content, str) else "".join(json.dumps(record) + "\n" for record in content)
        (folder / names.get(name, f"{name}.jsonl")).write_text(text, encoding="utf-8")
    return folder


def error(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        _ = open_dataset(folder).summary
    return str(caught.value)


def test_everything_that_is_there_is_read(tmp_path: Path) -> None:
    document = DOCUMENT | {
        "url": "https://x",
        "tags": ["t"],
        "fields": {"n": 1},
        "created_at": "2024-01-01T02:00:00+02:00",
    }
    write(
        tmp_path,
        documents=[document],
        interactions=[INTERACTION | {"query": "a?", "value": 2}],
        queries=[{"id": "q", "text": "a?", "created_at": 1704067200}],
        judgments="query_id\titem_id\tgrade\nq\ta\t2\n",
    )
    dataset = open_dataset(tmp_path)
    (read,), (interaction,), (query,) = dataset.documents(), dataset.interactions(), dataset.queries()
    assert (read.title, read.tags, read.fields, read.created_at) == ("A", ("t",), {"n": 1}, query.created_at)
    assert (interaction.query, interaction.value) == ("a?", 2.0)
    assert [judgment.grade for judgment in dataset.judgments()] == [2]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"title": "A", "text": "x"}, "field 'id': is missing"),
        ({"id": "", "text": "x"}, "field 'id': is empty"),
        ({"id": "a", "title": "A"}, "field 'text': is missing"),
        ({"id": "a", "text": "  "}, "field 'text': is empty"),
        ({"id": "a", "text": 3}, "field 'text': expected a string, got a number"),
        ({"id": "a", "text": "x", "tags": "t"}, "field 'tags': expected an array of non-empty strings"),
        ({"id": "a", "text": "x", "fields": []}, "field 'fields': expected an object, got an array"),
        ({"id": "a", "text": "x", "created_at": "2024-01-01T00:00:00"}, "has no zone"),
        ({"id": "a", "text": "x", "created_at": "yesterday"}, "neither ISO 8601 nor seconds"),
        ({"id": "a", "text": "x", "created_at": 1704067200000}, "milliseconds?"),
        ([1], "expected a JSON object"),
        ({"id": "x" * 600, "text": "x"}, "longer than 512 bytes"),
    ],
)
def test_an_error_names_file_line_and_field(tmp_path: Path, record: object, message: str) -> None:
    found = error(write(tmp_path, documents=[{"id": "first", "title": "", "text": "x"}, record]))
    assert "documents.jsonl:2: " in found
    assert message in found
    assert "\n" not in found


def test_broken_json_and_bytes_are_named(tmp_path: Path) -> None:
    (tmp_path / "documents.jsonl").write_bytes(b'{"id": "a"\n\xff\xfe\n')
    found = error(tmp_path)
    assert "documents.jsonl:1: is not JSON" in found
    assert "documents.jsonl:2: is not UTF-8" in found


def test_ten_errors_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    found = error(write(tmp_path, documents=[{"id": str(number)} for number in range(25)])).splitlines()
    assert len(found) == 12
    assert found[0].endswith("25 errors")
    assert found[-1] == "  and 15 more"


def test_duplicate_ids_are_errors(tmp_path: Path) -> None:
    assert "documents.jsonl:2: field 'id': 'a' is there twice" in error(
        write(tmp_path, documents=[DOCUMENT, DOCUMENT])
    )


def test_interactions_with_unknown_items_are_dropped_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path, documents=[DOCUMENT], interactions=[INTERACTION, INTERACTION, INTERACTION | {"item_id": "gone"}])
    dataset = open_dataset(tmp_path)
    assert [interaction.item_id for interaction in dataset.interactions()] == ["a", "a"]
    assert dataset.summary.warnings == (
        "interaction with an item that is no document, dropped: 1 record, first at interactions.jsonl:3",
    )


def test_a_log_of_other_documents_is_an_error(tmp_path: Path) -> None:
    found = error(write(tmp_path, documents=[DOCUMENT], interactions=[INTERACTION | {"item_id": "b"}]))
    assert "interactions.jsonl:1: field 'item_id': 'b' is no document" in found


@pytest.mark.parametrize(
    ("line", "message"),
    [("q a 1", "expected 3 tab-separated columns"), ("q\ta\t1.5", "field 'grade'"), ("\ta\t1", "field 'query id'")],
)
def test_bad_judgments_are_named(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, documents=[DOCUMENT], queries=[{"id": "q", "text": "x"}], judgments=f"q\ta\t1\n{line}\n")
    found = error(tmp_path)
    assert "judgments.tsv:2" in found
    assert message in found


def test_contradicting_judgments_are_errors(tmp_path: Path) -> None:
    write(tmp_path, documents=[DOCUMENT], queries=[{"id": "q", "text": "x"}], judgments="q\ta\t1\nq\ta\t2\n")
    assert "judged before with another grade" in error(tmp_path)


def test_long_texts_are_cut_with_a_warning(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, documents=[DOCUMENT | {"text": "x" * 200_000}]))
    (document,) = dataset.documents()
    assert len(document.text) == 50_000
    assert "cut to 50,000 characters" in dataset.summary.warnings[0]


def test_unknown_fields_are_ignored_with_a_warning(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, documents=[DOCUMENT | {"colour": "red"}]))
    assert dataset.summary.warnings == ("unknown field 'colour' ignored: 1 record, first at documents.jsonl:1",)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_no_document_is_an_error(tmp_path: Path, content: str) -> None:
    assert "there is no document" in error(write(tmp_path, documents=content))


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    write(first, documents=[DOCUMENT | {"created_at": "2024-01-01T01:00:00+01:00"}])
    write(second, documents=[{"text": "about a", "created_at": 1704067200, "title": "A", "id": "a", "tags": []}])
    assert open_dataset(first).digest == open_dataset(second).digest
    write(second, documents=[DOCUMENT | {"text": "about b"}])
    assert open_dataset(first).digest != open_dataset(second).digest


def test_what_is_written_reads_the_same(tmp_path: Path) -> None:
    write(tmp_path, documents=[DOCUMENT], interactions=[INTERACTION])
    summary = write_contract(open_dataset(tmp_path), tmp_path / "out")
    assert open_dataset(tmp_path / "out").summary.files == summary.files
    manifest = json.loads((tmp_path / "out" / "MANIFEST.json").read_text())
    assert manifest["digest"] == summary.digest
    assert manifest["files"].keys() == {"documents.jsonl", "interactions.jsonl"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*manifest["files"], "MANIFEST.json"}


def test_writing_replaces_what_is_no_longer_there(tmp_path: Path) -> None:
    write(tmp_path, documents=[DOCUMENT], interactions=[INTERACTION])
    write_contract(open_dataset(tmp_path), tmp_path / "out")
    (tmp_path / "interactions.jsonl").unlink()
    write_contract(open_dataset(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out" / "interactions.jsonl").exists()


def test_errors_write_nothing(tmp_path: Path) -> None:
    write(tmp_path, documents=[{"id": "a"}])
    with pytest.raises(DataError):
        write_contract(open_dataset(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, documents=[DOCUMENT, DOCUMENT | {"id": "b"}]))
    documents = dataset.documents()
    next(documents)
    with (tmp_path / "documents.jsonl").open("a") as file:
        file.write(json.dumps(DOCUMENT | {"id": "c"}) + "\n")
    with pytest.raises(DataChangedError, match=r"documents\.jsonl: changed while it was being read"):
        list(documents)


def test_a_change_of_the_same_size_is_noticed(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, documents=[DOCUMENT]))
    _ = dataset.digest
    write(tmp_path, documents=[DOCUMENT | {"text": "about b"}])
    os.utime(tmp_path / "documents.jsonl", ns=(0, 0))
    with pytest.raises(DataChangedError):
        write_contract(dataset, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_removed_file_is_named(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, documents=[DOCUMENT], interactions=[INTERACTION]))
    documents = dataset.documents()
    next(documents)
    (tmp_path / "interactions.jsonl").unlink()
    with pytest.raises(DataChangedError, match="was removed"):
        list(documents)


def test_progress_is_reported(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, documents=[DOCUMENT]))
    calls: list[tuple[str, int]] = []
    dataset.progress = lambda name, count: calls.append((name, count))
    _ = dataset.summary
    assert calls == [("documents.jsonl", 1)]
