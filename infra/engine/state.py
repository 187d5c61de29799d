"""This tree's state folder: Pulumi's home, backend and passphrase."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
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
    if not (tree / ".git").exists() or shutil.which("git") is None:
        return
    known = subprocess.run(["git", "config", "--get", SALT_FILTER], cwd=tree, capture_output=True, text=True)
    if known.stdout.strip() != SALT_CLEAN:
        subprocess.run(["git", "config", SALT_FILTER, SALT_CLEAN], cwd=tree, check=False, capture_output=True)
