"""Resolves `opensearch.toml` into `artifacts.lock`; needed only when a version changes.

Run as ``python -m infra.engine.opensearch.lock``.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.engine.opensearch.recipe import FOLDER, LIBRARY, PLUGINS, Artifact, Module, Pin, Recipe, write_lock


def main() -> None:
    """Writes the lock file beside this module."""
    recipe = Recipe.load()
    with tempfile.TemporaryDirectory(prefix="opensearch-lock-") as scratch:
        pins = resolve(recipe, Path(scratch))
    (FOLDER / "artifacts.lock").write_text(write_lock(pins))
    sys.stdout.write(f"artifacts.lock: {len(pins)} artifacts\n")


def resolve(recipe: Recipe, scratch: Path) -> list[Pin]:
    """Every artifact of the library, the modules and the plugins with its checksum, by one Maven run in `scratch`."""
    roots: dict[str, tuple[Sequence[Artifact], str]] = {LIBRARY: (recipe.library, "runtime")}
    for module in recipe.modules:
        roots[f"modules/{module.name}"] = ([module.artifact], "runtime")
    for folder, (artifacts, scope) in roots.items():
        _write_pom(scratch, folder, artifacts, scope)
    _write_pom(scratch, PLUGINS, recipe.plugins, "runtime", transitive=False)
    folders = [*roots, PLUGINS]
    (scratch / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>ragrec.lock</groupId><artifactId>all</artifactId><version>1</version><packaging>pom</packaging>"
        "<modules>" + "".join(f"<module>{folder}</module>" for folder in folders) + "</modules></project>"
    )
    command = [
        *("mvn", "--batch-mode", "--no-transfer-progress", f"{recipe.maven_plugin}:copy-dependencies"),
        *("-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true", "-DoutputDirectory=artifacts"),
    ]
    subprocess.run(command, cwd=scratch, check=True)
    found = {folder: _artifacts(scratch / folder / "artifacts") for folder in folders}
    return [
        Pin(artifact, hashlib.sha256(path.read_bytes()).hexdigest(), folder)
        for folder, artifacts in found.items()
        for artifact, path in artifacts.items()
        if (artifact.group, artifact.name) not in _inherited(folder, recipe.modules, found)
    ]


def _inherited(
    folder: str, modules: Sequence[Module], found: dict[str, dict[Artifact, Path]]
) -> set[tuple[str, str]]:
    """What a module's class loader already has from its parents: the library and the modules that it extends."""
    module = next((m for m in modules if f"modules/{m.name}" == folder), None)
    if module is None:
        return set()
    parents = [LIBRARY, *(f"modules/{name}" for name in module.extends)]
    return {(artifact.group, artifact.name) for parent in parents for artifact in found[parent]}


def _write_pom(
    scratch: Path, folder: str, artifacts: Sequence[Artifact], scope: str, *, transitive: bool = True
) -> None:
    exclusions = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    inner = f"<scope>{scope}</scope>" + ("" if transitive else exclusions)
    dependencies = "".join(artifact.xml("dependency", inner) for artifact in artifacts)
    path = scratch / folder
    path.mkdir(parents=True)
    (path / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"<groupId>ragrec.lock</groupId><artifactId>{path.name}</artifactId><version>1</version>"
        f"<packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )


def _artifacts(repository: Path) -> dict[Artifact, Path]:
    """Artifacts of a folder in Maven's repository layout: ``group/as/path/name/version/file``."""
    found = {}
    for path in sorted(p for p in repository.rglob("*") if p.suffix in {".jar", ".zip"}):
        *group, name, version, file_name = path.relative_to(repository).parts
        classifier = file_name.removeprefix(f"{name}-{version}").removesuffix(path.suffix).lstrip("-")
        found[Artifact(".".join(group), name, version, path.suffix[1:], classifier)] = path
    return found


if __name__ == "__main__":
    main()
