"""User data: a strict subset of cloud-init's cloud-config, parsed into what `boot` carries out.

Strict: a key or value that isn't supported is an error that names it, so that nothing is silently left out. Meanings
follow https://cloudinit.readthedocs.io/en/latest/reference/modules.html.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml


class UserDataError(ValueError):
    """User data that can't be carried out; the text names the key."""


@dataclass(frozen=True)
class WriteFile:
    """An entry of `write_files`, decoded. `content` holds bytes one to one (Latin-1), to travel as JSON."""

    path: str
    content: str = ""
    owner: str = "root:root"
    permissions: int = 0o644
    append: bool = False
    defer: bool = False


@dataclass(frozen=True)
class User:
    """An entry of `users`."""

    name: str
    gecos: str = ""
    homedir: str = ""
    primary_group: str = ""
    groups: tuple[str, ...] = ()
    shell: str = "/bin/bash"
    uid: int | None = None
    system: bool = False
    no_create_home: bool = False
    no_user_group: bool = False
    sudo: tuple[str, ...] = ()
    ssh_authorized_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class UserData:
    """What an instance does at boot; `script` is set for user data that is a script itself."""

    hostname: str = ""
    bootcmd: str = ""  # a shell script, as cloud-init writes it
    write_files: tuple[WriteFile, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    users: tuple[User, ...] = ()
    timezone: str = ""
    runcmd: str = ""  # a shell script
    packages: tuple[str, ...] = ()
    package_update: bool = False
    package_upgrade: bool = False
    script: str = ""
    final_message: str = ""

    def document(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


# Decided by the image: it has no password log-in, no SSH server and no root log-in to disable.
_WITHOUT_EFFECT = {"disable_root", "ssh_pwauth", "ssh_deletekeys", "preserve_hostname", "manage_etc_hosts"}


def parse(text: str) -> UserData:
    """Parses user data; empty text does nothing.

    Raises:
        UserDataError: not a script and not a cloud-config of supported keys.
    """
    if not text.strip():
        return UserData()
    first = text.lstrip("\ufeff").splitlines()[0]
    if first.startswith("#!"):
        return UserData(script=text.lstrip("\ufeff"))
    if first.split()[0:1] != ["#cloud-config"]:
        raise UserDataError(
            f"user data starts with {first[:60]!r}; supported are '#cloud-config' and a script ('#!/bin/bash')"
        )
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserDataError(f"user data is not valid YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return UserData()
    if not isinstance(document, dict):
        raise UserDataError("user data: a mapping of keys is expected after '#cloud-config'")
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key in _WITHOUT_EFFECT:
            continue
        if key not in _PARSERS:
            raise UserDataError(f"user data: the key {key!r} is not supported")
        field_name, parse_value = _PARSERS[key]
        values[field_name] = parse_value(str(key), value)
    return UserData(**values)


def shell_script(commands: Sequence[str | Sequence[str]]) -> str:
    """The script that cloud-init makes of `runcmd`: strings as they are, lists as quoted words."""
    lines = [line if isinstance(line, str) else " ".join(shlex.quote(word) for word in line) for line in commands]
    return "#!/bin/sh\n" + "".join(f"{line}\n" for line in lines)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UserDataError(f"user data: {key} must be a string, not {value!r}")
    return value


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserDataError(f"user data: {key} must be true or false, not {value!r}")
    return value


def _number(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isdigit():
        raise UserDataError(f"user data: {key} must be a number, not {value!r}")
    return int(value)


def _texts(key: str, value: Any) -> tuple[str, ...]:
    """A list of strings, or one string with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, list):
        raise UserDataError(f"user data: {key} must be a list of strings, not {value!r}")
    return tuple(_text(f"{key}[{index}]", item) for index, item in enumerate(value))


def _lines(key: str, value: Any) -> tuple[str, ...]:
    """A string or a list of strings, taken whole."""
    return (value,) if isinstance(value, str) else _texts(key, value)


def _commands(key: str, value: Any) -> str:
    if not isinstance(value, list):
        raise UserDataError(f"user data: {key} must be a list of commands")
    commands: list[str | list[str]] = []
    for index, item in enumerate(value):
        if isinstance(item, str):
            commands.append(item)
        elif isinstance(item, list) and all(isinstance(word, str | int) and word is not True for word in item):
            commands.append([str(word) for word in item])
        elif item is not None:
            raise UserDataError(f"user data: {key}[{index}] must be a string or a list of strings, not {item!r}")
    return shell_script(commands)


def _packages(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise UserDataError(f"user data: {key} must be a list")
    names = []
    for index, item in enumerate(value):
        if isinstance(item, list) and len(item) == 2:  # [name, version]
            names.append("-".join(str(part) for part in item))
        else:
            names.append(_text(f"{key}[{index}]", item))
    return tuple(names)


def _mapping(key: str, value: Any, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserDataError(f"user data: {key} must be a mapping, not {value!r}")
    for name in value:
        if name not in known:
            raise UserDataError(f"user data: the key {name!r} of {key} is not supported")
    return value


def _write_files(key: str, value: Any) -> tuple[WriteFile, ...]:
    if not isinstance(value, list):
        raise UserDataError(f"user data: {key} must be a list")
    known = {"path", "content", "encoding", "owner", "permissions", "append", "defer"}
    files = []
    for index, item in enumerate(value):
        where = f"{key}[{index}]"
        entry = _mapping(where, item, known)
        path = _text(f"{where}.path", entry.get("path"))
        if not path.startswith("/"):
            raise UserDataError(f"user data: {where}.path must be absolute, not {path!r}")
        files.append(
            WriteFile(
                path,
                decode(where, entry.get("content", ""), _text(f"{where}.encoding", entry.get("encoding", ""))),
                _text(f"{where}.owner", entry.get("owner", "root:root")),
                _permissions(f"{where}.permissions", entry.get("permissions", "0644")),
                _boolean(f"{where}.append", entry.get("append", False)),
                _boolean(f"{where}.defer", entry.get("defer", False)),
            )
        )
    return tuple(files)


def decode(where: str, content: Any, encoding: str) -> str:
    """Undoes the encodings of `write_files`: ``b64``, ``gz`` and both, under all their names."""
    if isinstance(content, bytes):  # YAML's !!binary
        data = content
    else:
        data = _text(f"{where}.content", content).encode()
    kind = encoding.lower().strip()
    if kind in ("", "text/plain"):
        return data.decode("latin-1")
    kinds = {"gz", "gzip", "b64", "base64", "gz+base64", "gzip+base64", "gz+b64", "gzip+b64"}
    if kind not in kinds:
        raise UserDataError(f"user data: {where}.encoding {encoding!r} is not one of {', '.join(sorted(kinds))}")
    try:
        if "64" in kind:
            data = base64.b64decode(data)
        if "gz" in kind:
            data = gzip.decompress(data)
    except (binascii.Error, OSError, EOFError, zlib.error) as error:
        raise UserDataError(f"user data: {where}.content is not {encoding}: {error}") from error
    return data.decode("latin-1")


def _permissions(key: str, value: Any) -> int:
    # YAML 1.1 reads an unquoted 0644 as the octal number; a quoted one is octal digits.
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _text(key, value)
    if not re.fullmatch(r"(0o?)?[0-7]{3,4}", text):
        raise UserDataError(f"user data: {key} must be octal digits such as '0644', not {value!r}")
    return int(text.replace("o", ""), 8)


def _groups(key: str, value: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(value, str | dict):
        value = list(_texts(key, value)) if isinstance(value, str) else [value]
    if not isinstance(value, list):
        raise UserDataError(f"user data: {key} must be a list of groups")
    groups: dict[str, tuple[str, ...]] = {}
    for index, item in enumerate(value):
        if isinstance(item, dict):
            for name, members in item.items():
                groups[_text(f"{key}[{index}]", name)] = _texts(f"{key}[{index}].{name}", members)
        else:
            groups[_text(f"{key}[{index}]", item)] = ()
    return groups


def _users(key: str, value: Any) -> tuple[User, ...]:
    if not isinstance(value, list):
        raise UserDataError(f"user data: {key} must be a list")
    texts, flags = {"gecos", "homedir", "primary_group", "shell"}, {"system", "no_create_home", "no_user_group"}
    known = {"name", "uid", "groups", "sudo", "ssh_authorized_keys", "lock_passwd", *texts, *flags}
    users = []
    for index, item in enumerate(value):
        where = f"{key}[{index}]"
        if item == "default":
            continue  # the image's default user is root, which is there
        entry = dict(_mapping(where, item, known))
        if _boolean(f"{where}.lock_passwd", entry.pop("lock_passwd", True)) is not True:
            raise UserDataError(f"user data: {where}.lock_passwd: false is not supported: the image has no log-in")
        values: dict[str, Any] = {"name": _text(f"{where}.name", entry.get("name"))}
        values |= {name: _text(f"{where}.{name}", entry[name]) for name in texts & entry.keys()}
        values |= {name: _boolean(f"{where}.{name}", entry[name]) for name in flags & entry.keys()}
        if "uid" in entry:
            values["uid"] = _number(f"{where}.uid", entry["uid"])
        if "groups" in entry:
            values["groups"] = _texts(f"{where}.groups", entry["groups"])
        if entry.get("sudo") not in (None, False):
            values["sudo"] = _lines(f"{where}.sudo", entry["sudo"])
        if "ssh_authorized_keys" in entry:
            values["ssh_authorized_keys"] = _lines(f"{where}.ssh_authorized_keys", entry["ssh_authorized_keys"])
        users.append(User(**values))
    return tuple(users)


_PARSERS: dict[str, tuple[str, Any]] = {
    "hostname": ("hostname", _text),
    "bootcmd": ("bootcmd", _commands),
    "write_files": ("write_files", _write_files),
    "groups": ("groups", _groups),
    "users": ("users", _users),
    "timezone": ("timezone", _text),
    "runcmd": ("runcmd", _commands),
    "packages": ("packages", _packages),
    "package_update": ("package_update", _boolean),
    "package_upgrade": ("package_upgrade", _boolean),
    "final_message": ("final_message", _text),
}
