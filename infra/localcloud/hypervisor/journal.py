"""A machine's console and journal: what the kernel's console shows, and one file of entries a unit."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from infra.localcloud.hypervisor.guest import JOURNAL

_FILE_LIMIT = 8 * 1024 * 1024
_CONSOLE_LIMIT = 4 * 1024 * 1024
_CONSOLE_REST = 1024 * 1024


class Journal:
    """Writes entries to `folder`, one file a unit, and to the console."""

    def __init__(self, console: int, folder: Path = Path(JOURNAL)) -> None:
        self._console = console  # file opened for reading and appending
        self._folder = folder
        self._started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def console(self, message: str, identifier: str = "") -> None:
        """A line on the console only, with the seconds since boot."""
        stamp = f"[{time.monotonic() - self._started:12.6f}] "
        prefix = f"{identifier}: " if identifier else ""
        os.write(self._console, f"{stamp}{prefix}{message}\n".encode(errors="replace"))
        if os.fstat(self._console).st_size > _CONSOLE_LIMIT:
            rest = os.pread(self._console, _CONSOLE_REST, os.fstat(self._console).st_size - _CONSOLE_REST)
            os.ftruncate(self._console, 0)
            os.write(self._console, rest[rest.find(b"\n") + 1 :])

    def write(self, unit: str, message: str, identifier: str = "systemd", pid: int = 1) -> None:
        """An entry of the unit, shown on the console too."""
        entry = {"time": time.time(), "unit": unit, "identifier": identifier, "pid": pid, "message": message}
        path = self._folder / f"{unit}.jsonl"
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
            full = file.tell() > _FILE_LIMIT
        if full:
            path.replace(path.with_suffix(".jsonl.old"))
        self.console(message, f"{identifier}[{pid}]")
