"""A stack is made and removed without changing what git tracks."""

from __future__ import annotations

import os
import subprocess

import pytest

from infra.engine import environment, stack, state
from infra.engine.errors import SetupError
from infra.engine.paths import Paths as TreePaths

CONFIG = "# first line\nconfig:\n  probe:list:\n    - a   # kept as it is\n  probe:text:   'quoted'\n"


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("config:\n  a:b: c\n", "encryptionsalt: x\n", "config:\n  a:b: c\nencryptionsalt: x\n"),
        ("config:\n  a:b: c", "encryptionsalt: x", "config:\n  a:b: c\nencryptionsalt: x\n"),
        ("encryptionsalt: old\nconfig: {}\n", "encryptionsalt: x\n", "config: {}\nencryptionsalt: x\n"),
        ("config: {}\nencryptionsalt: old\n", "", "config: {}\n"),
        ("", "encryptionsalt: x\n", "encryptionsalt: x\n"),
    ],
)
def test_write_salt(paths: TreePaths, text: str, line: str, expected: str) -> None:
    config = stack.config_file(paths, "dev")
    config.write_text(text)
    stack.write_salt(config, line)
    assert config.read_text() == expected


@pytest.mark.parametrize("text", [None, "runtime: python\n"])
def test_a_project_without_name_is_told(paths: TreePaths, text: str | None) -> None:
    file = paths.tree / "Pulumi.yaml"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(SetupError, match=r"Pulumi\.yaml has no name"):
        stack.project_name(paths)


def test_without_pulumi_setup_is_named(paths: TreePaths) -> None:
    paths.state.mkdir()
    with pytest.raises(SetupError, match="pulumi is not there: run scripts/setup"):
        stack.select_or_init(paths, "dev", {"PATH": "/nowhere"})


@pytest.mark.engine
def test_life_of_a_stack(paths: TreePaths) -> None:
    real = TreePaths.of_environment()
    state.ensure(paths, paths.cache / "plugins")
    state.write_engine(paths, state.read_engine(real))
    (paths.tree / ".gitattributes").write_text("Pulumi.dev.yaml filter=pulumi-salt\n")
    (paths.tree / ".gitignore").write_text(".ragrec/\n.venv\n")
    config = stack.config_file(paths, "dev")
    config.write_text(CONFIG)
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b.c commit -q -m files"):
        subprocess.run(["git", *command.split()], cwd=paths.tree, check=True)
    state.keep_salt_out_of_git(paths.tree)
    variables = environment.engine_environment(paths, os.environ["PATH"])

    def pulumi(*arguments: str) -> str:
        done = subprocess.run(
            ["pulumi", *arguments],
            cwd=paths.tree,
            env={**os.environ, **variables},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def git_status() -> str:
        return subprocess.check_output(["git", "status", "--porcelain"], cwd=paths.tree, text=True)

    assert stack.select_or_init(paths, "dev", variables)
    assert not stack.select_or_init(paths, "dev", variables)
    assert config.read_text().startswith(f"{CONFIG}encryptionsalt: v1:")
    assert pulumi("stack", "--show-name") == "dev"
    assert pulumi("config", "get", "probe:text") == "quoted"
    pulumi("stack", "output", "--json")
    # Another state of the same tree has put its own salt there.
    config.write_text(f"{CONFIG}encryptionsalt: v1:AAAAAAAAAAA=:v1:AAAAAAAAAAAAAAAA:AAAA\n")
    assert not stack.select_or_init(paths, "dev", variables)
    pulumi("config", "set", "--secret", "probe:secret", "x")
    pulumi("config", "rm", "probe:secret")
    config.write_text(CONFIG)
    assert not stack.select_or_init(paths, "dev", variables)
    assert git_status() == ""
    with pytest.raises(SetupError, match=r"^stack other can't be removed: error: no stack named 'other' found"):
        stack.remove(paths, "other", variables)
    stack.remove(paths, "dev", variables)
    assert config.read_text() == CONFIG
    assert git_status() == ""
    assert stack.select_or_init(paths, "dev", variables)
