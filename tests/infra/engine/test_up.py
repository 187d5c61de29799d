"""The parts of ``scripts/up`` that need no stack: what is asked, which data set, what took how long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.engine import pulumi_cli
from infra.engine.errors import SetupError
from infra.engine.paths import Paths
from infra.engine.up import Question, questions, require_pairs, use_data
from model.data import DataError, open_dataset
from model.embedding.pairs import TooFewPairsError

CONFIG = """\
# A comment stays.
config:
  ragrec:data:
    source: sample
  ragrec:hybrid:
    bm25Weight: 0.3 # this one, too
"""


def folder(path: Path, documents: int, **files: list[dict[str, str]]) -> Path:
    path.mkdir()
    lines = [{"id": f"d{n}", "title": f"Title {n}", "text": f"Text of number {n}."} for n in range(documents)]
    for name, records in ({"documents": lines} | files).items():
        (path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def event(user: str, item: str) -> dict[str, str]:
    return {"user_id": user, "item_id": item, "event": "view", "timestamp": "2026-01-01T00:00:00Z"}


def test_the_busiest_users_and_the_first_query_are_asked(tmp_path: Path) -> None:
    data = open_dataset(
        folder(
            tmp_path / "data",
            2,
            interactions=[event("b", "d0"), event("c", "d0"), event("c", "d1"), event("a", "d1")],
            queries=[{"id": "q", "text": "what is it"}],
        )
    )
    assert questions(data) == [Question(user_id="c"), Question(user_id="a"), Question(query="what is it")]
    assert [question.words for question in questions(data)] == ["user c", "user a", "query “what is it”"]


def test_documents_alone_are_asked_for_by_title(tmp_path: Path) -> None:
    assert questions(open_dataset(folder(tmp_path / "data", 2))) == [Question(query="Title 0")]


def test_a_data_set_is_written_into_the_configuration_and_back(paths: Paths, tmp_path: Path) -> None:
    file = paths.tree / "Pulumi.dev.yaml"
    file.write_text(CONFIG)
    use_data(paths, "dev", tmp_path / 'with "quotes" and \\1')
    assert file.read_text() == CONFIG.replace("sample", json.dumps(str(tmp_path / 'with "quotes" and \\1')))
    use_data(paths, "dev", None)
    assert file.read_text() == CONFIG
    assert not list(paths.tree.glob(".Pulumi.dev.yaml*"))


def test_a_configuration_without_data_is_refused(paths: Paths) -> None:
    (paths.tree / "Pulumi.dev.yaml").write_text("config: {}\n")
    with pytest.raises(SetupError, match=r"Pulumi\.dev\.yaml: has no ragrec:data with a source"):
        use_data(paths, "dev", None)


def test_too_few_pairs_are_found_before_anything_is_built(tmp_path: Path) -> None:
    require_pairs(open_dataset(folder(tmp_path / "enough", 40)))
    few = folder(tmp_path / "few", 3)
    with pytest.raises(TooFewPairsError) as error:
        require_pairs(open_dataset(few))
    assert str(error.value).startswith(f"{few}: the data has 3 training pairs, at least 32 are needed: add ")
    assert "\n" not in str(error.value)


def test_a_malformed_data_set_is_no_question_of_pairs(tmp_path: Path) -> None:
    twice = folder(tmp_path / "data", 1)
    with (twice / "documents.jsonl").open("a") as file:
        file.write('{"id": "d0", "text": "b"}\n')
    with pytest.raises(DataError, match=r"documents\.jsonl:2: field 'id'"):
        require_pairs(open_dataset(twice))


def test_durations_are_those_of_resources_that_changed(tmp_path: Path) -> None:
    def line(kind: str, op: str, timestamp: int, urn: str) -> str:
        return json.dumps({"timestamp": timestamp, kind: {"metadata": {"op": op, "urn": urn}}})

    bucket = "urn:pulumi:dev::ragrec::ragrec:storage:Storage$alicloud:oss/bucket:Bucket::data"
    job = "urn:pulumi:dev::ragrec::ragrec:training:Training$pulumi-python:dynamic/ragrec:TrainingJob::job"
    events = [
        line("resourcePreEvent", "create", 100, bucket),
        line("resourcePreEvent", "create", 101, job),
        line("resOutputsEvent", "create", 102, bucket),
        line("resOutputsEvent", "create", 161, job),
        line("resOutputsEvent", "same", 162, bucket),
        json.dumps({"timestamp": 163, "summaryEvent": {}}),
    ]
    log = tmp_path / "events"
    log.write_text("\n".join(events) + "\n")
    assert list(pulumi_cli.durations(log).items()) == [
        ("pulumi-python:dynamic/ragrec:TrainingJob::job", 60.0),
        ("alicloud:oss/bucket:Bucket::data", 2.0),
    ]
    assert pulumi_cli.durations(tmp_path / "none") == {}
