"""The same machines, started by an ordinary user of the host: the tests of `test_machines`, run as one."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already"),
]

USER = 54321


def needed_paths() -> list[Path]:
    """What an ordinary user has to read to run the tests: the interpreter, the packages, the tree, OpenSearch."""
    tree = Path(__file__).resolve().parents[4]
    found = [Path(sys.base_prefix).resolve(), Path(yaml.__file__).resolve().parents[4], tree]
    return [path for path in found if path not in (Path("/"), Path("/usr"))]


def exposing(paths: list[Path]) -> str:
    """A shell script that shows the paths to everybody, in the mount namespace that it runs in.

    They often lie in root's home, which is closed: an empty folder takes its place, with nothing but the paths in it.
    """
    closed = {parent for path in paths for parent in path.parents if not parent.stat().st_mode & 0o001}
    lines = ["set -e", "mount -t tmpfs -o mode=755 none /mnt"]
    hidden = [(number, path) for number, path in enumerate(paths) if closed & set(path.parents)]
    for number, path in hidden:
        lines.append(f"mkdir /mnt/{number}; mount --rbind {shlex.quote(str(path))} /mnt/{number}")
    lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(folder))}" for folder in sorted(closed)[:1]]
    for number, path in hidden:
        place = shlex.quote(str(path))
        lines.append(f"mkdir -p {place}; mount --rbind /mnt/{number} {place}")
    lines.append("umount -l /mnt")
    return "\n".join(lines)


def test_everything_works_without_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Path("/var/tmp") / f"ragrec-hypervisor-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, USER, USER)
    try:
        tests = [
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", f"--basetemp={home / 'tests'}"),
            str(Path(__file__).with_name("test_machines.py")),
        ]
        user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all"]
        script = f"{exposing(needed_paths())}\nexec {shlex.join([*user, *tests])}"
        result = subprocess.run(
            ["unshare", "--mount", "bash", "-c", script],
            env={**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=Path(__file__).resolve().parents[4],
            capture_output=True,
            text=True,
        )
    finally:
        shutil.rmtree(home)
    assert result.returncode == 0, result.stdout + result.stderr
