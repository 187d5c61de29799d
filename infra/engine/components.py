"""The engine's programs: those that Pulumi brings where it is installed, and those that are built here.

A built program is a component of the cache under ``engine/components/<name>-<digest of versions and sources>``; the
programs of one engine are joined, by hard links, in ``engine/<digest>``.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.engine import capacity, golang
from infra.engine.paths import Paths
from infra.engine.progress import Report
from infra.engine.python import COMPLETE
from infra.engine.versions import Versions, versions

SDK = "github.com/pulumi/pulumi/sdk/v3"
SDK_VERSION = f"{SDK}/go/common/version.Version"


@dataclass(frozen=True)
class Component:
    """A part of the engine that one Go module gives.

    Attributes:
        name: Also the folder of its go.mod, and its entry under ``needs`` in versions.toml.
        package: What is built there.
        program: Name of the program.
        variables: Go variables that the linker sets.
        files: Further files that lie beside the program, by their path in the module `files_module`.
        files_module: A required module of the component.
        plugin: Whether Pulumi starts it as a plugin of the version in versions.toml.
    """

    name: str
    package: str
    program: str
    variables: tuple[tuple[str, str], ...]
    files: tuple[str, ...] = ()
    files_module: str = SDK
    plugin: bool = False

    def folder(self, paths: Paths) -> Path:
        """Where it is in the cache."""
        return paths.cache / "engine" / "components" / f"{self.name}-{self.key(paths)}"

    def key(self, paths: Paths) -> str:
        """A digest of everything that goes into it."""
        digest = hashlib.sha256()
        recipe = (self.package, self.program, self.variables, self.files, self.files_module)
        digest.update(repr((recipe, platform.system(), platform.machine())).encode())
        for file in sorted((paths.sources / self.name).iterdir()):
            if file.suffix != ".md" and not file.name.endswith("_test.go"):
                digest.update(f"\n{file.name}\n".encode() + file.read_bytes())
        return digest.hexdigest()[:12]

    def is_complete(self, paths: Paths) -> bool:
        """Whether it is in the cache."""
        return (self.folder(paths) / COMPLETE).exists()

    def ensure(self, paths: Paths, report: Report) -> str:
        """Build it where it is missing.

        Returns:
            ``"cached"`` or ``"built"``.
        """
        if self.is_complete(paths):
            return "cached"
        module, folder = paths.sources / self.name, self.folder(paths)
        golang.build(
            module,
            self.package,
            folder / self.program,
            variables=dict(self.variables),
            compilers=capacity.compilers(versions().needs[self.name]),
            report=report,
        )
        if self.files:
            origin = golang.module_folder(module, self.files_module)
            for file in self.files:
                copy = folder / Path(file).name
                shutil.copyfile(origin / file, copy)
                copy.chmod(0o755)
        (folder / COMPLETE).touch()
        return "built"


def components(pinned: Versions | None = None) -> dict[str, Component]:
    """The components, by name."""
    pinned = pinned or versions()
    parts = (
        Component(
            name="pulumi",
            package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            program="pulumi",
            variables=((SDK_VERSION, f"v{pinned.pulumi}"),),
        ),
        Component(
            name="language",
            package=".",
            program="pulumi-language-python",
            variables=((SDK_VERSION, f"v{pinned.pulumi}"),),
            files=(
                "python/cmd/pulumi-language-python-exec",
                "python/dist/pulumi-resource-pulumi-python",
            ),
        ),
        Component(
            name="alicloud",
            package=".",
            program="pulumi-resource-alicloud",
            variables=(("main.version", pinned.plugin),),
            plugin=True,
        ),
    )
    return {part.name: part for part in parts}


def join(paths: Paths, parts: Iterable[Component]) -> Path:
    """Put components together: their programs in ``bin``, for PATH, and plugins in ``plugins``, for Pulumi's home.

    Returns:
        The folder of both.
    """
    parts = list(parts)
    names = "\n".join(part.folder(paths).name for part in parts)
    key = hashlib.sha256(f"{names}\n{versions().plugin}".encode()).hexdigest()[:12]
    joined = paths.cache / "engine" / key
    if joined.exists():
        return joined
    unfinished = joined.with_name(f".{key}.{os.getpid()}")
    try:
        for part in parts:
            folder = unfinished / (f"plugins/resource-{part.name}-v{versions().plugin}" if part.plugin else "bin")
            folder.mkdir(parents=True, exist_ok=True)
            for file in part.folder(paths).iterdir():
                if file.name != COMPLETE:
                    # Pulumi looks for its host and provider beside its own program, so a symbolic link won't do.
                    os.link(file, folder / file.name)
        unfinished.rename(joined)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return joined
