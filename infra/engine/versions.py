"""The pinned versions of `versions.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("versions.toml")


@dataclass(frozen=True)
class Need:
    """What a step takes at most, in GiB."""

    disk: float
    memory: float


@dataclass(frozen=True)
class Versions:
    """What is installed.

    Attributes:
        python: Version of the interpreter, major and minor.
        go: Oldest Go that the modules of the engine accept.
        java: Oldest Java that OpenSearch and TorchServe run on.
        pulumi: Version of the command line and of the SDKs.
        plugin: Version of the alicloud plugin.
        provider: Version of the Terraform provider in it.
        bridge: Version of the bridge in it.
        needs: What each step takes, by its name.
    """

    python: str
    go: str
    java: str
    pulumi: str
    plugin: str
    provider: str
    bridge: str
    needs: dict[str, Need]


def numbers(version: str) -> tuple[int, ...]:
    """Make a dotted version comparable: ``"v1.25.3-rc1"`` is ``(1, 25, 3)``."""
    core = version.strip().removeprefix("v").removeprefix("go").partition("-")[0].partition("+")[0]
    return tuple(int(part) for part in core.split(".") if part.isdigit())


@cache
def versions() -> Versions:
    """Read `versions.toml`."""
    table = tomllib.loads(FILE.read_text())
    return Versions(
        python=table["python"]["version"],
        go=table["go"]["version"],
        java=table["java"]["version"],
        pulumi=table["pulumi"]["version"],
        plugin=table["alicloud"]["plugin"],
        provider=table["alicloud"]["provider"],
        bridge=table["alicloud"]["bridge"],
        needs={name: Need(**need) for name, need in table["needs"].items()},
    )
