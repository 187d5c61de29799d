"""Measuring in turn, and an empty program that the engine really runs."""

from pathlib import Path

import pytest

from infra.engine import bench
from infra.engine.environment import engine_environment
from infra.engine.paths import Paths


def test_commands_take_turns_and_the_first_pair_does_not_count() -> None:
    order: list[str] = []
    times = iter(range(100))

    def run(name: str) -> float:
        order.append(name)
        return float(next(times))

    ours, least = bench._paired(lambda: run("a"), lambda: run("b"), 2)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert (ours, least) == ([2.0, 4.0], [3.0, 5.0])


def test_a_spread_holds_the_median() -> None:
    assert bench._spread([3, 1, 2]) == {"min": 1, "median": 2, "max": 3}


@pytest.mark.engine
def test_the_empty_program_comes_up(tmp_path: Path) -> None:
    paths = Paths.of_environment()
    variables = engine_environment(paths, "/usr/bin:/bin")
    own = bench._empty_project(paths, tmp_path / "bench", 4, variables)
    command = ["pulumi", "preview", "--non-interactive", "--expect-no-changes", "--stack", "bench"]
    assert bench._timed(command, tmp_path / "bench", own) > 0
