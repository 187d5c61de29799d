"""The cached packages, and the thin environment of a tree over them."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.engine import python
from infra.engine.errors import SetupError
from infra.engine.paths import Paths

Program = Callable[[str, str], Path]

LOCK = """\
six==1.0 \\
    --hash=sha256:01
    # via other
uv==0.13.9 \\
    --hash=sha256:02 \\
    --hash=sha256:03
    # via ragrec
uvicorn==0.40 \\
    --hash=sha256:04
"""


@pytest.fixture
def cached(paths: Paths) -> Path:
    """A filled environment in the cache: a package, a .pth file, a program in Python and one that is not."""
    environment = python.cached_environment(paths)
    packages = python.site_packages(environment)
    (packages / "added").mkdir(parents=True)
    (packages / "cargo.py").write_text("VALUE = 42\n")
    (packages / "added" / "more.py").write_text("VALUE = 43\n")
    (packages / "added.pth").write_text(f"{packages / 'added'}\n")
    programs = environment / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(python.interpreter())
    (programs / "pip3.11").write_text("#!/bin/sh\n")
    (programs / "tool").write_text(
        "#!/nowhere/python\nimport cargo, sys\nprint(cargo.VALUE, sys.argv[1:], sys.prefix)\n"
    )
    (programs / "binary").write_bytes(b"\x7fELF")
    (environment / python.COMPLETE).touch()
    return environment


def test_one_package_is_cut_out_of_the_lock_file() -> None:
    assert python.locked_requirement(LOCK, "uv") == "uv==0.13.9 \\\n    --hash=sha256:02 \\\n    --hash=sha256:03\n"


def test_a_lock_file_without_the_installer_is_named() -> None:
    with pytest.raises(SetupError, match="no entry for uv: run scripts/lock"):
        python.locked_requirement("six==1.0 \\\n    --hash=sha256:01\n", "uv")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {}),
        ({"PIP_INDEX_URL": "i", "PIP_CERT": "c"}, {"UV_DEFAULT_INDEX": "i", "SSL_CERT_FILE": "c"}),
        ({"PIP_INDEX_URL": "i", "UV_DEFAULT_INDEX": "own"}, {}),
        ({"PIP_CERT": "c", "SSL_CERT_FILE": "own"}, {}),
        ({"PIP_EXTRA_INDEX_URL": "e"}, {"UV_INDEX": "e"}),
    ],
)
def test_pip_settings_reach_uv(environ: dict[str, str], expected: dict[str, str]) -> None:
    assert python.uv_environment(environ) == {"UV_SYSTEM_CERTS": "true", **expected}


def test_a_complete_environment_is_left_alone(paths: Paths, cached: Path) -> None:
    assert python.ensure_packages(paths, print) == "cached"


def test_the_environment_follows_the_lock_file(paths: Paths, cached: Path) -> None:
    paths.lock.write_text(LOCK)
    assert python.cached_environment(paths) != cached


def test_debian_without_venv_is_told_the_package(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"^python3-venv is missing: apt-get install python3\.11-venv$"):
        python.ensure_packages(paths, print)


def test_an_environment_without_its_interpreter_is_removed(paths: Paths, cached: Path) -> None:
    (cached / "bin" / "python").unlink()
    assert not python.is_complete(cached)
    python.remove_stale(cached)
    assert not cached.exists()


def test_a_tree_sees_packages_programs_and_itself(paths: Paths, cached: Path) -> None:
    (paths.tree / "own.py").write_text("")
    assert [python.ensure_tree(paths), python.ensure_tree(paths)] == ["linked", "cached"]
    script = "import cargo, more, own; print(cargo.VALUE, more.VALUE)"
    interpreter = paths.venv / "bin" / "python"
    assert subprocess.check_output([interpreter, "-c", script], text=True) == "42 43\n"
    answer = subprocess.check_output([paths.venv / "bin" / "tool", "a b"], text=True)
    assert answer == f"42 ['a b'] {paths.venv}\n"
    assert (paths.venv / "bin" / "binary").resolve() == cached / "bin" / "binary"
    assert not (paths.venv / "bin" / "pip3.11").exists()


def test_a_moved_tree_is_linked_anew(paths: Paths, cached: Path, tmp_path: Path) -> None:
    python.ensure_tree(paths)
    moved = Paths(tree=paths.tree.rename(tmp_path / "moved tree"), cache=paths.cache, state=tmp_path / "state")
    assert python.ensure_tree(moved) == "linked"
    answer = subprocess.check_output([moved.venv / "bin" / "tool"], text=True)
    assert answer == f"42 [] {moved.venv}\n"
