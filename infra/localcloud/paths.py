"""Where the local cloud keeps what: everything lies in one state folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]


def default_state() -> Path:
    """``$RAGREC_STATE``, or ``.ragrec`` in the tree."""
    return Path(os.environ.get("RAGREC_STATE") or TREE / ".ragrec").absolute()


@dataclass(frozen=True)
class StatePaths:
    """Files and folders of a state folder."""

    state: Path

    @property
    def directory(self) -> Path:
        """The local cloud's own part of the state."""
        return self.state / "localcloud"

    @property
    def store(self) -> Path:
        """The database."""
        return self.directory / "cloud.db"

    @property
    def socket(self) -> Path:
        """The Unix socket of the API, where the machines' proxy leads."""
        return self.directory / "cloud.sock"

    @property
    def metadata_socket(self) -> Path:
        """The Unix socket of the metadata service."""
        return self.directory / "metadata.sock"

    @property
    def log(self) -> Path:
        """The log."""
        return self.directory / "log"

    @property
    def process(self) -> Path:
        """Who runs: process id and port, locked while the daemon lives."""
        return self.directory / "daemon.json"

    @property
    def output(self) -> Path:
        """What the daemon wrote besides the log: why it couldn't start."""
        return self.directory / "daemon.out"

    @property
    def spool(self) -> Path:
        """Bodies of requests on their way."""
        return self.directory / "spool"
