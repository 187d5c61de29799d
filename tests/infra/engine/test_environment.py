"""What ``scripts/env`` prints is safe to eval and leads to this tree's engine."""

from __future__ import annotations

import subprocess

import pytest

from infra.engine import state
from infra.engine.environment import engine_environment, exports
from infra.engine.paths import Paths


@pytest.fixture
def engine(paths: Paths) -> Paths:
    """A tree with a built engine."""
    programs = paths.cache / "engine" / "key" / "bin"
    programs.mkdir(parents=True)
    paths.state.mkdir()
    state.write_engine(paths, state.EngineRecord(programs=str(programs), closed=True))
    return paths


def test_the_engine_comes_first_on_path(engine: Paths) -> None:
    path = engine_environment(engine, "/usr/bin:/bin")["PATH"]
    assert path == f"{engine.cache}/engine/key/bin:{engine.venv}/bin:/usr/bin:/bin"


def test_path_does_not_grow_with_every_eval(engine: Paths) -> None:
    once = engine_environment(engine, f"{engine.cache}/engine/older/bin:/usr/bin")["PATH"]
    assert engine_environment(engine, once)["PATH"] == once
    assert "older" not in once


def test_an_own_engine_fetches_no_plugins(engine: Paths) -> None:
    assert engine_environment(engine, "")["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"


def test_an_installed_pulumi_is_left_where_it_is(engine: Paths) -> None:
    state.write_engine(engine, state.EngineRecord(programs="", closed=False))
    environment = engine_environment(engine, "/usr/bin")
    assert environment["PATH"] == f"{engine.venv}/bin:/usr/bin"
    assert "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" not in environment


def test_state_is_this_trees_own(engine: Paths) -> None:
    environment = engine_environment(engine, "")
    assert environment["PULUMI_BACKEND_URL"] == f"file://{engine.state}/pulumi"
    assert environment["PULUMI_CONFIG_PASSPHRASE_FILE"] == f"{engine.state}/passphrase"


def test_a_shell_reads_values_as_they_are() -> None:
    values = {"ONE": "a b", "TWO": "$(touch no) `no` 'x' \"y\"", "THREE": "line\nline"}
    script = exports(values) + 'printf "%s|%s|%s" "$ONE" "$TWO" "$THREE"'
    assert subprocess.check_output(["sh", "-c", script], text=True) == "|".join(values.values())
