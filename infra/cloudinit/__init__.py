"""User data: cloud-config templates in YAML, with the files they write beside them under ``files/``.

A template is cloud-config with one addition: an entry of ``write_files`` may say ``source: NAME`` instead of
``content``, and gets the text of ``files/NAME``. ``${name}`` is replaced in both; an unknown or unused variable is an
error. Nothing secret goes in here: instances fetch credentials from OSS with their role.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).parent
LIMIT = 16 * 1024
"""Bytes of user data before encoding that every ECS image accepts."""


_PLACEHOLDER = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")  # lower case: shell variables that scripts keep are upper case


class UserDataError(ValueError):
    """A template can't be rendered; the message names it and the variable."""


def render(name: str, variables: Mapping[str, str]) -> str:
    """The user data of ``<name>.yaml``.

    Raises:
        UserDataError: unknown or unused variable, or more than `LIMIT` bytes.
    """
    used: set[str] = set()
    document: dict[str, Any] = yaml.safe_load((_HERE / f"{name}.yaml").read_text())
    rendered = _fill(document, name, variables, used)
    if unused := set(variables) - used:
        raise UserDataError(f"{name}.yaml does not use {', '.join(sorted(unused))}")
    text = "#cloud-config\n" + yaml.dump(rendered, Dumper=_Dumper, sort_keys=False, width=120)
    if len(text.encode()) > LIMIT:
        raise UserDataError(f"{name}.yaml renders to {len(text.encode())} bytes; user data may have {LIMIT}")
    return text


def _fill(node: Any, name: str, variables: Mapping[str, str], used: set[str]) -> Any:
    if isinstance(node, list):
        return [_fill(item, name, variables, used) for item in node]
    if isinstance(node, dict):
        node = dict(node)
        if "source" in node and "path" in node:
            node["content"] = (_HERE / "files" / node.pop("source")).read_text()
        return {key: _fill(value, name, variables, used) for key, value in node.items()}
    if not isinstance(node, str):
        return node
    for variable in _PLACEHOLDER.findall(node):
        if variable not in variables:
            raise UserDataError(f"{name}.yaml uses ${{{variable}}}, which is not given")
        used.add(variable)
    return _PLACEHOLDER.sub(lambda match: variables[match[1]], node)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as literal blocks, so that user data stays readable on the instance."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
