"""What a person sees while the steps run: one line for each that ended, and the running ones alive below."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

Report = Callable[[str], None]
"""Says in a few words what a step is doing right now."""

WIDTH = 110
TERMINAL_SECONDS = 0.5
LOG_SECONDS = 20.0


@dataclass
class Step:
    """One step.

    Attributes:
        name: Its name, as the person sees it.
        seconds: How long it took.
        result: What came of it, in a few words: ``cached``, ``built`` and so on.
    """

    name: str
    seconds: float = 0.0
    result: str = ""
    started: float = field(default_factory=time.monotonic)
    doing: str = ""

    def report(self, text: str) -> None:
        """Say what is going on."""
        self.doing = " ".join(text.split())

    def running(self) -> str:
        """The step's line while it runs."""
        return f"{self.name:<24} {time.monotonic() - self.started:6.0f} s    {self.doing}"[:WIDTH]

    def ended(self) -> str:
        """The step's last line."""
        return f"{self.name:<24} {self.seconds:8.1f} s  {self.result}"[:WIDTH]

    def document(self) -> dict[str, str | float]:
        """The step for ``--json``."""
        return {"name": self.name, "seconds": round(self.seconds, 3), "result": self.result}


class Progress:
    """Prints steps to a stream and remembers them. Steps may run at the same time, each in its thread.

    A terminal shows the running steps in lines that are rewritten; elsewhere a line for each appears every 20
    seconds, so that a log shows that something is going on.
    """

    def __init__(self, stream: TextIO | None = None, interval: float = LOG_SECONDS) -> None:
        """Write to `stream`, by default standard error: standard output belongs to ``--json``."""
        self.stream = stream or sys.stderr
        self.steps: list[Step] = []
        self.started = time.monotonic()
        self._terminal = self.stream.isatty()
        self._interval = TERMINAL_SECONDS if self._terminal else interval
        self._lock = threading.Lock()
        self._active: list[Step] = []
        self._shown = 0  # lines of running steps on the terminal now
        self._ticker: threading.Thread | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step. Set its ``result``; call its ``report`` with what is going on."""
        step = Step(name)
        with self._lock:
            self._active.append(step)
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, daemon=True)
                self._ticker.start()
        try:
            yield step
        except BaseException:
            step.result = "failed"
            raise
        finally:
            step.seconds = time.monotonic() - step.started
            with self._lock:
                self._active.remove(step)
                self.steps.append(step)
                self._show(step.ended())

    def _tick(self) -> None:
        while True:
            time.sleep(self._interval)
            with self._lock:
                if not self._active:
                    self._ticker = None
                    return
                if self._terminal:
                    self._show()
                else:
                    old = [step for step in self._active if time.monotonic() - step.started >= self._interval]
                    self._show(*(step.running() for step in old))

    def _show(self, *lines: str) -> None:
        """Print lines; on a terminal above those of the running steps, which are drawn anew."""
        text = "".join(f"{line}\n" for line in lines)
        if self._terminal:
            back = f"\x1b[{self._shown}A\r\x1b[J" if self._shown else ""
            running = "".join(f"{step.running()}\n" for step in self._active)
            text, self._shown = f"{back}{text}{running}", len(self._active)
        if text:
            self.stream.write(text)
            self.stream.flush()
