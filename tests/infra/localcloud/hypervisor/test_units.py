"""Unit files are read as systemd reads them."""

import signal

import pytest

from infra.localcloud.hypervisor import units
from infra.localcloud.hypervisor.units import Command, UnitError, parse

OPENSEARCH = """\
[Unit]
Description=OpenSearch
After=network-online.target storage.service
Wants=network-online.target
Requires=storage

[Service]
User=opensearch
WorkingDirectory=/var/lib/opensearch
Environment=OPENSEARCH_HOME=/usr/share/opensearch "JAVA_OPTS=-Xms1g -Xmx1g"
Environment=MORE=1
EnvironmentFile=-/etc/sysconfig/opensearch
ExecStartPre=-/usr/bin/mkdir -p /var/lib/%p
ExecStart=/usr/share/opensearch/bin/opensearch \\
    -p /run/opensearch.pid \\
    --quiet
Restart=on-failure
RestartSec=1min 30s
LimitNOFILE=65535
SuccessExitStatus=143 SIGKILL
KillSignal=SIGINT
TimeoutStopSec=infinity
ProtectSystem=full

[Install]
WantedBy=multi-user.target
"""


def test_parses_what_a_service_says() -> None:
    unit = parse(OPENSEARCH, "opensearch.service")
    assert unit.after == ("network-online.target", "storage.service")
    assert unit.requires == ("storage.service",)
    assert unit.exec_start_pre == (Command(("/usr/bin/mkdir", "-p", "/var/lib/opensearch"), ignore_failure=True),)
    assert unit.exec_start[0].arguments == (
        "/usr/share/opensearch/bin/opensearch",
        "-p",
        "/run/opensearch.pid",
        "--quiet",
    )
    assert unit.environment == {
        "OPENSEARCH_HOME": "/usr/share/opensearch",
        "JAVA_OPTS": "-Xms1g -Xmx1g",
        "MORE": "1",
    }
    assert unit.environment_files == ("-/etc/sysconfig/opensearch",)
    assert (unit.restart, unit.restart_seconds) == ("on-failure", 90.0)
    assert unit.limits == {"NOFILE": (65535.0, 65535.0)}
    assert unit.success_exit_status == frozenset({143, -signal.SIGKILL})
    assert unit.kill_signal == signal.SIGINT
    assert unit.timeout_stop == float("inf")
    assert unit.wanted_by == ("multi-user.target",)
    assert unit.warnings == ()


def test_unknown_directives_are_warned_of() -> None:
    unit = parse("[Service]\nExecStart=/bin/true\nExecStrat=/bin/false\n", "a.service")
    assert unit.warnings == ("a.service: Service.ExecStrat is not supported and has no effect",)


def test_an_empty_assignment_resets_a_list() -> None:
    unit = parse("[Service]\nExecStart=/bin/false\nExecStart=\nExecStart=/bin/true\n", "a.service")
    assert unit.exec_start == (Command(("/bin/true",)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Service]\nUser=a\n", "ExecStart= is missing"),
        ("[Service]\nExecStart=/bin/true\nExecStart=/bin/true\n", "needs Type=oneshot"),
        ("[Service]\nExecStart=/bin/true\nRestart=sometimes\n", "Restart=sometimes: not one of"),
        ("[Service]\nExecStart=bin/true\n", "needs an absolute path"),
        ('[Service]\nExecStart=/bin/echo "a\n', "a quote is not closed"),
        ("[Service]\nType=dbus\nExecStart=/bin/true\n", "Type=dbus"),
        ("[Service]\nExecStart=/bin/date +%s%Q\n", "specifier %s is not supported"),
        ("ExecStart=/bin/true\n", "neither a section nor an assignment"),
        ("[Service]\nExecStart=/bin/true\nRestartSec=soon\n", "not a time span"),
        ("[Service]\nType=oneshot\nRestart=always\nExecStart=/bin/true\n", "not allowed with Type=oneshot"),
    ],
)
def test_what_cant_run_is_an_error_that_names_it(text: str, message: str) -> None:
    with pytest.raises(UnitError, match=message.replace("+", r"\+")) as raised:
        parse(text, "a.service")
    assert "a.service" in str(raised.value)


def test_units_other_than_services_and_targets_are_refused() -> None:
    with pytest.raises(UnitError, match=r"only \.service and \.target"):
        parse("[Timer]\nOnBootSec=1\n", "a.timer")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b", ("a", "b")),
        ('"a b" c', ("a b", "c")),
        ("'a \"b\"' c", ('a "b"', "c")),
        (r'"a \"b\"" \x41\n', ('a "b"', "A\n")),
        ("-Dkey='x'", ("-Dkey='x'",)),
        ("", ()),
    ],
)
def test_words_are_split_by_systemds_rules(text: str, words: tuple[str, ...]) -> None:
    assert units.split_words(text) == words


def test_variables_are_expanded_by_systemds_rules() -> None:
    environment = {"OPTS": "-a -b", "NAME": "x y"}
    arguments = ["run", "$OPTS", "${NAME}/z", "$$HOME", "a$OPTS", "$MISSING"]
    assert units.expand_variables(arguments, environment) == ["run", "-a", "-b", "x y/z", "$HOME", "a$OPTS"]


def test_specifiers() -> None:
    assert units.expand_specifiers("%n %p %i %H %%", "worker@2.service", "node") == "worker@2.service worker 2 node %"


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5.0), ("500ms", 0.5), ("1min 30s", 90.0), ("2h", 7200.0), ("infinity", float("inf"))]
)
def test_time_spans(text: str, seconds: float) -> None:
    assert units.parse_time(text) == seconds


def test_environment_files() -> None:
    text = "# comment\nA=1\n B = two words \nC='it''s'\nD=\"a \\\"b\\\"\"\n;x\nE=a\\\nb\n"
    assert units.parse_environment_file(text) == {
        "A": "1",
        "B": "two words",
        "C": "it''s",
        "D": 'a "b"',
        "E": "ab",
    }


@pytest.mark.parametrize(
    ("restart", "code", "again"),
    [
        ("no", 1, False),
        ("always", 0, True),
        ("always", -9, True),
        ("on-failure", 0, False),
        ("on-failure", -signal.SIGTERM, False),
        ("on-failure", -signal.SIGKILL, True),
        ("on-failure", 1, True),
        ("on-abnormal", 1, False),
        ("on-abnormal", -signal.SIGSEGV, True),
        ("on-success", 0, True),
    ],
)
def test_restart_policies(restart: str, code: int, again: bool) -> None:
    unit = parse(f"[Service]\nExecStart=/bin/true\nRestart={restart}\n", "a.service")
    assert unit.restarts_after(code) is again


def test_names_get_their_type() -> None:
    assert units.full_name("opensearch") == "opensearch.service"
    assert units.full_name("multi-user.target") == "multi-user.target"
    assert units.full_name("a.b") == "a.b.service"
