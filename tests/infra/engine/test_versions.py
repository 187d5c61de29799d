"""The pinned versions are the same everywhere they are written."""

from __future__ import annotations

import hashlib
import re
import tomllib

import pytest

from infra.engine import interpreter
from infra.engine.paths import TREE
from infra.engine.versions import numbers, versions


def go_requirement(module: str, name: str) -> str:
    text = (TREE / "infra" / "engine" / module / "go.mod").read_text()
    found = re.search(rf"^(?:require |\t){re.escape(name)} v(\S+)", text, re.MULTILINE)
    assert found is not None, f"{module}/go.mod does not require {name}"
    return found.group(1)


def test_python_packages_fit_the_engine() -> None:
    dependencies = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"pulumi=={versions().pulumi}" in dependencies
    assert f"pulumi-alicloud=={versions().plugin}" in dependencies


@pytest.mark.parametrize(
    ("module", "name", "field"),
    [
        ("pulumi", "github.com/pulumi/pulumi/pkg/v3", "pulumi"),
        ("language", "github.com/pulumi/pulumi/sdk/v3", "pulumi"),
        ("alicloud", "github.com/aliyun/terraform-provider-alicloud", "provider"),
        ("alicloud", "github.com/pulumi/pulumi-terraform-bridge/v3", "bridge"),
    ],
)
def test_go_modules_fit(module: str, name: str, field: str) -> None:
    assert go_requirement(module, name) == getattr(versions(), field)


def test_go_is_as_new_as_the_modules_ask() -> None:
    asked = []
    for module in ("pulumi", "language", "alicloud"):
        found = re.search(r"^go (\S+)", (TREE / "infra" / "engine" / module / "go.mod").read_text(), re.MULTILINE)
        assert found is not None
        asked.append(numbers(found.group(1)))
    assert max(asked) == numbers(versions().go)


def test_interpreter() -> None:
    assert numbers(versions().python) == interpreter.VERSION


def test_every_locked_package_has_a_hash_and_no_index_is_named() -> None:
    lock = (TREE / "requirements.lock").read_text()
    packages = re.findall(r"^[a-z0-9][\w.\[\]-]*==.*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL)
    assert len(packages) > 100
    assert [package for package in packages if "--hash=sha256:" not in package] == []
    assert "://" not in lock.replace("https://github.com", "")
    assert hashlib.sha256(lock.encode()).hexdigest()


@pytest.mark.parametrize(
    ("version", "expected"),
    [("v3.250.0", (3, 250, 0)), ("go1.26.8", (1, 26, 8)), ("3.251.0-alpha.1+dirty", (3, 251, 0)), ("", ())],
)
def test_numbers(version: str, expected: tuple[int, ...]) -> None:
    assert numbers(version) == expected
