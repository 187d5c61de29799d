"""Running steps at the same time, as far as memory allows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

from infra.engine.process import processes
from infra.engine.progress import Progress, Report


@dataclass(frozen=True)
class Task:
    """A step that may run beside others.

    Attributes:
        name: As the person sees it.
        memory: What it takes at most, in GiB.
        work: Does it, and says in a word or two what came of it.
    """

    name: str
    memory: float
    work: Callable[[Report], str]


class Budget:
    """Memory that tasks take and give back. A task that wants more than there is at all runs alone."""

    def __init__(self, total: float) -> None:
        """Start with `total` GiB."""
        self._total = total
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: float) -> Iterator[None]:
        """Wait until the amount is free, and hold it."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


def run_all(tasks: Sequence[Task], progress: Progress, memory: float) -> None:
    """Run tasks in `memory` GiB. When one fails, or a person interrupts, the others are ended.

    Raises:
        SetupError: Of the first task that failed.
    """
    budget = Budget(memory)

    def run(task: Task) -> None:
        with budget.taken(task.memory), progress.step(task.name) as step:
            step.result = task.work(step.report)

    with ThreadPoolExecutor(max_workers=max(1, len(tasks))) as pool:
        futures = [pool.submit(run, task) for task in tasks]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in done if future.exception() is not None]
        except BaseException:
            _cancel(pool)
            raise
        if failed:
            _cancel(pool)
            failed[0].result()


def _cancel(pool: ThreadPoolExecutor) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    processes.stop()
