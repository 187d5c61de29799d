"""Who may reach what, decided from rules and from what is really listened on."""

import socket
from pathlib import Path

import pytest

from infra.localcloud.hypervisor.fabric import HOST, Rules, desired, listening_ports, load_rules, unix_address
from infra.localcloud.hypervisor.machine import Ingress

WEB = Ingress("127.80.0.5", 80, 90, ["127.80.1.0/24", "127.0.0.1"])

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0500507F:0051 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0100007F:0052 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 0500507F:0053 0600507F:1234 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""
ZEROS = "0" * 32
TABLE6 = f"""\
  sl  local_address                         remote_address                        st
   0: {ZEROS}:0054 {ZEROS}:0000 0A 00000000:00000000
   1: 0000000000000000FFFF00000500507F:0055 {ZEROS}:0000 0A 00000000:00000000
   2: 00000000000000000000000001000000:0056 {ZEROS}:0000 0A 00000000:00000000
"""


def test_listeners_that_the_address_reaches() -> None:
    assert listening_ports([TABLE, TABLE6], "127.80.0.5") == {0x50, 0x51, 0x54, 0x55}


def test_rules_allow_by_source_and_port() -> None:
    rules = Rules.parse([WEB])
    assert rules.allow("127.80.1.9", 80)
    assert rules.allow("127.0.0.1", 90)
    assert not rules.allow("127.80.2.9", 80)
    assert not rules.allow("127.80.1.9", 91)


def test_listeners_are_wanted_where_a_source_is() -> None:
    rules = Rules.parse([WEB])
    peers = {"i-near": "127.80.1.9", "i-far": "127.80.2.9"}
    assert desired(rules, {80, 443}, peers) == {(HOST, 80), ("i-near", 80)}


def test_rules_of_one_machine() -> None:
    rules = Rules.parse([WEB, Ingress("127.80.0.6", 1, 2, ["0.0.0.0/0"])])
    assert len(rules.of("127.80.0.6").rules) == 1


def test_a_source_must_be_an_address() -> None:
    with pytest.raises(ValueError, match="web"):
        Rules.parse([Ingress("127.80.0.5", 1, 2, ["web"])])


def test_no_file_allows_nothing(tmp_path: Path) -> None:
    assert load_rules(tmp_path / "missing.json") == Rules()


def test_sockets_in_deep_folders_have_an_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with unix_address(deep / "s") as address:
            server.bind(address)
        server.listen()
        with unix_address(deep / "s") as address:
            client.connect(address)
    assert (deep / "s").is_socket()
