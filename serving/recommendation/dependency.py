"""Calls of what the service depends on: each has a time limit, and what keeps failing is left alone for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

log = logging.getLogger("ragrec.dependency")

T = TypeVar("T")

THRESHOLD = 5  # failures in a row that open the circuit
PAUSE = 10.0  # seconds that it stays open before one call tries again


class DependencyError(Exception):
    """A dependency did not answer; the request goes on without it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class Breaker:
    """A circuit breaker: closed, open for `pause` seconds after `threshold` failures in a row, then one trial."""

    def __init__(
        self, threshold: int = THRESHOLD, pause: float = PAUSE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._threshold = threshold
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._opened = 0.0
        self._trial = False

    @property
    def open(self) -> bool:
        """Whether calls are refused now, but for a trial."""
        return self._failures >= self._threshold

    def allow(self) -> bool:
        """Whether a call may go out; in the open state one may, after the pause."""
        if not self.open:
            return True
        if self._trial or self._clock() - self._opened < self._pause:
            return False
        self._trial = True
        return True

    def success(self) -> None:
        """Notes an answer."""
        self._failures = 0
        self._trial = False

    def failure(self) -> None:
        """Notes a failure."""
        self._failures += 1
        self._trial = False
        if self.open:
            self._opened = self._clock()

    def abandoned(self) -> None:
        """Notes a call that was cancelled and says nothing."""
        self._trial = False


class DependencyMetrics:
    """Failures and state by dependency."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.failures = Counter(
            "ragrec_dependency_failures_total", "Calls without an answer.", ["dependency"], registry=registry
        )
        self.open = Gauge(
            "ragrec_dependency_circuit_open", "1 while calls are held back.", ["dependency"], registry=registry
        )


class Dependency:
    """Something outside that may be down.

    Args:
        name: as it appears in answers under ``degraded``.
        timeout: seconds for one call.
        failures: exceptions that mean that it did not answer.
        metrics: where failures are counted.
    """

    def __init__(
        self,
        name: str,
        timeout: float,
        failures: tuple[type[Exception], ...],
        metrics: DependencyMetrics,
        breaker: Breaker | None = None,
    ) -> None:
        self.name = name
        self._timeout = timeout
        self._errors = failures
        self._metrics = metrics
        self._breaker = breaker or Breaker()
        self._metrics.open.labels(name).set(0)

    @property
    def up(self) -> bool:
        """Whether calls go out."""
        return not self._breaker.open

    async def call(self, work: Callable[[], Awaitable[T]], *, counts: Callable[[Exception], bool] | None = None) -> T:
        """Awaits an answer.

        Args:
            work: makes the call.
            counts: whether an exception speaks against the dependency and not against this one call.

        Raises:
            DependencyError: it failed, took too long, or is being left alone.
        """
        if not self._breaker.allow():
            raise DependencyError(self.name, "left alone after repeated failures")
        try:
            async with asyncio.timeout(self._timeout):
                answer = await work()
        except asyncio.CancelledError:
            self._breaker.abandoned()
            raise
        except TimeoutError:
            raise self._failed(f"no answer in {self._timeout:g} s", against=True) from None
        except self._errors as error:
            raise self._failed(str(error), against=counts is None or counts(error)) from error
        self._breaker.success()
        self._metrics.open.labels(self.name).set(0)
        return answer

    def _failed(self, message: str, *, against: bool) -> DependencyError:
        self._metrics.failures.labels(self.name).inc()
        if against:
            self._breaker.failure()
        else:
            self._breaker.success()
        if self._breaker.open:
            self._metrics.open.labels(self.name).set(1)
        log.warning("%s: %s", self.name, message)
        return DependencyError(self.name, message)
