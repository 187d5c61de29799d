"""The program refuses bad settings and bad data before it declares anything, in one line each."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

ROOT = Path(__file__).parents[2]


def refused(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    """Runs the program on dev's configuration with changed sections; its one error."""
    config = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]
    config |= {f"ragrec:{key}": value for key, value in changes.items()}
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(values))
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    with pytest.raises(pulumi.RunError) as error:
        runpy.run_path(str(ROOT / "infra" / "__main__.py"))
    return str(error.value)


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(monkeypatch, hybrid={"bm25Weight": 0.3, "vectorWeight": 0.8})
    assert said.startswith("configuration of stack dev: ragrec:hybrid: ")


def test_a_missing_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, data={"source": "/nowhere"}) == (
        "ragrec:data.source: /nowhere: there is no such folder"
    )


def test_a_malformed_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "documents.jsonl").write_text('{"id": "a", "title": 5, "text": "b"}\n')
    assert refused(monkeypatch, data={"source": str(tmp_path)}) == (
        f"ragrec:data.source: {tmp_path}: documents.jsonl:1: field 'title': expected a string, got a number"
    )
