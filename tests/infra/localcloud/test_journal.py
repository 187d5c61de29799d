"""The log: one JSON object a line, no secrets."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from infra.localcloud.journal import Entry, open_log, redact, write
from infra.localcloud.wire import Response


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Signature=abcdef&Action=Get", "Signature=[redacted]&Action=Get"),
        ('{"AccessKeySecret": "abcdef"}', '{"AccessKeySecret": "[redacted]"}'),
        ("x-oss-security-token: abcdef", "x-oss-security-token: [redacted]"),
        ("the key hidden appears", "the key [redacted] appears"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_are_left_out(text: str, kept: str) -> None:
    assert redact(text, ["hidden"]) == kept


def test_calls_are_logged(tmp_path: Path) -> None:
    root = logging.getLogger()
    level = root.level
    handler = open_log(tmp_path / "log", ["hidden"])
    try:
        entry = Entry("R", "GET", "host", "oss", "GetObject", "LTAI")
        entry.answered(Response(403), "AccessDenied")
        write(entry, 0.25)
        try:
            raise ValueError("hidden")
        except ValueError:
            logging.getLogger("infra.localcloud").exception("defect")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
    first, second = (json.loads(line) for line in (tmp_path / "log").read_text().splitlines())
    assert (first["level"], first["operation"], first["status"], first["code"]) == (
        "warning",
        "GetObject",
        403,
        "AccessDenied",
    )
    assert "ValueError: [redacted]" in second["exception"]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
