"""The Python packages: one environment in the cache for each lock file, and a thin one in every tree that uses it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.engine.errors import SetupError
from infra.engine.paths import Paths
from infra.engine.process import run
from infra.engine.progress import Report
from infra.engine.versions import versions

COMPLETE = ".complete"
"""Marks a folder of the cache that was filled to the end; what it holds says from what."""

PRIVATE = re.compile(r"python[\d.]*|pip[\d.]*|activate(\..*)?|Activate\.ps1")
"""Programs of an environment that belong to itself alone."""


def interpreter() -> Path:
    """The system's Python, even when this one runs in a virtual environment."""
    return Path(sys.executable).resolve()


def cached_environment(paths: Paths) -> Path:
    """Where the environment of the tree's lock file is in the cache."""
    return paths.cache / "python" / hashlib.sha256(paths.lock.read_bytes()).hexdigest()[:12]


def site_packages(environment: Path) -> Path:
    """The folder of installed packages of an environment."""
    return environment / "lib" / f"python{versions().python}" / "site-packages"


def is_complete(environment: Path) -> bool:
    """Whether the cached environment was filled to the end by a Python that is still there."""
    return (environment / COMPLETE).exists() and (environment / "bin" / "python").exists()


def ensure_packages(paths: Paths, report: Report) -> str:
    """Fill the cached environment with what the lock file names, every hash checked.

    An interrupted fill goes on where it was: packages that are there are not fetched again.

    Returns:
        ``"cached"`` or ``"installed"``.
    """
    environment = cached_environment(paths)
    if is_complete(environment):
        return "cached"
    require_venv()
    remove_stale(environment)
    python = environment / "bin" / "python"
    if not python.exists():
        report("creating the environment")
        run([interpreter(), "-m", "venv", environment], failure="the Python environment can't be created")
    uv = environment / "bin" / "uv"
    if not uv.exists():
        report("fetching the installer")
        # pip checks the hash of uv; from then on uv does it, many times as fast.
        only_uv = environment / "uv.lock"
        only_uv.write_text(locked_requirement(paths.lock.read_text(), "uv"))
        run(
            [python, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", only_uv],
            report=report,
            failure="the installer uv can't be installed",
        )
    run(
        [uv, "pip", "install", "--require-hashes", "--python", python, "-r", paths.lock],
        report=report,
        failure="the Python packages can't be installed",
        environment=uv_environment(os.environ),
    )
    (environment / COMPLETE).write_text(f"{interpreter()}\n")
    return "installed"


def require_venv() -> None:
    """Check that environments can be made: Debian keeps a part of that in a package of its own.

    Raises:
        SetupError: They can't.
    """
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise SetupError(f"python3-venv is missing: apt-get install python{versions().python}-venv")


def locked_requirement(lock: str, name: str) -> str:
    """Cut one package, with its hashes, out of a lock file.

    Raises:
        SetupError: It is not in there.
    """
    found = re.search(rf"^{re.escape(name)}==.*(?:\n[ \t]+--hash=.*)+", lock, re.MULTILINE)
    if found is None:
        raise SetupError(f"requirements.lock has no entry for {name}: run scripts/lock")
    return found.group().rstrip().rstrip("\\").rstrip() + "\n"


def uv_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What makes uv use the package index and certificates that pip is told to use.

    Both tools read their own variables; a machine behind a mirror often sets only those of pip.
    """
    settings = {"UV_SYSTEM_CERTS": "true"}
    for theirs, ours in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_EXTRA_INDEX_URL", "UV_INDEX")):
        if environ.get(theirs) and ours not in environ:
            settings[ours] = environ[theirs]
    if environ.get("PIP_CERT") and "SSL_CERT_FILE" not in environ:
        settings["SSL_CERT_FILE"] = environ["PIP_CERT"]
    return settings


def ensure_tree(paths: Paths) -> str:
    """Make the tree's `.venv`: the cached packages, the repository itself, and the packages' programs.

    Returns:
        ``"cached"`` or ``"linked"``.
    """
    environment = cached_environment(paths)
    marker = paths.venv / COMPLETE
    content = f"{environment}\n{interpreter()}\n{paths.tree}\n"
    python = paths.venv / "bin" / "python"
    if marker.exists() and marker.read_text() == content and python.exists():
        return "cached"
    marker.unlink(missing_ok=True)
    run(
        [interpreter(), "-m", "venv", "--clear", "--without-pip", paths.venv],
        failure=f"{paths.venv} can't be created",
    )
    packages = site_packages(environment)
    # addsitedir, not a plain line: the cached folder's own .pth files count too.
    (site_packages(paths.venv) / "ragrec.pth").write_text(
        f"import site; site.addsitedir({str(packages)!r})\n{paths.tree}\n"
    )
    _link_programs(environment, paths.venv)
    marker.write_text(content)
    return "linked"


def _link_programs(environment: Path, venv: Path) -> None:
    """Give the tree's environment the programs of the cached one, run by the tree's own Python."""
    for program in sorted((environment / "bin").iterdir()):
        if PRIVATE.fullmatch(program.name) or not program.is_file():
            continue
        target = venv / "bin" / program.name
        with program.open("rb") as file:
            script = file.read(2) == b"#!"
        if not script:
            target.symlink_to(program)
            continue
        python = shlex.quote(str(venv / "bin" / "python"))
        target.write_text(f'#!/bin/sh\nexec {python} {shlex.quote(str(program))} "$@"\n')
        target.chmod(0o755)


def remove_stale(environment: Path) -> None:
    """Remove an environment whose interpreter is gone: it can be neither used nor filled."""
    if environment.exists() and not (environment / "bin" / "python").exists():
        shutil.rmtree(environment)
