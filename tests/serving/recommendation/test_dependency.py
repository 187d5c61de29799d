from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from serving.recommendation.dependency import Breaker, Dependency, DependencyError, DependencyMetrics


class Clock:
    """Time that only a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Broken(Exception):  # noqa: N818 - of this test only
    pass


def test_the_breaker_opens_after_failures_in_a_row_and_lets_one_trial_through() -> None:
    clock = Clock()
    breaker = Breaker(threshold=2, pause=10, clock=clock)

    breaker.failure()
    breaker.success()
    breaker.failure()
    assert breaker.allow()
    breaker.failure()
    assert not breaker.allow()
    clock.now = 10
    assert [breaker.allow(), breaker.allow()] == [True, False]
    breaker.failure()
    assert not breaker.allow()
    clock.now = 20
    assert breaker.allow()
    breaker.success()
    assert breaker.allow()
    assert not breaker.open


def test_an_abandoned_trial_leaves_room_for_another() -> None:
    clock = Clock()
    breaker = Breaker(threshold=1, pause=10, clock=clock)
    breaker.failure()
    clock.now = 10
    assert breaker.allow()

    breaker.abandoned()

    assert breaker.allow()


def call(
    dependency: Dependency, work: Callable[[], Awaitable[str]], counts: Callable[[Exception], bool] | None = None
) -> str:
    return asyncio.run(dependency.call(work, counts=counts))


async def fine() -> str:
    return "fine"


async def broken() -> str:
    raise Broken("out of order")


async def slow() -> str:
    await asyncio.sleep(5)
    return "late"


def made(registry: CollectorRegistry | None = None, threshold: int = 2) -> Dependency:
    metrics = DependencyMetrics(registry or CollectorRegistry())
    return Dependency("search", 0.05, (Broken,), metrics, Breaker(threshold=threshold, pause=60))


def test_failures_and_time_outs_name_the_dependency() -> None:
    registry = CollectorRegistry()
    dependency = made(registry, threshold=9)

    assert call(dependency, fine) == "fine"
    with pytest.raises(DependencyError, match="search: out of order"):
        call(dependency, broken)
    with pytest.raises(DependencyError, match=r"search: no answer in 0.05 s"):
        call(dependency, slow)
    assert registry.get_sample_value("ragrec_dependency_failures_total", {"dependency": "search"}) == 2


def test_after_repeated_failures_no_call_goes_out() -> None:
    registry = CollectorRegistry()
    dependency = made(registry)
    for _ in range(2):
        with pytest.raises(DependencyError):
            call(dependency, broken)

    with pytest.raises(DependencyError, match="left alone"):
        call(dependency, fine)
    assert not dependency.up
    assert registry.get_sample_value("ragrec_dependency_circuit_open", {"dependency": "search"}) == 1


def test_an_error_of_the_request_does_not_speak_against_the_dependency() -> None:
    dependency = made()
    for _ in range(5):
        with pytest.raises(DependencyError):
            call(dependency, broken, counts=lambda error: False)

    assert dependency.up


def test_other_exceptions_pass() -> None:
    async def wrong() -> str:
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError):
        call(made(), wrong)
