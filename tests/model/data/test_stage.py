import json
import sys
from pathlib import Path

import pytest

from model.data import stage, write_contract
from model.sample import Sample


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    return stage.main()


def test_a_data_set_is_converted(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_contract(sample, tmp_path / "in")
    assert run(monkeypatch, "--data", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["digest"] == sample.digest
    assert (tmp_path / "out" / "documents.jsonl").read_bytes() == (tmp_path / "in" / "documents.jsonl").read_bytes()


def test_an_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "documents.jsonl").write_text('{"id": "a"}\n')
    assert run(monkeypatch, "--data", str(tmp_path)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: {tmp_path}: documents.jsonl:1: field 'text': is missing\n"
