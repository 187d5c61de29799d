"""Where things lie: the tree, the cache that all trees share, and the state of this tree."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Paths:
    """The three folders.

    Attributes:
        tree: The repository.
        cache: Everything that is keyed by version or digest and can be made again.
        state: What belongs to this tree's stacks: Pulumi's state and passphrase, the local cloud.
    """

    tree: Path
    cache: Path
    state: Path

    @classmethod
    def of_environment(cls, tree: Path = TREE) -> Paths:
        """Read ``RAGREC_CACHE``, ``XDG_CACHE_HOME`` and ``RAGREC_STATE``."""
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = os.environ.get("RAGREC_CACHE") or Path(base) / "ragrec"
        state = os.environ.get("RAGREC_STATE") or tree / ".ragrec"
        return cls(tree=tree, cache=Path(cache).expanduser().absolute(), state=Path(state).expanduser().absolute())

    @property
    def venv(self) -> Path:
        """The tree's own virtual environment: a thin layer over the cached one."""
        return self.tree / ".venv"

    @property
    def lock(self) -> Path:
        """The locked Python requirements."""
        return self.tree / "requirements.lock"

    @property
    def sources(self) -> Path:
        """The folder of this package."""
        return self.tree / "infra" / "engine"
