"""Print, as JSON, what is installed: every distribution, and every package that names a Pulumi plugin."""

import importlib.metadata
import json
import pathlib
import re
import sys


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies():
    versions, required = {}, set()
    for distribution in importlib.metadata.distributions():
        name = canonical(distribution.metadata["Name"])
        versions.setdefault(name, distribution.version)
        for requirement in distribution.requires or ():
            if "extra ==" not in requirement:
                required.add(canonical(re.match(r"[A-Za-z0-9._-]+", requirement).group()))
    return [{"name": n, "version": v, "required": n in required} for n, v in sorted(versions.items())]


def plugins():
    found = {}
    for folder in dict.fromkeys(sys.path):
        for file in sorted(pathlib.Path(folder or ".").glob("*/pulumi-plugin.json")):
            plugin = json.loads(file.read_text())
            if plugin.get("resource"):
                package = file.parent.name
                plugin.setdefault("name", package.removeprefix("pulumi_").replace("_", "-"))
                plugin.setdefault("version", importlib.metadata.version(canonical(package)))
                found.setdefault(plugin["name"], plugin)
    return list(found.values())


json.dump({"dependencies": dependencies, "plugins": plugins}[sys.argv[1]](), sys.stdout)
