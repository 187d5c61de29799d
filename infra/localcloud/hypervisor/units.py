"""systemd unit files, parsed: the subset of systemd.unit(5), systemd.service(5) and systemd.exec(5) that init runs.

What isn't supported is collected in `Unit.warnings`; what would run something else than was meant is an error.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ServiceType = Literal["simple", "exec", "notify", "oneshot", "forking"]
Restart = Literal["no", "always", "on-failure", "on-success", "on-abnormal"]


class UnitError(ValueError):
    """A unit file that can't be run; the text names the file and the directive."""


@dataclass(frozen=True)
class Command:
    """One command line of a unit."""

    arguments: tuple[str, ...]
    ignore_failure: bool = False  # prefix "-"
    privileged: bool = False  # prefix "+" or "!": as root, whatever User= says


@dataclass(frozen=True)
class Unit:
    """A unit file. Times are seconds; `inf` never comes."""

    name: str
    description: str = ""
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    condition_path_exists: tuple[str, ...] = ()  # a leading "!" negates
    wanted_by: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    type: ServiceType = "simple"
    remain_after_exit: bool = False
    pid_file: str = ""
    exec_start_pre: tuple[Command, ...] = ()
    exec_start: tuple[Command, ...] = ()
    exec_start_post: tuple[Command, ...] = ()
    exec_reload: tuple[Command, ...] = ()
    exec_stop: tuple[Command, ...] = ()
    exec_stop_post: tuple[Command, ...] = ()
    restart: Restart = "no"
    restart_seconds: float = 0.1
    start_limit_interval: float = 10.0
    start_limit_burst: int = 5
    success_exit_status: frozenset[int] = frozenset()
    timeout_start: float = 90.0
    timeout_stop: float = 90.0
    kill_signal: int = signal.SIGTERM
    kill_mode: Literal["control-group", "mixed", "process"] = "control-group"
    user: str = ""
    group: str = ""
    supplementary_groups: tuple[str, ...] = ()
    working_directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_files: tuple[str, ...] = ()  # a leading "-": may be missing
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # "NOFILE": (soft, hard)
    umask: int = 0o022
    nice: int = 0
    runtime_directories: tuple[str, ...] = ()
    state_directories: tuple[str, ...] = ()
    cache_directories: tuple[str, ...] = ()
    logs_directories: tuple[str, ...] = ()
    directory_mode: int = 0o755
    no_new_privileges: bool = False
    standard_output: str = "journal"
    standard_error: str = "inherit"
    warnings: tuple[str, ...] = ()

    def succeeded(self, code: int) -> bool:
        """Whether the exit code (negative: a signal) of the main process is a clean one, systemd.service(5)."""
        clean_signals = {-signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM, -signal.SIGPIPE}
        if code == 0 or code in self.success_exit_status:
            return True
        return self.type != "oneshot" and code in clean_signals

    def restarts_after(self, code: int, *, timed_out: bool = False) -> bool:
        """Whether `Restart=` asks for a new start after the main process ended so."""
        clean = self.succeeded(code) and not timed_out
        abnormal = (code < 0 and not self.succeeded(code)) or timed_out
        return {
            "no": False,
            "always": True,
            "on-success": clean,
            "on-failure": not clean,
            "on-abnormal": abnormal,
        }[self.restart]


def full_name(name: str) -> str:
    """The name with its type: ``opensearch`` is ``opensearch.service``."""
    return name if re.search(r"\.(service|target|socket|timer|path|mount)$", name) else f"{name}.service"


def parse_time(text: str) -> float:
    """A time span of systemd.time(7) in seconds: ``90``, ``1min 30s``, ``infinity``."""
    if text.strip() in ("infinity", "0 infinity"):
        return float("inf")
    scale = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0}
    scale |= {"m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0}
    parts = re.findall(r"\s*([0-9.]+)\s*([a-z]*)", text)
    if not parts or re.sub(r"\s*[0-9.]+\s*[a-z]*", "", text).strip() or any(unit not in scale for _, unit in parts):
        raise ValueError(f"{text!r} is not a time span")
    return sum(float(number) * scale[unit] for number, unit in parts)


def parse_boolean(text: str) -> bool:
    """Systemd's booleans."""
    if text.lower() in ("1", "yes", "y", "true", "t", "on"):
        return True
    if text.lower() in ("0", "no", "n", "false", "f", "off"):
        return False
    raise ValueError(f"{text!r} is not a boolean")


def split_words(text: str) -> tuple[str, ...]:
    """Words by systemd's quoting rules: double or single quotes around whole words, C escapes."""
    words = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise ValueError(f"{text!r}: a quote is not closed, or something follows one")
        quoted = match["double"] if match["double"] is not None else match["single"]
        words.append(_unescape(quoted if quoted is not None else match["bare"]))
        position = match.end()
    return tuple(words)


# A quote counts at the start of a word only; elsewhere it is a character like any other.
_WORD = re.compile(
    r"""(?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)' | (?P<bare>[^"'\s]\S*) ) (?:\s+|$)""",
    re.VERBOSE,
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}


def _unescape(word: str) -> str:
    def one(match: re.Match[str]) -> str:
        body = match[1]
        if body[0] == "x":
            return chr(int(body[1:], 16))
        return _ESCAPES.get(body, body)

    return re.sub(r"\\(x[0-9a-fA-F]{2}|.)", one, word)


def expand_specifiers(text: str, name: str, hostname: str = "") -> str:
    """Replaces the %-specifiers of systemd.unit(5) that don't depend on the running process."""
    stem = name.rsplit(".", 1)[0]
    prefix, _, instance = stem.partition("@")
    known = {
        "n": name,
        "N": stem,
        "p": prefix,
        "i": instance,
        "I": instance.replace("-", "/"),
        "H": hostname,
        "t": "/run",
        "S": "/var/lib",
        "C": "/var/cache",
        "L": "/var/log",
        "E": "/etc",
        "T": "/tmp",  # noqa: S108 - the specifier's value
        "V": "/var/tmp",  # noqa: S108 - the specifier's value
        "u": "root",
        "U": "0",
        "h": "/root",
        "%": "%",
    }

    def one(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise ValueError(f"the specifier %{match[1]} is not supported")
        return known[match[1]]

    return re.sub(r"%(.)", one, text)


def expand_variables(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Variables in a command line, systemd.service(5): ``${A}`` anywhere, ``$A`` as a word is split into words."""
    result: list[str] = []
    for word in arguments:
        if match := re.fullmatch(r"\$([A-Za-z_]\w*)", word):
            result += environment.get(match[1], "").split()
            continue
        expanded = re.sub(
            r"\$\$|\$\{([A-Za-z_]\w*)\}",
            lambda match: "$" if match[0] == "$$" else environment.get(match[1], ""),
            word,
        )
        result.append(expanded)
    return result


def parse_environment_file(text: str) -> dict[str, str]:
    """``KEY=value`` lines with shell quotes, comments and continuations, systemd.exec(5)."""
    values: dict[str, str] = {}
    for line in re.sub(r"\\\n", "", text).splitlines():
        line = line.strip()
        if not line or line[0] in "#;" or "=" not in line:
            continue
        key, _, value = line.partition("=")
        value = value.strip()
        if value[:1] in ('"', "'") and value[-1:] == value[:1] and len(value) > 1:
            quote, value = value[0], value[1:-1]
            if quote == '"':
                value = re.sub(r'\\(["\\$`])', r"\1", value)
        values[key.strip()] = value
    return values


def parse_command(text: str) -> Command:
    """An ``Exec*=`` line without its prefixes' meaning lost; unsupported ones are an error."""
    match = re.match(r"[-+!:@|]*", text)
    prefixes, rest = (match[0], text[match.end() :]) if match else ("", text)
    for prefix in prefixes:
        if prefix in ":@|":
            raise ValueError(f"the prefix {prefix!r} of {text!r} is not supported")
    arguments = split_words(rest)
    if not arguments:
        raise ValueError("a command is empty")
    return Command(arguments, "-" in prefixes, "+" in prefixes or "!" in prefixes)


# Accepted without effect: a machine is the sandbox; or they change nothing that a program sees.
_WITHOUT_EFFECT = re.compile(
    r"Documentation|Before|DefaultDependencies|PartOf|Conflicts|StartLimitAction|Also|DefaultInstance|RequiredBy"
    r"|Protect\w+|Private\w+|Restrict\w+|SystemCall\w+|ReadWritePaths|ReadOnlyPaths|InaccessiblePaths|LockPersonality"
    r"|MemoryDenyWriteExecute|CapabilityBoundingSet|AmbientCapabilities|RemoveIPC|KeyringMode|ProcSubset"
    r"|Memory(High|Max|Min|Low|SwapMax)|CPU\w+|Tasks\w+|IO\w+|OOM\w+|Slice|Delegate|DynamicUser|Log\w+|Syslog\w+"
    r"|NotifyAccess|GuessMainPID|SendSIGKILL|SendSIGHUP|FinalKillSignal|WatchdogSec|StandardInput|SecureBits"
    r"|TimeoutAbortSec|RestartMode|RestartSteps|RestartMaxDelaySec|ConfigurationDirectory|RuntimeDirectoryPreserve"
)


def parse(text: str, name: str, hostname: str = "") -> Unit:
    """Parses the unit file `name` (``opensearch.service``, ``worker@2.service``).

    Raises:
        UnitError: a value is wrong, a service has nothing to start.
    """
    values: dict[str, Any] = {}
    warnings: list[str] = []
    for section, key, raw in _directives(text, name):
        known = _DIRECTIVES.get((section, key))
        if known is None:
            if not (section.startswith("X-") or _WITHOUT_EFFECT.fullmatch(key)):
                warnings.append(f"{name}: {section}.{key} is not supported and has no effect")
            continue
        attribute, convert, many = known
        try:
            value = convert(expand_specifiers(raw, name, hostname))
        except (ValueError, KeyError) as error:
            raise UnitError(f"{name}: {key}={raw}: {error}") from error
        if not many:
            values[attribute] = value
            if key == "TimeoutSec":
                values["timeout_start"] = value
        elif raw == "":
            values[attribute] = type(value)()  # an empty assignment resets the list
        elif isinstance(value, dict):
            values[attribute] = {**values.get(attribute, {}), **value}
        else:
            values[attribute] = type(value)([*values.get(attribute, ()), *value])
    if values.get("type") == "oneshot":
        values.setdefault("timeout_start", float("inf"))
    unit = Unit(name=name, warnings=tuple(warnings), **values)
    return _checked(unit)


def _checked(unit: Unit) -> Unit:
    if unit.name.endswith(".target"):
        return unit
    if not unit.name.endswith(".service"):
        raise UnitError(f"{unit.name}: only .service and .target units are supported")
    if not unit.exec_start and unit.type != "oneshot":
        raise UnitError(f"{unit.name}: ExecStart= is missing")
    if len(unit.exec_start) > 1 and unit.type != "oneshot":
        raise UnitError(f"{unit.name}: more than one ExecStart= needs Type=oneshot")
    if unit.type == "oneshot" and unit.restart in ("always", "on-success"):
        raise UnitError(f"{unit.name}: Restart={unit.restart} is not allowed with Type=oneshot")
    if unit.type == "oneshot" and not unit.exec_start and not unit.exec_stop:
        raise UnitError(f"{unit.name}: ExecStart= is missing")
    for command in (*unit.exec_start_pre, *unit.exec_start, *unit.exec_start_post, *unit.exec_stop):
        if "/" in command.arguments[0] and not command.arguments[0].startswith("/"):
            raise UnitError(f"{unit.name}: {command.arguments[0]}: a program needs an absolute path")
    return unit


def _directives(text: str, name: str) -> list[tuple[str, str, str]]:
    """(section, key, value) of each assignment, continuation lines joined."""
    found: list[tuple[str, str, str]] = []
    section, pending = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped[:1] in ("#", ";") or (not stripped and not pending):
            continue
        if stripped.endswith("\\"):
            pending += stripped[:-1] + " "
            continue
        stripped, pending = pending + stripped, ""
        if match := re.fullmatch(r"\[([\w-]+)\]", stripped):
            section = match[1]
        elif "=" in stripped and section:
            key, _, value = stripped.partition("=")
            found.append((section, key.strip(), value.strip()))
        else:
            raise UnitError(f"{name}: line {number} is neither a section nor an assignment: {stripped!r}")
    return found


def _choice(*allowed: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"not one of {', '.join(allowed)}")
        return text

    return convert


def _type(text: str) -> str:
    return "notify" if text == "notify-reload" else _choice("simple", "exec", "notify", "oneshot", "forking")(text)


def _commands(text: str) -> tuple[Command, ...]:
    # A lone ";" separates commands of one line.
    return tuple(parse_command(part) for part in re.split(r"\s;\s", text)) if text else ()


def _environment(text: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in split_words(text)]
    if any(not separator for _, separator, _ in pairs):
        raise ValueError("an assignment NAME=value is expected")
    return {key: value for key, _, value in pairs}


def _statuses(text: str) -> frozenset[int]:
    return frozenset(-signal.Signals[word] if word.startswith("SIG") else int(word) for word in text.split())


def _limit(name: str) -> Callable[[str], dict[str, tuple[float, float]]]:
    def number(text: str) -> float:
        if text == "infinity":
            return float("inf")
        match = re.fullmatch(r"(\d+)([KMGT]?)", text)
        if match is None:
            raise ValueError(f"{text!r} is not a number")
        return float(int(match[1]) * 1024 ** " KMGT".index(match[2] or " "))

    def convert(text: str) -> dict[str, tuple[float, float]]:
        soft, _, hard = text.partition(":")
        return {name: (number(soft), number(hard or soft))}

    return convert


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _units(text: str) -> tuple[str, ...]:
    return tuple(full_name(word) for word in text.split())


def _one(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _octal(text: str) -> int:
    return int(text, 8)


def _signal(text: str) -> int:
    return int(text) if text.isdigit() else signal.Signals[text if text.startswith("SIG") else f"SIG{text}"]


def _timeout(text: str) -> float:
    seconds = parse_time(text)
    return seconds or float("inf")


def _output(text: str) -> str:
    if re.fullmatch(r"journal|inherit|null|(file|append|truncate):/.+", text):
        return text
    if text in ("journal+console", "syslog", "kmsg", "tty"):
        return "journal"
    raise ValueError("not supported")


_TEXT = str
_DIRECTIVES: dict[tuple[str, str], tuple[str, Callable[[str], Any], bool]] = {
    ("Unit", "Description"): ("description", _TEXT, False),
    ("Unit", "After"): ("after", _units, True),
    ("Unit", "Requires"): ("requires", _units, True),
    ("Unit", "BindsTo"): ("requires", _units, True),
    ("Unit", "Requisite"): ("requires", _units, True),
    ("Unit", "Wants"): ("wants", _units, True),
    ("Unit", "ConditionPathExists"): ("condition_path_exists", _one, True),
    ("Unit", "StartLimitIntervalSec"): ("start_limit_interval", parse_time, False),
    ("Unit", "StartLimitInterval"): ("start_limit_interval", parse_time, False),
    ("Unit", "StartLimitBurst"): ("start_limit_burst", int, False),
    ("Service", "StartLimitInterval"): ("start_limit_interval", parse_time, False),
    ("Service", "StartLimitIntervalSec"): ("start_limit_interval", parse_time, False),
    ("Service", "StartLimitBurst"): ("start_limit_burst", int, False),
    ("Service", "Type"): ("type", _type, False),
    ("Service", "RemainAfterExit"): ("remain_after_exit", parse_boolean, False),
    ("Service", "PIDFile"): ("pid_file", _TEXT, False),
    ("Service", "ExecStartPre"): ("exec_start_pre", _commands, True),
    ("Service", "ExecStart"): ("exec_start", _commands, True),
    ("Service", "ExecStartPost"): ("exec_start_post", _commands, True),
    ("Service", "ExecReload"): ("exec_reload", _commands, True),
    ("Service", "ExecStop"): ("exec_stop", _commands, True),
    ("Service", "ExecStopPost"): ("exec_stop_post", _commands, True),
    ("Service", "Restart"): (
        "restart",
        _choice("no", "always", "on-failure", "on-success", "on-abnormal"),
        False,
    ),
    ("Service", "RestartSec"): ("restart_seconds", parse_time, False),
    ("Service", "SuccessExitStatus"): ("success_exit_status", _statuses, True),
    ("Service", "TimeoutSec"): ("timeout_stop", _timeout, False),
    ("Service", "TimeoutStartSec"): ("timeout_start", _timeout, False),
    ("Service", "TimeoutStopSec"): ("timeout_stop", _timeout, False),
    ("Service", "KillSignal"): ("kill_signal", _signal, False),
    ("Service", "KillMode"): ("kill_mode", _choice("control-group", "mixed", "process"), False),
    ("Service", "User"): ("user", _TEXT, False),
    ("Service", "Group"): ("group", _TEXT, False),
    ("Service", "SupplementaryGroups"): ("supplementary_groups", _words, True),
    ("Service", "WorkingDirectory"): ("working_directory", _TEXT, False),
    ("Service", "Environment"): ("environment", _environment, True),
    ("Service", "EnvironmentFile"): ("environment_files", _one, True),
    ("Service", "UMask"): ("umask", _octal, False),
    ("Service", "Nice"): ("nice", int, False),
    ("Service", "RuntimeDirectory"): ("runtime_directories", _words, True),
    ("Service", "StateDirectory"): ("state_directories", _words, True),
    ("Service", "CacheDirectory"): ("cache_directories", _words, True),
    ("Service", "LogsDirectory"): ("logs_directories", _words, True),
    ("Service", "RuntimeDirectoryMode"): ("directory_mode", _octal, False),
    ("Service", "StateDirectoryMode"): ("directory_mode", _octal, False),
    ("Service", "NoNewPrivileges"): ("no_new_privileges", parse_boolean, False),
    ("Service", "StandardOutput"): ("standard_output", _output, False),
    ("Service", "StandardError"): ("standard_error", _output, False),
    ("Install", "WantedBy"): ("wanted_by", _units, True),
    ("Install", "Alias"): ("aliases", _units, True),
    **{
        ("Service", f"Limit{name}"): ("limits", _limit(name), True)
        for name in ("NOFILE", "NPROC", "MEMLOCK", "CORE", "AS", "STACK", "FSIZE")
    },
}
