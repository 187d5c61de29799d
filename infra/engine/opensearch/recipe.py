"""What OpenSearch is assembled from: pinned artifacts, where each goes, and the text of generated files. Pure."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent
LIBRARY = "lib"
PLUGINS = "plugins"
_LAYOUT = "1"  # raised when `assembly.py` lays the same files out differently


@dataclass(frozen=True, order=True)
class Artifact:
    """A Maven artifact: ``group:artifact:version[:type[:classifier]]``."""

    group: str
    name: str
    version: str
    type: str = "jar"
    classifier: str = ""

    @classmethod
    def parse(cls, text: str) -> Artifact:
        """The artifact of a coordinate.

        Raises:
            ValueError: the text isn't a coordinate.
        """
        parts = text.split(":")
        if not 3 <= len(parts) <= 5 or not all(parts):
            raise ValueError(f"{text!r} is no Maven coordinate (group:artifact:version[:type[:classifier]])")
        return cls(*parts)

    def __str__(self) -> str:
        parts = [self.group, self.name, self.version]
        if self.type != "jar" or self.classifier:
            parts.append(self.type)
        return ":".join([*parts, self.classifier] if self.classifier else parts)

    @property
    def file_name(self) -> str:
        """The name under which Maven copies it."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.type}"

    def xml(self, tag: str, inner: str = "") -> str:
        """An element of a pom with the coordinate and whatever `inner` adds."""
        fields = {"groupId": self.group, "artifactId": self.name, "version": self.version, "type": self.type}
        if self.classifier:
            fields["classifier"] = self.classifier
        return f"<{tag}>" + "".join(f"<{k}>{escape(v)}</{k}>" for k, v in fields.items()) + inner + f"</{tag}>"


@dataclass(frozen=True)
class Module:
    """A part of the server that runs in its own class loader, with its own permissions."""

    name: str
    artifact: Artifact
    class_name: str
    description: str
    extends: tuple[str, ...] = ()
    permissions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def descriptor(self, version: str, java: int) -> str:
        """Text of ``plugin-descriptor.properties``."""
        values = {
            "name": self.name,
            "description": self.description,
            "version": version,
            "opensearch.version": version,
            "java.version": str(java),
            "classname": self.class_name,
            "extended.plugins": ",".join(self.extends),
            "has.native.controller": "false",
        }
        return "".join(f"{name}={value}\n" for name, value in values.items())

    def policy(self) -> str:
        """Text of ``plugin-security.policy``; empty when the module needs no permission."""
        grants = []
        for code_base, permissions in self.permissions.items():
            target = f' codeBase "${{codebase.{code_base}}}"' if code_base else ""
            lines = "".join(f"  permission {permission};\n" for permission in permissions)
            grants.append(f"grant{target} {{\n{lines}}};\n")
        return "\n".join(grants)


@dataclass(frozen=True)
class Pin:
    """A locked artifact: its checksum and the folder of the home that it goes to."""

    artifact: Artifact
    sha256: str
    folder: str  # "lib", "modules/NAME" or "plugins"


@dataclass(frozen=True)
class Recipe:
    """`opensearch.toml` and `artifacts.lock`, read."""

    version: str
    java: int
    maven_plugin: str
    library: tuple[Artifact, ...]
    modules: tuple[Module, ...]
    plugins: tuple[Artifact, ...]
    drop: tuple[str, ...]
    pins: tuple[Pin, ...]
    key: str  # 12 hex digits over everything that decides what the home contains

    @classmethod
    def load(cls, folder: Path = FOLDER) -> Recipe:
        """Reads the recipe that lies beside this file (or in `folder`).

        Raises:
            ValueError: a file is malformed; the message names it and the line or key.
        """
        settings = (folder / "opensearch.toml").read_text()
        lock = folder / "artifacts.lock"
        locked = lock.read_text() if lock.exists() else ""
        digest = hashlib.sha256(f"{_LAYOUT}\n{settings}\n{locked}".encode())
        for path in sorted(p for p in (folder / "home").rglob("*") if p.is_file()):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
        data = tomllib.loads(settings)
        try:
            return cls(
                version=data["version"],
                java=data["java"],
                maven_plugin=data["maven_plugin"],
                library=tuple(map(Artifact.parse, data["library"]["artifacts"])),
                modules=tuple(_module(name, values) for name, values in data["modules"].items()),
                plugins=tuple(map(Artifact.parse, data["plugins"]["artifacts"])),
                drop=tuple(data["plugins"]["drop"]),
                pins=tuple(read_lock(locked)),
                key=digest.hexdigest()[:12],
            )
        except KeyError as error:
            raise ValueError(f"opensearch.toml: {error.args[0]} is missing") from error

    @property
    def home_name(self) -> str:
        """Folder of the assembled home below the cache."""
        return f"{self.version}-{self.key}"


def _module(name: str, values: Mapping[str, object]) -> Module:
    extends, permissions = values.get("extends", []), values.get("permissions", {})
    if not isinstance(extends, list) or not isinstance(permissions, dict):
        raise ValueError(f"opensearch.toml: modules.{name}: extends is a list, permissions a table")
    return Module(
        name=name,
        artifact=Artifact.parse(str(values["artifact"])),
        class_name=str(values["class"]),
        description=str(values["description"]),
        extends=tuple(map(str, extends)),
        permissions={str(base): tuple(map(str, granted)) for base, granted in permissions.items()},
    )


def read_lock(text: str) -> Iterable[Pin]:
    """The pins of a lock file: ``sha256 folder coordinate`` a line.

    Raises:
        ValueError: a line is malformed.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) != 3 or len(parts[0]) != 64:
            raise ValueError(f"artifacts.lock, line {number}: expected `sha256 folder coordinate`")
        yield Pin(Artifact.parse(parts[2]), parts[0], parts[1])


def write_lock(pins: Iterable[Pin]) -> str:
    """Text of a lock file, sorted, so that a new resolution gives a small diff."""
    lines = (
        f"{pin.sha256} {pin.folder} {pin.artifact}\n" for pin in sorted(pins, key=lambda p: (p.folder, p.artifact))
    )
    return "# Generated from opensearch.toml by `python -m infra.engine.opensearch.lock`.\n" + "".join(lines)


def download_pom(pins: Iterable[Pin], maven_plugin: str, target: Path) -> str:
    """A pom whose ``dependency:copy`` puts exactly the pinned artifacts below `target`, resolving nothing else."""
    group, name, version = maven_plugin.split(":")
    items = "\n".join(
        pin.artifact.xml("artifactItem", f"<outputDirectory>{escape(str(target / pin.folder))}</outputDirectory>")
        for pin in pins
    )
    return f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>ragrec</groupId><artifactId>opensearch-home</artifactId><version>1</version><packaging>pom</packaging>
<build><plugins><plugin>
<groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>
<configuration><artifactItems>
{items}
</artifactItems></configuration>
</plugin></plugins></build>
</project>
"""
