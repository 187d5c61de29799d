"""DataSet: what is uploaded, what a refresh sees, what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.resources.data_set import (
    MANIFEST,
    DataSetProvider,
    Stored,
    difference,
    manifest_digest,
    plan,
    validate,
)
from model.data import DataError, open_dataset
from tests.infra.resources.local_cloud import BUCKET, SETTINGS, Local


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    documents = [{"id": f"d{n}", "title": f"Title {n}", "text": f"Text {n}"} for n in range(5)]
    write(folder / "documents.jsonl", documents)
    events = [{"user_id": "u", "item_id": "d1", "event": "click", "timestamp": "2024-05-01T10:00:00Z"}]
    write(folder / "interactions.jsonl", events)
    return folder


@pytest.fixture
def provider(local: Local, monkeypatch: pytest.MonkeyPatch) -> DataSetProvider:
    monkeypatch.setattr(DataSetProvider, "settings", SETTINGS)
    return DataSetProvider()


def write(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def inputs(source: Path) -> dict[str, Any]:
    digest = open_dataset(source).digest
    return {"source": str(source), "digest": digest, "bucket": BUCKET, "prefix": "raw/"}


def test_create_stages_the_contract_and_read_finds_it_unchanged(
    provider: DataSetProvider, source: Path, local: Local
) -> None:
    props = inputs(source)

    made = provider.create(props)

    assert local.keys() == ["raw/MANIFEST.json", "raw/documents.jsonl", "raw/interactions.jsonl"]
    read = provider.read(made.id, made.outs or {})
    assert read.outs == made.outs
    assert read.inputs == props
    assert provider.diff(made.id, read.outs or {}, props).changes is False


def test_update_uploads_only_what_changed_and_removes_what_is_gone(
    provider: DataSetProvider, source: Path, local: Local, capsys: pytest.CaptureFixture[str]
) -> None:
    before = inputs(source)
    made = provider.create(before)
    write(source / "queries.jsonl", [{"id": "q", "text": "which one?"}])
    (source / "interactions.jsonl").unlink()
    after = inputs(source)
    assert provider.diff(made.id, made.outs or {}, after).changes is True
    capsys.readouterr()

    updated = provider.update(made.id, made.outs or {}, after)

    assert local.keys() == ["raw/MANIFEST.json", "raw/documents.jsonl", "raw/queries.jsonl"]
    told = capsys.readouterr().err
    assert "uploading raw/queries.jsonl" in told
    assert "uploading raw/documents.jsonl" not in told
    assert (provider.read(made.id, updated.outs or {}).outs or {})["digest"] == after["digest"]


@pytest.mark.parametrize("damage", ["replaced", "deleted", "added", "manifest"])
def test_a_change_by_hand_is_drift_that_an_update_repairs(
    damage: str, provider: DataSetProvider, source: Path, local: Local
) -> None:
    props = inputs(source)
    made = provider.create(props)
    match damage:
        case "replaced":
            local.put("raw/documents.jsonl", b'{"id":"other","text":"text"}\n')
        case "deleted":
            local.remove("raw/documents.jsonl")
        case "added":
            local.put("raw/notes.txt", b"mine")
        case _:
            local.put("raw/MANIFEST.json", b"[]")

    read = provider.read(made.id, made.outs or {})

    assert (read.outs or {})["digest"] == ""
    assert provider.diff(made.id, read.outs or {}, props).changes is True
    repaired = provider.update(made.id, read.outs or {}, props)
    assert (provider.read(made.id, repaired.outs or {}).outs or {})["digest"] == props["digest"]


def test_documents_that_change_after_the_preview_leave_the_staged_data_alone(
    provider: DataSetProvider, source: Path, local: Local
) -> None:
    props = inputs(source)
    made = provider.create(props)
    write(source / "documents.jsonl", [{"id": "d1", "text": "first"}])
    later = inputs(source)
    write(source / "documents.jsonl", [{"id": "d1", "text": "second"}])

    with pytest.raises(DataError, match="changed since the preview"):
        provider.update(made.id, made.outs or {}, later)

    assert (provider.read(made.id, made.outs or {}).outs or {})["digest"] == props["digest"]


def test_delete_leaves_nothing_and_read_says_so(provider: DataSetProvider, source: Path, local: Local) -> None:
    made = provider.create(inputs(source))

    provider.delete(made.id, made.outs or {})
    provider.delete(made.id, made.outs or {})

    assert local.keys() == []
    assert provider.read(made.id, made.outs or {}).id == ""


def test_read_of_a_missing_bucket_is_an_error_and_not_an_absence(
    provider: DataSetProvider, source: Path, local: Local
) -> None:
    props = {**inputs(source), "bucket": "not-there"}

    with pytest.raises(Exception, match="NoSuchBucket"):
        provider.read("id", props)


def test_difference_tells_uploads_from_removals() -> None:
    wanted = {"a": Stored(1, "aa"), "b": Stored(2, "bb"), MANIFEST: Stored(3, "mm")}
    found = {"a": Stored(1, "aa"), "b": Stored(2, ""), "c": Stored(4, "cc")}

    assert difference(wanted, found) == (["b", MANIFEST], ["c"])


def test_manifest_digest_needs_every_object_as_described() -> None:
    manifest = json.dumps({"digest": "d", "files": {"a": {"size": 1, "sha256": "aa", "records": 1}}}).encode()

    assert manifest_digest(manifest, {"a": Stored(1, "aa"), MANIFEST: Stored(9, "")}) == "d"
    assert manifest_digest(manifest, {"a": Stored(2, "aa")}) == ""
    assert manifest_digest(b"not json", {}) == ""
    assert manifest_digest(None, {}) == ""


def test_plan_says_what_happens_in_words() -> None:
    new = {"source": "data", "digest": "b" * 64, "bucket": "bkt", "prefix": "raw/"}
    old = {**new, "digest": "a" * 64, "objects": {"documents.jsonl": {"size": 2_500_000, "sha256": ""}}}

    assert plan({}, new) == ["check data", "upload it to oss://bkt/raw/"]
    assert plan(new, {**new, "source": "elsewhere"}) == []
    assert plan(old, new)[1] == (
        "replace data set aaaaaaaaaaaa (2.5 MB) in oss://bkt/raw/ by bbbbbbbbbbbb: changed objects only"
    )


@pytest.mark.parametrize(
    ("name", "value"), [("digest", "abc"), ("prefix", "raw"), ("bucket", "UPPER"), ("source", "")]
)
def test_validate_names_the_property(name: str, value: str) -> None:
    assert list(validate({name: value})) == [name]
