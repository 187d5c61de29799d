"""The coverage table in the documentation is the code's."""

from __future__ import annotations

from pathlib import Path

from infra.localcloud.coverage import COMMAND, table

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/local-cloud-coverage.md"


def test_the_table_is_current() -> None:
    assert DOCUMENT.read_text() == table(), f"the table is out of date, renew it: {COMMAND}"
