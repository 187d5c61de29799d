"""Steps run at once as far as memory allows, and stop when one fails."""

from __future__ import annotations

import io
import threading
import time

import pytest

from infra.engine import tasks
from infra.engine.errors import SetupError
from infra.engine.process import Processes, run
from infra.engine.progress import Progress, Report
from infra.engine.tasks import Task, run_all


@pytest.fixture(autouse=True)
def own_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping is for good, so every test has processes of its own."""
    ours = Processes()
    monkeypatch.setattr(tasks, "processes", ours)
    monkeypatch.setattr("infra.engine.process.processes", ours)


class Meter:
    """Measures how much memory tasks hold at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.peak = 0.0

    def task(self, name: str, memory: float) -> Task:
        def work(_report: Report) -> str:
            with self.lock:
                self.now += memory
                self.peak = max(self.peak, self.now)
            time.sleep(0.05)
            with self.lock:
                self.now -= memory
            return "done"

        return Task(name, memory, work)


@pytest.mark.parametrize(("memory", "peak"), [(10.0, 10.0), (7.0, 7.0), (3.0, 7.0)])
def test_memory_bounds_what_runs_at_once(memory: float, peak: float) -> None:
    meter, progress = Meter(), Progress(io.StringIO())
    run_all([meter.task("a", 7.0), meter.task("b", 2.0), meter.task("c", 1.0)], progress, memory)
    assert meter.peak == peak
    assert sorted(step.name for step in progress.steps) == ["a", "b", "c"]


def test_the_first_failure_ends_the_others() -> None:
    def fail(_report: Report) -> str:
        time.sleep(0.3)
        raise SetupError("Go is missing")

    def long(report: Report) -> str:
        return run(["sleep", "60"], failure="no", report=report)

    started = time.monotonic()
    with pytest.raises(SetupError, match="Go is missing"):
        run_all([Task("long", 1.0, long), Task("fail", 1.0, fail)], Progress(io.StringIO()), 10.0)
    assert time.monotonic() - started < 5
