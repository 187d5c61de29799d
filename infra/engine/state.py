"""This tree's state folder: Pulumi's home, backend and passphrase."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.engine.errors import SetupError
from infra.engine.paths import Paths

PASSPHRASE_BYTES = 32
SALT_FILTER = "filter.pulumi-salt.clean"
SALT_CLEAN = "sed /^encryptionsalt:/d"


def pulumi_home(paths: Paths) -> Path:
    """Where the Pulumi command line keeps its own things for this tree."""
    return paths.state / "pulumi-home"


def backend(paths: Paths) -> Path:
    """The folder of the file backend."""
    return paths.state / "pulumi"


def passphrase(paths: Paths) -> Path:
    """The file of the passphrase that encrypts the secrets of this tree's stacks."""
    return paths.state / "passphrase"


def ensure(paths: Paths, plugins: Path) -> None:
    """Make the folder, readable for its owner only, with a random passphrase that is never changed again.

    Args:
        paths: The tree and its state.
        plugins: The folder, shared by all trees, that Pulumi finds its plugins in.
    """
    paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.state.chmod(0o700)
    for folder in (pulumi_home(paths), backend(paths), plugins):
        folder.mkdir(parents=True, exist_ok=True)
    point(pulumi_home(paths) / "plugins", plugins)
    # The SDK's dynamic provider looks for `virtualenv` in the program's folder, the language host beside Pulumi.yaml.
    point(paths.tree / "infra" / ".venv", Path("../.venv"))
    secret = passphrase(paths)
    if not secret.exists():
        unfinished = secret.with_name(f".passphrase.{os.getpid()}")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(PASSPHRASE_BYTES) + "\n")
        unfinished.rename(secret)
    keep_salt_out_of_git(paths.tree)


def point(link: Path, target: Path) -> None:
    """Let a symbolic link lead to a folder, wherever it leads now."""
    if link.is_symlink() and link.readlink() == target:
        return
    if link.is_dir() and not link.is_symlink():
        raise SetupError(f"{link} is a folder and should be a link to {target}: move it away")
    unfinished = link.with_name(f".{link.name}.{os.getpid()}")
    unfinished.symlink_to(target)
    unfinished.rename(link)


def keep_salt_out_of_git(tree: Path) -> None:
    """Let git overlook the line that Pulumi writes into Pulumi.dev.yaml (docs/decisions/0001-language-host.md).

    The salt belongs to this tree's own passphrase, so it is of no use to others; .gitattributes names the filter.
    """
    if _git(tree, "config", "--get", SALT_FILTER) != SALT_CLEAN:
        _git(tree, "config", SALT_FILTER, SALT_CLEAN)


def overlook_salt(tree: Path, file: Path) -> None:
    """Tell git the new size of a file whose salt was written: it takes a new size for a change without looking.

    Does nothing when there are other changes in the file, since they are the person's to add.
    """
    if _git(tree, "diff", "--quiet", "--", str(file)) is not None:
        _git(tree, "add", "--", str(file))


def _git(tree: Path, *arguments: str) -> str | None:
    """What git says; None when it fails, is not there, or the tree is not a repository."""
    if not (tree / ".git").exists() or shutil.which("git") is None:
        return None
    answer = subprocess.run(["git", *arguments], cwd=tree, capture_output=True, text=True)
    return answer.stdout.strip() if answer.returncode == 0 else None


@dataclass(frozen=True)
class EngineRecord:
    """What setup found or built, for the commands that come after it.

    Attributes:
        programs: Folder of the built programs, or "" where Pulumi was installed already.
        closed: Whether Pulumi must not try to fetch plugins.
    """

    programs: str
    closed: bool


def write_engine(paths: Paths, record: EngineRecord) -> None:
    """Record which engine this tree uses."""
    (paths.state / "engine.json").write_text(json.dumps(asdict(record)) + "\n")


def read_engine(paths: Paths) -> EngineRecord:
    """Read which engine this tree uses.

    Raises:
        SetupError: ``scripts/setup`` has not been run here, or what it made is gone.
    """
    try:
        record = EngineRecord(**json.loads((paths.state / "engine.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise SetupError("this tree is not set up: run scripts/setup") from error
    if record.programs and not Path(record.programs).is_dir():
        raise SetupError(f"{record.programs} is gone: run scripts/setup")
    return record
