"""The state folder is private, keeps its passphrase, and git sees nothing of a stack's salt."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.engine import state
from infra.engine.errors import SetupError
from infra.engine.paths import Paths

CONFIG = "config:\n  probe:a: 1 # one\n"


def git(tree: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=tree, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(paths: Paths) -> Path:
    """The tree as a git repository with a configuration file."""
    (paths.tree / "Pulumi.dev.yaml").write_text(CONFIG)
    (paths.tree / ".gitattributes").write_text("Pulumi.dev.yaml filter=pulumi-salt\n")
    git(paths.tree, "init", "-q")
    git(paths.tree, "add", "Pulumi.dev.yaml", ".gitattributes")
    git(paths.tree, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "files")
    return paths.tree


def test_only_the_owner_reads_the_passphrase(paths: Paths) -> None:
    state.ensure(paths, paths.cache / "plugins")
    assert paths.state.stat().st_mode & 0o777 == 0o700
    assert state.passphrase(paths).stat().st_mode & 0o777 == 0o600
    assert len(state.passphrase(paths).read_text().strip()) >= 43


def test_the_passphrase_stays(paths: Paths) -> None:
    state.ensure(paths, paths.cache / "plugins")
    first = state.passphrase(paths).read_text()
    state.ensure(paths, paths.cache / "plugins")
    assert state.passphrase(paths).read_text() == first


def test_plugins_are_those_of_the_present_engine(paths: Paths) -> None:
    for name in ("old", "new"):
        state.ensure(paths, paths.cache / name)
        assert (state.pulumi_home(paths) / "plugins").resolve() == paths.cache / name


def test_the_program_finds_the_environment_from_its_own_folder(paths: Paths) -> None:
    state.ensure(paths, paths.cache / "plugins")
    assert (paths.tree / "infra" / ".venv").readlink() == Path("../.venv")


def test_a_folder_in_the_way_is_named(paths: Paths) -> None:
    (paths.tree / "infra" / ".venv").mkdir()
    with pytest.raises(SetupError, match=r"infra/\.venv is a folder and should be a link"):
        state.ensure(paths, paths.cache / "plugins")


def test_git_overlooks_the_salt_and_nothing_else(paths: Paths, repository: Path) -> None:
    config = repository / "Pulumi.dev.yaml"
    state.keep_salt_out_of_git(repository)
    config.write_text(CONFIG + "encryptionsalt: v1:abc=:v1:def:ghi==\n")
    state.overlook_salt(repository, config)
    assert git(repository, "status", "--porcelain", "--untracked-files=no") == ""
    config.write_text(CONFIG + "  probe:b: 2\nencryptionsalt: v1:abc=:v1:def:ghi==\n")
    state.overlook_salt(repository, config)
    assert git(repository, "status", "--porcelain", "--untracked-files=no") == " M Pulumi.dev.yaml\n"
    git(repository, "add", "Pulumi.dev.yaml")
    assert git(repository, "show", ":Pulumi.dev.yaml") == CONFIG + "  probe:b: 2\n"


def test_a_tree_without_git_is_fine(paths: Paths) -> None:
    state.keep_salt_out_of_git(paths.tree)
    state.overlook_salt(paths.tree, paths.tree / "Pulumi.dev.yaml")


def test_the_engine_is_remembered(paths: Paths) -> None:
    paths.state.mkdir()
    record = state.EngineRecord(programs=str(paths.tree), closed=True)
    state.write_engine(paths, record)
    assert state.read_engine(paths) == record


def test_a_tree_that_is_not_set_up_says_so(paths: Paths) -> None:
    with pytest.raises(SetupError, match="not set up: run scripts/setup"):
        state.read_engine(paths)


@pytest.mark.parametrize("text", ["", "{}", '{"programs": "/not/there", "closed": true}'])
def test_a_broken_record_leads_to_setup(paths: Paths, text: str) -> None:
    paths.state.mkdir()
    (paths.state / "engine.json").write_text(text)
    with pytest.raises(SetupError, match="run scripts/setup"):
        state.read_engine(paths)
