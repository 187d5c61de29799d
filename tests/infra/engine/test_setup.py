"""``scripts/setup`` refuses early, in one line, and can be interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.engine import capacity, command, python, setup
from infra.engine.components import components
from infra.engine.errors import SetupError
from infra.engine.paths import TREE, Paths
from infra.engine.versions import versions

Program = Callable[[str, str], Path]
BUILT = setup.Engine(None, tuple(components().values()))
JAVA = "echo 'openjdk version \"17.0.1\"' >&2"
GO = "echo go version go1.26.0 linux/amd64"


def test_missing_java(program: Program, paths: Paths) -> None:
    with pytest.raises(SetupError, match="Java is missing"):
        setup.check_machine(paths, BUILT)


def test_missing_go(program: Program, paths: Paths) -> None:
    program("java", JAVA)
    with pytest.raises(SetupError, match="Go is missing"):
        setup.check_machine(paths, BUILT)


def test_missing_maven(program: Program, paths: Paths) -> None:
    program("java", JAVA)
    program("go", GO)
    with pytest.raises(SetupError, match=r"^Maven is missing, .*: apt-get install maven$"):
        setup.check_machine(paths, BUILT)


def machine(program: Program) -> None:
    program("java", JAVA)
    program("go", GO)
    program("mvn", "")


def test_disk_for_all_steps_together(program: Program, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(program)
    monkeypatch.setattr(capacity, "free_disk", lambda path: 10.0)
    total = sum(need.disk for need in versions().needs.values())
    with pytest.raises(
        SetupError, match=rf"setting up \(.*\) needs {total:.1f} GiB of disk and .* has 10.0 GiB free"
    ):
        setup.check_machine(paths, BUILT)


def test_memory_for_the_largest_step(program: Program, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(program)
    monkeypatch.setattr(capacity, "free_disk", lambda path: 1000.0)
    monkeypatch.setattr(capacity, "free_memory", lambda: 4.0)
    with pytest.raises(SetupError, match=r"needs 7\.0 GiB of memory and 4\.0 GiB are free"):
        setup.check_machine(paths, BUILT)


def test_an_installed_pulumi_needs_no_go(program: Program, paths: Paths) -> None:
    machine(program)
    program("go", "exit 1")
    setup.check_machine(paths, setup.Engine(None, ()))


def test_everything_is_built_where_nothing_is_there(program: Program, paths: Paths) -> None:
    assert setup.choose_engine(paths, print) == BUILT


def test_only_the_plugin_is_built_where_it_can_not_be_fetched(program: Program, paths: Paths) -> None:
    program("pulumi", "case $1 in version) echo v3.250.0 ;; *) exit 1 ;; esac")
    program("pulumi-language-python", "")
    engine = setup.choose_engine(paths, print)
    assert engine.installed is not None
    assert [part.name for part in engine.built] == ["alicloud"]
    assert engine.closed


def test_nothing_is_built_where_pulumi_fetches_its_plugins(program: Program, paths: Paths) -> None:
    program("pulumi", "case $1 in version) echo v3.250.0 ;; *) exit 0 ;; esac")
    program("pulumi-language-python", "")
    engine = setup.choose_engine(paths, print)
    assert engine.built == ()
    assert not engine.closed
    assert engine.programs(paths) is None


def run_setup(tree: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", tree / "scripts" / "setup", *arguments],
        env={"HOME": str(tree), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A tree with what setup itself needs."""
    tree = tmp_path / "clone"
    for part in ("infra/engine", "scripts"):
        shutil.copytree(TREE / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("infra/__init__.py", "requirements.lock", "pyproject.toml"):
        shutil.copy(TREE / part, tree / part)
    return tree


def test_a_failure_is_one_line_and_a_non_zero_exit(clone: Path, program: Program) -> None:
    done = run_setup(clone, "--json", PATH=os.environ["PATH"])
    assert done.returncode == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [done.stderr.splitlines()[-1]]
    assert errors[0].startswith("error: Java is missing")


def test_a_cache_that_can_not_be_written_is_named(clone: Path, program: Program) -> None:
    (clone / "file").write_text("")
    done = run_setup(clone, PATH=os.environ["PATH"], RAGREC_CACHE=str(clone / "file" / "cache"))
    assert done.returncode == 1
    assert done.stderr == f"error: {clone}/file/cache: Not a directory\n"


def test_help_is_in_one_style(clone: Path) -> None:
    for name in ("setup", "env", "lock"):
        done = subprocess.run([TREE / "scripts" / name, "--help"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"usage: scripts/{name} [-h]")


def test_an_old_python_is_told_what_to_install(clone: Path) -> None:
    script = (
        "import sys; sys.version_info = (3, 9, 2); sys.path.insert(0, sys.argv[1])\n"
        "from infra.engine.interpreter import require_python; require_python('setup')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, clone], env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: Python 3.11 is needed and python3 is 3.9.2: apt-get install python3.11 python3.11-venv\n"
    )


def test_interrupting_ends_everything_and_says_how_to_go_on(clone: Path, program: Program) -> None:
    """A build hangs; Ctrl-C ends it, and the next setup starts with the same lock."""
    machine(program)
    ready = clone / "ready"
    program("go", f"case $1 in version) {GO} ;; build) echo $$ > {ready}; exec sleep 60 ;; *) echo local ;; esac")
    program("mvn", "exec sleep 60")
    (Path(os.environ["PATH"]) / "sleep").symlink_to("/bin/sleep")
    paths = Paths(tree=clone, cache=clone / ".cache" / "ragrec", state=clone / ".ragrec")
    packages = python.cached_environment(paths)
    (packages / "bin").mkdir(parents=True)
    (packages / "bin" / "python").touch()
    (packages / python.COMPLETE).touch()
    with subprocess.Popen(
        [sys.executable, "-I", clone / "scripts" / "setup"],
        env={"HOME": str(clone), "PATH": os.environ["PATH"]},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(200):
            if ready.exists() and ready.read_text().strip():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == command.INTERRUPTED, said
    assert said.endswith("interrupted: run scripts/setup again to go on\n")
    builder = Path(f"/proc/{ready.read_text().strip()}")
    assert not builder.exists()


@pytest.mark.engine
def test_a_warm_setup_is_fast() -> None:
    started = time.monotonic()
    done = subprocess.run([TREE / "scripts" / "setup", "--json"], capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 3
    answer = json.loads(done.stdout)
    assert {step["result"] for step in answer["steps"][2:]} == {"cached"}
    assert [step["name"] for step in answer["steps"]][:2] == ["Engine", "Machine"]
