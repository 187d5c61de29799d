"""One line a step, and a sign of life from long ones."""

from __future__ import annotations

import io
import time

import pytest

from infra.engine.progress import WIDTH, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_step_is_one_line_with_seconds_and_result() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    with progress.step("Packages") as step:
        step.result = "cached"
    assert stream.getvalue() == "Packages                      0.0 s  cached\n"
    assert progress.steps[0].document() == {
        "name": "Packages",
        "seconds": pytest.approx(0, abs=0.1),
        "result": "cached",
    }


def test_a_long_step_shows_what_it_does() -> None:
    stream = io.StringIO()
    with Progress(stream, interval=0.05).step("Build") as step:
        step.report("  compiling\n one ")
        time.sleep(0.2)
        step.result = "built"
    lines = stream.getvalue().splitlines()
    assert any(line.endswith("s    compiling one") for line in lines[:-1])
    assert lines[-1].endswith("built")


def test_a_failed_step_says_so() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    with pytest.raises(ValueError, match="no"), progress.step("Build"):
        raise ValueError("no")
    assert stream.getvalue().endswith("failed\n")
    assert progress.steps[0].result == "failed"


def test_a_terminal_line_is_rewritten_and_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.engine.progress.TERMINAL_SECONDS", 0.05)
    stream = Terminal()
    with Progress(stream).step("Build") as step:
        step.report("x" * 500)
        time.sleep(0.2)
    text = stream.getvalue()
    assert "\x1b[1A\r\x1b[J" in text
    assert max(len(line) for line in text.replace("\x1b[1A\r\x1b[J", "").splitlines()) <= WIDTH
