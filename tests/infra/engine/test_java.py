"""A Java that is missing or too old is told with the package to install."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.engine.errors import SetupError
from infra.engine.java import require_java

Program = Callable[[str, str], Path]


def test_missing(program: Program) -> None:
    with pytest.raises(SetupError, match=r"^Java is missing, .* need 17: apt-get install openjdk-17-jdk-headless$"):
        require_java()


@pytest.mark.parametrize(("said", "version"), [("11.0.2", "11"), ("1.8.0_292", "8")])
def test_too_old(program: Program, said: str, version: str) -> None:
    program("java", f"echo 'openjdk version \"{said}\"' >&2")
    with pytest.raises(SetupError, match=rf"^Java {version} \(.*/java\) is too old, .*apt-get install openjdk-17"):
        require_java()


def test_silent(program: Program) -> None:
    program("java", "exit 1")
    with pytest.raises(SetupError, match="does not say its version"):
        require_java()


@pytest.mark.parametrize("said", ["17.0.15", "21"])
def test_new_enough(program: Program, said: str) -> None:
    program("java", f"echo 'openjdk version \"{said}\" 2025-04-15' >&2")
    assert require_java() == said
