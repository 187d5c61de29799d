"""The image's own programs: `systemctl`, `journalctl`, `dnf`, `rpm`, `useradd` and their kin.

This one file is copied into the image. It runs inside machines, so it uses the standard library only. What concerns
units is asked of the machine's init over `CONTROL_SOCKET`. Options that would change the outcome and aren't supported
are refused by name.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

CONTROL_SOCKET = "/run/ragrec/init.sock"
JOURNAL = "/var/log/journal"
CLOUD_INIT_RESULT = "/run/cloud-init/status.json"
PACKAGES = "/usr/lib/ragrec/packages.json"


def fail(tool: str, message: str, code: int = 1) -> NoReturn:
    """Ends the program as its original would."""
    sys.stderr.write(f"{tool}: {message}\n")
    raise SystemExit(code)


def ask_init(request: dict[str, Any]) -> dict[str, Any]:
    """Sends one request to the machine's init: ``{code, out, err}`` comes back when the work is done."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(CONTROL_SOCKET)
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("r", encoding="utf-8") as replies:
            reply: dict[str, Any] = json.loads(replies.readline())
    return reply


def _finish(reply: dict[str, Any]) -> int:
    sys.stdout.write(reply["out"])
    sys.stderr.write(reply["err"])
    return int(reply["code"])


class _Parser(argparse.ArgumentParser):
    """Refuses unknown options with the exit status that a usage error has."""

    def __init__(self, tool: str, **settings: Any) -> None:
        super().__init__(prog=tool, allow_abbrev=False, **settings)

    def flags(self, *names: str) -> None:
        """Options that change nothing here."""
        for name in names:
            self.add_argument(name, action="store_true", help=argparse.SUPPRESS)


# --- systemd


def systemctl(arguments: Sequence[str]) -> int:
    """systemctl: units of this machine."""
    parser = _Parser("systemctl")
    parser.add_argument("verb", nargs="?", default="list-units")
    parser.add_argument("units", nargs="*")
    parser.add_argument("--now", action="store_true")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("--no-block", action="store_true")
    parser.add_argument("--value", action="store_true")
    parser.add_argument("-p", "--property", action="append", default=[])
    parser.add_argument("-s", "--signal", default="SIGTERM")
    parser.flags(
        "--no-pager", "--system", "--full", "-l", "--all", "-a", "--no-legend", "--plain", "--no-ask-password"
    )
    options = parser.parse_intermixed_args(arguments)
    if options.verb in ("poweroff", "halt", "reboot"):
        return _finish(ask_init({"op": options.verb}))
    request = {
        "op": "systemctl",
        "verb": options.verb,
        "units": options.units,
        "now": options.now,
        "block": not options.no_block,
        "value": options.value,
        "properties": [name for value in options.property for name in value.split(",")],
        "signal": options.signal,
    }
    reply = ask_init(request)
    if options.quiet:
        reply["out"] = ""
    return _finish(reply)


def journalctl(arguments: Sequence[str]) -> int:
    """journalctl: what units wrote."""
    parser = _Parser("journalctl")
    parser.add_argument("-u", "--unit", action="append", default=[])
    parser.add_argument("-n", "--lines", default=None)
    parser.add_argument("-f", "--follow", action="store_true")
    parser.add_argument("-r", "--reverse", action="store_true")
    parser.add_argument("-o", "--output", choices=["short", "short-iso", "cat", "json"], default="short")
    parser.flags("--no-pager", "-e", "-x", "-q", "--quiet", "-a", "-b", "--boot", "--no-hostname", "-l", "--full")
    options = parser.parse_args(arguments)
    units = [name if "." in name else f"{name}.service" for name in options.unit]
    files = [Path(JOURNAL, f"{name}.jsonl") for name in units] or sorted(Path(JOURNAL).glob("*.jsonl"))
    entries, positions = [], {}
    for file in files:
        for path in (file.with_suffix(".jsonl.old"), file):
            if path.exists():
                content = path.read_bytes()
                positions[path] = len(content)
                entries += [json.loads(line) for line in content.splitlines() if line.endswith(b"}")]
    entries.sort(key=lambda entry: entry["time"])
    lines = options.lines or ("10" if options.follow else "all")
    entries = entries if lines == "all" else entries[len(entries) - min(int(lines), len(entries)) :]
    for entry in reversed(entries) if options.reverse else entries:
        sys.stdout.write(_journal_line(entry, options.output))
    sys.stdout.flush()
    while options.follow:
        time.sleep(0.3)
        for file in files:
            if file.exists() and (size := file.stat().st_size) != positions.get(file, 0):
                start = positions.get(file, 0) if size > positions.get(file, 0) else 0
                with file.open("rb") as stream:
                    stream.seek(start)
                    content = stream.read()
                complete = content[: content.rfind(b"\n") + 1]
                positions[file] = start + len(complete)
                for line in complete.splitlines():
                    sys.stdout.write(_journal_line(json.loads(line), options.output))
        sys.stdout.flush()
    return 0


def _journal_line(entry: dict[str, Any], output: str) -> str:
    if output == "cat":
        return f"{entry['message']}\n"
    if output == "json":
        return json.dumps(entry) + "\n"
    form = "%b %d %H:%M:%S" if output == "short" else "%Y-%m-%dT%H:%M:%S%z"
    stamp = time.strftime(form, time.localtime(entry["time"]))
    return f"{stamp} {os.uname().nodename} {entry['identifier']}[{entry['pid']}]: {entry['message']}\n"


def shutdown(tool: str, arguments: Sequence[str]) -> int:
    """poweroff, halt, reboot and ``shutdown [-r] [now|+0]``: at once."""
    parser = _Parser(tool)
    parser.add_argument("-r", "--reboot", action="store_true")
    parser.add_argument("time", nargs="?", default="now")
    parser.flags("-P", "-f", "--force")
    options = parser.parse_args([word for word in arguments if word != "-h"])
    if options.time not in ("now", "+0"):
        fail(tool, f"only 'now' is supported, not {options.time!r}")
    return _finish(ask_init({"op": "reboot" if options.reboot or tool == "reboot" else "poweroff"}))


def hostnamectl(arguments: Sequence[str]) -> int:
    """Hostnamectl [set-hostname|hostname NAME]."""
    if arguments[:1] in (["set-hostname"], ["hostname"]) and len(arguments) == 2:
        socket.sethostname(arguments[1])
        Path("/etc/hostname").write_text(arguments[1] + "\n")
        return 0
    if arguments and arguments[0] != "status":
        fail("hostnamectl", f"not supported: {' '.join(arguments)}")
    sys.stdout.write(f"   Static hostname: {os.uname().nodename}\n")
    return 0


def cloud_init(arguments: Sequence[str]) -> int:
    """cloud-init status [--wait] [--long] [--format json]."""
    parser = _Parser("cloud-init")
    parser.add_argument("verb", choices=["status"])
    parser.add_argument("-w", "--wait", action="store_true")
    parser.add_argument("-l", "--long", action="store_true")
    parser.add_argument("--format", choices=["tabular", "json"], default="tabular")
    options = parser.parse_args(arguments)
    while True:
        result = json.loads(Path(CLOUD_INIT_RESULT).read_text())
        if not options.wait or result["status"] != "running":
            break
        time.sleep(0.25)
    if options.format == "json":
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
    else:
        sys.stdout.write(f"status: {result['status']}\n")
        if options.long:
            sys.stdout.write("".join(f"error: {error}\n" for error in result["errors"]))
    return 1 if result["status"] == "error" else 0


# --- packages

_NO_EFFECT = re.compile(r"-[yqv]+|--(assumeyes|quiet|verbose|nobest|best|allowerasing|refresh|nogpgcheck|setopt=.*)")


def _image_packages() -> dict[str, str]:
    known: dict[str, str] = json.loads(Path(PACKAGES).read_text())
    return {name: path for name, path in known.items() if Path(path).exists()}


def package_name(wanted: str) -> str:
    """The name in a package specification: ``opensearch-2.19.1`` is opensearch."""
    return re.sub(r"(-\d[\w.~+:]*(-\d[\w.~+]*)?|=[\w.~+:-]+|-\*)$", "", wanted)


def find_packages(wanted: Sequence[str], held: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits into what the image holds and what it doesn't."""
    names = {name: name if name in held else package_name(name) for name in wanted}
    present = [name for name in wanted if names[name] in held]
    return present, [name for name in wanted if name not in present]


def dnf(tool: str, arguments: Sequence[str]) -> int:
    """Dnf and yum: the image's packages are installed, others can't be had here."""
    words = [word for word in arguments if not _NO_EFFECT.fullmatch(word)]
    if not words:
        fail(tool, "a command is needed: install, update, list, info, clean, makecache, repolist")
    verb, names = words[0], words[1:]
    for word in words:
        if word.startswith("-") and word != "--installed":
            fail(tool, f"the option {word} is not supported on this image")
    held = _image_packages()
    if verb in ("install", "reinstall", "upgrade", "update", "upgrade-minimal"):
        present, missing = find_packages(names, list(held))
        for name in present:
            sys.stdout.write(f"Package {name} is already installed.\n")
        if missing:
            sys.stderr.write("".join(f"No match for argument: {name}\n" for name in missing))
            fail(
                tool,
                f"Error: Unable to find a match: {' '.join(missing)} (this image holds: {' '.join(sorted(held))})",
            )
        sys.stdout.write("Dependencies resolved.\nNothing to do.\nComplete!\n")
        return 0
    if verb in ("list", "info", "search", "repoquery"):
        chosen = [name for name in sorted(held) if not names or name in names or set(names) & {"installed"}]
        if "--installed" in names:
            chosen = sorted(held)
        sys.stdout.write("".join(f"{name}.{os.uname().machine}  image  @System\n" for name in chosen))
        return 0 if chosen else 1
    if verb in ("clean", "makecache", "check-update", "repolist", "autoremove"):
        sys.stdout.write("Complete!\n")
        return 0
    return fail(tool, f"No such command: {verb} (on this image)")


def rpm(arguments: Sequence[str]) -> int:
    """Rpm: queries of the image's packages."""
    held = _image_packages()
    if arguments[:1] == ["-qa"]:
        sys.stdout.write("".join(f"{name}\n" for name in sorted(held)))
        return 0
    if arguments[:1] in (["-q"], ["--query"]) and len(arguments) > 1:
        present, missing = find_packages(arguments[1:], list(held))
        sys.stdout.write("".join(f"{name}\n" for name in present))
        sys.stdout.write("".join(f"package {name} is not installed\n" for name in missing))
        return len(missing)
    return fail("rpm", f"not supported on this image: rpm {' '.join(arguments)} (-q NAME... and -qa are)")


# --- accounts


def read_table(path: Path) -> list[list[str]]:
    """Rows of a colon-separated file such as /etc/passwd."""
    return [line.split(":") for line in path.read_text().splitlines() if line]


def _write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text("".join(":".join(row) + "\n" for row in rows))
    temporary.chmod(path.stat().st_mode & 0o777)
    temporary.replace(path)


def _free_id(rows: Sequence[Sequence[str]], *, system: bool) -> int:
    taken = {int(row[2]) for row in rows}
    # As useradd: system accounts count down from 999, people up from 1000.
    numbers = range(999, 200, -1) if system else range(1000, 60000)
    return next(number for number in numbers if number not in taken)


def add_group(name: str, *, gid: int | None = None, system: bool = False, etc: Path = Path("/etc")) -> int:
    """Adds a group and returns its id; one that is there keeps its id.

    Raises:
        ValueError: the name or the id can't be used.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", name):
        raise ValueError(f"invalid group name '{name}'")
    rows = read_table(etc / "group")
    for row in rows:
        if row[0] == name:
            return int(row[2])
    if gid is not None and any(row[2] == str(gid) for row in rows):
        raise ValueError(f"GID '{gid}' already exists")
    number = gid if gid is not None else _free_id(rows, system=system)
    _write_table(etc / "group", [*rows, [name, "x", str(number), ""]])
    return number


def add_to_groups(user: str, groups: Sequence[str], *, etc: Path = Path("/etc")) -> None:
    """Makes the user a member of each group.

    Raises:
        ValueError: a group does not exist.
    """
    rows = read_table(etc / "group")
    for name in groups:
        row = next((row for row in rows if row[0] == name), None)
        if row is None:
            raise ValueError(f"group '{name}' does not exist")
        members = [member for member in row[3].split(",") if member]
        row[3] = ",".join(members if user in members else [*members, user])
    _write_table(etc / "group", rows)


def add_user(
    name: str,
    *,
    uid: int | None = None,
    group: str = "",
    groups: Sequence[str] = (),
    comment: str = "",
    home: str = "",
    shell: str = "/bin/bash",
    system: bool = False,
    create_home: bool = True,
    root: Path = Path("/"),
) -> tuple[int, int]:
    """Adds an account, with a group of its own unless `group` is given; returns (uid, gid).

    Raises:
        ValueError: the name is taken or can't be used, or a group does not exist.
    """
    etc = root / "etc"
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", name):
        raise ValueError(f"invalid user name '{name}'")
    rows = read_table(etc / "passwd")
    if any(row[0] == name for row in rows):
        raise ValueError(f"user '{name}' already exists")
    if uid is not None and any(row[2] == str(uid) for row in rows):
        raise ValueError(f"UID {uid} is not unique")
    if group:
        found = [row for row in read_table(etc / "group") if group in (row[0], row[2])]
        if not found:
            raise ValueError(f"group '{group}' does not exist")
        gid = int(found[0][2])
    else:
        gid = add_group(name, system=system, etc=etc)
    number = uid if uid is not None else _free_id(rows, system=system)
    home = home or f"/home/{name}"
    _write_table(etc / "passwd", [*rows, [name, "x", str(number), str(gid), comment, home, shell]])
    add_to_groups(name, groups, etc=etc)
    folder = root / home.lstrip("/")
    if create_home and not folder.exists():
        folder.mkdir(parents=True, mode=0o700)
        os.chown(folder, number, gid)
    return number, gid


def useradd(arguments: Sequence[str]) -> int:
    """Useradd [options] NAME."""
    parser = _Parser("useradd")
    parser.add_argument("name")
    parser.add_argument("-r", "--system", action="store_true")
    parser.add_argument("-m", "--create-home", action="store_true", default=None)
    parser.add_argument("-M", "--no-create-home", action="store_true")
    parser.add_argument("-d", "--home-dir", default="")
    parser.add_argument("-s", "--shell", default="/bin/bash")
    parser.add_argument("-u", "--uid", type=int)
    parser.add_argument("-g", "--gid", default="")
    parser.add_argument("-G", "--groups", default="")
    parser.add_argument("-c", "--comment", default="")
    parser.flags("-U", "--user-group", "-N", "--no-user-group")
    options = parser.parse_args(arguments)
    if any(row[0] == options.name for row in read_table(Path("/etc/passwd"))):
        fail("useradd", f"user '{options.name}' already exists", 9)
    try:
        add_user(
            options.name,
            uid=options.uid,
            group=options.gid,
            groups=[group for group in options.groups.split(",") if group],
            comment=options.comment,
            home=options.home_dir,
            shell=options.shell,
            system=options.system,
            create_home=not options.no_create_home and (options.create_home or not options.system),
        )
    except ValueError as error:
        fail("useradd", str(error), 6)
    return 0


def groupadd(arguments: Sequence[str]) -> int:
    """Groupadd [-r] [-f] [-g GID] NAME."""
    parser = _Parser("groupadd")
    parser.add_argument("name")
    parser.add_argument("-r", "--system", action="store_true")
    parser.add_argument("-f", "--force", action="store_true")
    parser.add_argument("-g", "--gid", type=int)
    options = parser.parse_args(arguments)
    exists = any(row[0] == options.name for row in read_table(Path("/etc/group")))
    if exists and not options.force:
        fail("groupadd", f"group '{options.name}' already exists", 9)
    try:
        add_group(options.name, gid=options.gid, system=options.system)
    except ValueError as error:
        fail("groupadd", str(error), 4)
    return 0


def usermod(arguments: Sequence[str]) -> int:
    """Usermod -aG GROUP[,GROUP] NAME."""
    if len(arguments) != 3 or arguments[0] not in ("-aG", "-Ga"):
        fail("usermod", "only 'usermod -aG GROUPS NAME' is supported on this image", 2)
    if not any(row[0] == arguments[2] for row in read_table(Path("/etc/passwd"))):
        fail("usermod", f"user '{arguments[2]}' does not exist", 6)
    try:
        add_to_groups(arguments[2], arguments[1].split(","))
    except ValueError as error:
        fail("usermod", str(error), 6)
    return 0


def runuser(arguments: Sequence[str]) -> int:
    """Runuser -u NAME [--] COMMAND..., where the host gives this machine one user id only.

    The command runs in a user namespace of its own, in which that id has the number of the user.
    """
    parser = _Parser("runuser")
    parser.add_argument("-u", "--user", required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    row = next((row for row in read_table(Path("/etc/passwd")) if row[0] == options.user), None)
    if row is None or not command:
        fail("runuser", f"user {options.user} does not exist" if row is None else "a command is needed")
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        fail("runuser", f"cannot create a user namespace: {os.strerror(ctypes.get_errno())}")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{row[2]} 0 1")
    Path("/proc/self/gid_map").write_text(f"{row[3]} 0 1")
    # The program that was asked for takes the place of this one.
    os.execvpe(command[0], command, {**os.environ, "HOME": row[5], "USER": row[0], "LOGNAME": row[0]})  # noqa: S606 - a command is what it is for


_Main = Callable[[Sequence[str]], int]


def _named(tool: str, main: Callable[[str, Sequence[str]], int]) -> _Main:
    return lambda arguments: main(tool, arguments)


TOOLS: dict[str, _Main] = {
    "systemctl": systemctl,
    "journalctl": journalctl,
    "hostnamectl": hostnamectl,
    "cloud-init": cloud_init,
    "rpm": rpm,
    "useradd": useradd,
    "groupadd": groupadd,
    "usermod": usermod,
    **{name: _named(name, dnf) for name in ("dnf", "yum")},
    **{name: _named(name, shutdown) for name in ("poweroff", "halt", "reboot", "shutdown")},
}
"""Tools that every machine has."""

SINGLE_USER_TOOLS: dict[str, _Main] = {"runuser": runuser}
"""Tools that stand in for the host's where a machine has one user id only."""

ADMINISTRATION = ("useradd", "groupadd", "usermod", "runuser", "poweroff", "halt", "reboot", "shutdown")
"""Tools that lie in /usr/sbin."""


def main(tool: str, arguments: Sequence[str]) -> NoReturn:
    """Runs the tool of that name and ends the process with its exit status."""
    try:
        raise SystemExit({**TOOLS, **SINGLE_USER_TOOLS}[tool](arguments))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except OSError as error:
        fail(tool, str(error))
