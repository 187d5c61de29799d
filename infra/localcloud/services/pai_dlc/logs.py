"""What a pod wrote, with the times at which it was seen."""

from __future__ import annotations

import bisect
import json
from datetime import UTC, datetime
from pathlib import Path


class PodLog:
    """A pod's output in a file, and beside it how many lines there were at which time."""

    def __init__(self, path: Path) -> None:
        self._text = path.with_name(path.name + ".log")
        self._index = path.with_name(path.name + ".times")

    def update(self, text: str) -> None:
        """Replaces the text by a longer one; remembers the time when lines came."""
        known = self._text.read_text() if self._text.exists() else ""
        if text == known or len(text) < len(known):
            return
        self._text.parent.mkdir(parents=True, exist_ok=True)
        self._text.write_text(text)
        moment = datetime.now(UTC).timestamp()
        with self._index.open("a") as index:
            index.write(json.dumps([moment, len(text.splitlines())]) + "\n")

    def lines(self, first: datetime | None = None, last: datetime | None = None) -> list[str]:
        """Lines that were seen between two moments; the granularity is that of the updates."""
        if not self._text.exists():
            return []
        lines = self._text.read_text().splitlines()
        seen = [json.loads(row) for row in self._index.read_text().splitlines()] if self._index.exists() else []
        times = [row[0] for row in seen]
        start = 0
        if first is not None and (before := bisect.bisect_left(times, first.timestamp())):
            start = seen[before - 1][1]
        stop = len(lines)
        if last is not None:
            until = bisect.bisect_right(times, last.timestamp())
            stop = seen[until - 1][1] if until else 0
        return lines[start:stop]
