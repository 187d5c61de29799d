"""Faults on demand, for tests of callers: throttling, errors, silence, answers that get lost."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from infra.localcloud.policy import matches
from infra.localcloud.service import ApiError
from infra.localcloud.store import Store

Kind = Literal["throttle", "error", "timeout", "drop"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Fault:
    """What happens to the next `count` calls that match.

    Kinds: ``throttle`` answers Throttling, ``error`` answers 500, both before anything happens; ``timeout`` stays
    silent for half a minute and then closes; ``drop`` lets the operation happen and closes without an answer.
    """

    service: str
    operation: str  # a pattern with * and ?
    kind: Kind
    count: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.count < 1:
            raise ValueError("count must be at least 1")


class Faults:
    """The faults in force; they survive a restart, as everything in the store does."""

    def __init__(self, store: Store, *, silence: float = TIMEOUT_SECONDS) -> None:
        self._store = store
        self._rules = store.collection("localcloud.fault")
        self._silence = silence
        self._ending = threading.Event()

    def add(self, fault: Fault) -> str:
        """Puts a fault in force and returns its id."""
        key = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        self._rules.put(key, asdict(fault))
        return key

    def list(self) -> list[Fault]:
        """What is still to happen, oldest first."""
        return [Fault(**document) for document in self._rules.values()]

    def clear(self) -> int:
        """Removes all and tells how many there were."""
        keys = self._rules.keys()
        return sum(self._rules.delete(key) for key in keys)

    def take(self, service: str, operation: str) -> Kind | None:
        """The fault of this call, counted down; None for an ordinary one."""
        if not self._rules.keys():  # the ordinary case, without a write lock
            return None
        with self._store.transaction():
            for key, document in self._rules.items():
                if document["service"] not in ("*", service) or not matches(document["operation"], operation):
                    continue
                if document["count"] <= 1:
                    self._rules.delete(key)
                else:
                    self._rules.put(key, document | {"count": document["count"] - 1})
                kind: Kind = document["kind"]
                return kind
        return None

    def before(self, kind: Kind | None) -> bool:
        """Lets a fault happen before the operation; False when the connection must be closed without an answer.

        Raises:
            ApiError: the fault is an answer.
        """
        if kind == "throttle":
            raise ApiError(400, "Throttling.User", "Request was denied due to user flow control.")
        if kind == "error":
            raise ApiError(500, "InternalError", "The request processing has failed due to some unknown error.")
        if kind == "timeout":
            self._ending.wait(self._silence)
            return False
        return True

    def end(self) -> None:
        """Ends silences: the local cloud stops."""
        self._ending.set()
