"""A component is built once for its sources; an engine is joined from components."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine import golang
from infra.engine.components import components, join
from infra.engine.errors import SetupError
from infra.engine.paths import Paths
from infra.engine.progress import Report
from infra.engine.python import COMPLETE
from infra.engine.versions import versions


def test_the_key_follows_sources_and_not_tests(paths: Paths) -> None:
    language = components()["language"]
    before = language.key(paths)
    (paths.sources / "language" / "other_test.go").write_text("package main\n")
    (paths.sources / "language" / "README.md").write_text("text\n")
    assert language.key(paths) == before
    (paths.sources / "language" / "main.go").write_text("package main\n")
    assert language.key(paths) != before


def test_a_component_is_built_once(paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built = []
    (tmp_path / "sdk" / "python" / "cmd").mkdir(parents=True)
    (tmp_path / "sdk" / "python" / "dist").mkdir(parents=True)
    (tmp_path / "sdk" / "python" / "cmd" / "pulumi-language-python-exec").write_text("exec")
    (tmp_path / "sdk" / "python" / "dist" / "pulumi-resource-pulumi-python").write_text("resource")

    def build(
        module: Path, package: str, binary: Path, *, variables: dict[str, str], compilers: int, report: Report
    ) -> None:
        built.append((module.name, package, dict(variables)))
        binary.parent.mkdir(parents=True)
        binary.write_text("binary")

    monkeypatch.setattr(golang, "build", build)
    monkeypatch.setattr(golang, "module_folder", lambda module, name: tmp_path / "sdk")
    language = components()["language"]
    assert [language.ensure(paths, print), language.ensure(paths, print)] == ["built", "cached"]
    version = {"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": f"v{versions().pulumi}"}
    assert built == [("language", ".", version)]
    names = {"pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python", COMPLETE}
    assert {file.name for file in language.folder(paths).iterdir()} == names


def test_an_interrupted_build_is_not_taken_for_a_whole_one(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(module: Path, package: str, binary: Path, **_options: object) -> None:
        binary.parent.mkdir(parents=True, exist_ok=True)
        binary.write_text("binary")
        raise SetupError("interrupted")

    monkeypatch.setattr(golang, "build", build)
    plugin = components()["alicloud"]
    with pytest.raises(SetupError, match="interrupted"):
        plugin.ensure(paths, print)
    assert not plugin.is_complete(paths)


def test_programs_and_plugins_are_joined(paths: Paths) -> None:
    parts = list(components().values())
    for part in parts:
        part.folder(paths).mkdir(parents=True)
        (part.folder(paths) / part.program).write_text(part.name)
        (part.folder(paths) / COMPLETE).touch()
    folder = join(paths, parts)
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    plugin = f"plugins/resource-alicloud-v{versions().plugin}/pulumi-resource-alicloud"
    assert files == ["bin/pulumi", "bin/pulumi-language-python", plugin]
    assert join(paths, parts) == folder
    assert join(paths, parts[2:]) != folder
    assert not (folder / "bin" / "pulumi").is_symlink()
