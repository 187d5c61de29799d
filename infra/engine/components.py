"""The engine's programs: those that Pulumi brings where it is installed, and those that are built here.

A built program is a component of the cache under ``engine/components/<name>-<digest of versions and sources>``; the
programs of one engine are joined, by hard links, in ``engine/<digest>/bin``.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
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
    """

    name: str
    package: str
    program: str
    variables: tuple[tuple[str, str], ...]
    files: tuple[str, ...] = ()
    files_module: str = SDK

    def folder(self, paths: Paths) -> Path:
        """Where it is in the cache."""
        return paths.cache / "engine" / "components" / f"{self.name}-{self.key(paths)}"

    def key(self, paths: Paths) -> str:
        """A digest of everything that goes into it."""
        digest = hashlib.sha256()
        digest.update(repr((self, platform.system(), platform.machine())).encode())
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
        ),
    )
    return {part.name: part for part in parts}


def join(paths: Paths, parts: list[Component]) -> Path:
    """Put the programs of components into one folder.

    Returns:
        The folder, for PATH.
    """
    folders = [part.folder(paths) for part in parts]
    key = hashlib.sha256("\n".join(folder.name for folder in folders).encode()).hexdigest()[:12]
    joined = paths.cache / "engine" / key / "bin"
    if joined.exists():
        return joined
    unfinished = joined.parent.with_name(f".{key}.{os.getpid()}") / "bin"
    unfinished.mkdir(parents=True)
    try:
        for folder in folders:
            for file in folder.iterdir():
                if file.name != COMPLETE:
                    os.link(file, unfinished / file.name)
        unfinished.parent.rename(joined.parent)
    finally:
        shutil.rmtree(unfinished.parent, ignore_errors=True)
    return joined
