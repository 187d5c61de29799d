"""A Go that is missing or too old is told before anything is built; a build appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.engine import golang
from infra.engine.errors import SetupError

Program = Callable[[str, str], Path]


def go(version: str, toolchain: str = "local", build: str = "exit 1") -> str:
    return f"""case $1 in
version) echo go version go{version} linux/amd64 ;;
env) echo {toolchain} ;;
build) {build} ;;
esac"""


@pytest.fixture(autouse=True)
def no_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOTOOLCHAIN", raising=False)


def test_missing_go_names_the_package(program: Program) -> None:
    with pytest.raises(
        SetupError, match=r"^Go is missing, .* needs 1\.25\.11: apt-get install golang-go .*install Pulumi"
    ):
        golang.require_go()


def test_old_go_is_refused(program: Program) -> None:
    program("go", go("1.19.8"))
    with pytest.raises(
        SetupError, match=r"^Go 1\.19\.8 \(.*/go\) is too old, .* needs 1\.25\.11: .*GOTOOLCHAIN=auto"
    ):
        golang.require_go()


def test_old_go_that_may_fetch_a_newer_one_is_fine(program: Program) -> None:
    file = program("go", go("1.23.0", toolchain="auto"))
    assert golang.require_go() == str(file)


def test_go_before_toolchains_can_not_fetch_a_newer_one(program: Program) -> None:
    program("go", go("1.19.8", toolchain="auto"))
    with pytest.raises(SetupError, match="too old"):
        golang.require_go()


def build(program: Program, tmp_path: Path, script: str) -> tuple[Path, list[str]]:
    program("go", go("1.26.0", build=script))
    module, binary = tmp_path / "module", tmp_path / "out" / "program"
    module.mkdir()
    lines: list[str] = []
    golang.build(module, ".", binary, variables={"main.version": "1"}, compilers=2, report=lines.append)
    return binary, lines


def test_build_counts_packages_and_renames(program: Program, tmp_path: Path) -> None:
    # The output is the argument after -o; the linker's variables come before.
    script = 'echo one; echo two; while [ "$1" != -o ]; do shift; done; echo "$CGO_ENABLED" > "$2"'
    binary, lines = build(program, tmp_path, script)
    assert binary.read_text() == "0\n"
    assert lines == ["fetching modules", "1 packages, one", "2 packages, two"]
    assert list(binary.parent.iterdir()) == [binary]


def test_failed_build_leaves_nothing(program: Program, tmp_path: Path) -> None:
    script = 'while [ "$1" != -o ]; do shift; done; echo half > "$2"; echo "main.go:1: error: no"; exit 1'
    with pytest.raises(
        SetupError, match=r"^program can't be built: go failed with exit code 1: main.go:1: error: no$"
    ):
        build(program, tmp_path, script)
    assert list((tmp_path / "out").iterdir()) == []
