"""A Pulumi that is there already is used when it fits, and fetches its plugins itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.engine import installed
from infra.engine.paths import Paths

Program = Callable[[str, str], Path]


def pulumi(version: str, install: str = "exit 1") -> str:
    return f"""case $1 in
version) echo v{version} ;;
plugin) {install} ;;
esac"""


def test_none(program: Program, paths: Paths) -> None:
    assert installed.find(paths) is None


@pytest.mark.parametrize(
    ("version", "fits"), [("3.250.0", True), ("3.300.1", True), ("3.249.9", False), ("4.0.0", False)]
)
def test_version_decides(program: Program, paths: Paths, version: str, fits: bool) -> None:
    file = program("pulumi", pulumi(version))
    program("pulumi-language-python", "")
    found = installed.find(paths)
    assert found == (installed.Installed(file, version) if fits else None)


def test_without_a_python_host_it_does_not_fit(program: Program, paths: Paths) -> None:
    program("pulumi", pulumi("3.250.0"))
    assert installed.find(paths) is None


def test_one_that_does_not_answer_does_not_fit(program: Program, paths: Paths) -> None:
    program("pulumi", "exit 1")
    program("pulumi-language-python", "")
    assert installed.find(paths) is None


def test_an_own_build_on_path_is_not_an_installed_one(
    program: Program, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = paths.cache / "engine" / "key" / "bin"
    folder.mkdir(parents=True)
    for name in ("pulumi", "pulumi-language-python"):
        program(name, pulumi("3.250.0")).rename(folder / name)
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    assert installed.find(paths) is None


def test_the_plugin_is_fetched_once(program: Program, paths: Paths) -> None:
    install = 'mkdir -p "$PULUMI_HOME/plugins/$3-$4-v$5"; touch "$PULUMI_HOME/ran"'
    file = program("pulumi", pulumi("3.250.0", install))
    found = installed.Installed(file, "3.250.0")
    assert installed.fetch_plugin(paths, found, print)
    (paths.cache / "engine" / "ran").unlink()
    assert installed.fetch_plugin(paths, found, print)
    assert not (paths.cache / "engine" / "ran").exists()


def test_a_plugin_that_can_not_be_fetched_is_said_and_built_later(program: Program, paths: Paths) -> None:
    file = program("pulumi", pulumi("3.250.0", "echo 'error: no route to host'; exit 255"))
    said: list[str] = []
    assert not installed.fetch_plugin(paths, installed.Installed(file, "3.250.0"), said.append)
    assert "can't be fetched" in said[-1]
    assert "no route to host" in said[-1]
