"""Print, as JSON, what is installed: every distribution, or every package that names a Pulumi plugin."""  # noqa: INP001 - the host embeds it

import importlib.metadata
import json
import pathlib
import re
import sys
from typing import Any


def canonical(name: str) -> str:
    """The form of a distribution's name by which indexes know it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies() -> list[dict[str, Any]]:
    """All distributions, and whether another one requires each of them."""
    versions: dict[str, str] = {}
    required = set()
    for distribution in importlib.metadata.distributions():
        versions.setdefault(canonical(distribution.metadata["Name"]), distribution.version)
        for requirement in distribution.requires or ():
            name = re.match(r"[A-Za-z0-9._-]+", requirement)
            if name and "extra ==" not in requirement:
                required.add(canonical(name.group()))
    return [{"name": name, "version": version, "required": name in required} for name, version in versions.items()]


def plugins() -> list[dict[str, Any]]:
    """What the pulumi-plugin.json of every package says; the first one on the path counts."""
    found: dict[str, dict[str, Any]] = {}
    for folder in dict.fromkeys(sys.path):
        for file in sorted(pathlib.Path(folder or ".").glob("*/pulumi-plugin.json")):
            plugin = json.loads(file.read_text())
            if plugin.get("resource"):
                package = file.parent.name
                plugin.setdefault("name", package.removeprefix("pulumi_").replace("_", "-"))
                if "version" not in plugin:
                    plugin["version"] = importlib.metadata.version(canonical(package))
                found.setdefault(plugin["name"], plugin)
    return list(found.values())


json.dump({"dependencies": dependencies, "plugins": plugins}[sys.argv[1]](), sys.stdout)
