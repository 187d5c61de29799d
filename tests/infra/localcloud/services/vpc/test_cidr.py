"""Address blocks: what the VPC API accepts."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from infra.localcloud.service import ApiError
from infra.localcloud.services.vpc.cidr import assignable, available, free_address, network_block, switch_block


@pytest.mark.parametrize("text", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.80.0.0/16", "11.0.0.0/16"])
def test_blocks_of_a_vpc(text: str) -> None:
    assert network_block(text) == IPv4Network(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0",
        "10.0.0.1/8",
        "10.0.0.0/29",
        "8.0.0.0/7",
        "127.0.0.0/8",
        "100.64.0.0/16",
        "169.254.0.0/16",
        "x/8",
    ],
)
def test_refused_blocks_of_a_vpc(text: str) -> None:
    with pytest.raises(ApiError) as error:
        network_block(text)
    assert error.value.code == "InvalidCidrBlock"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("127.80.0.0/30", "InvalidCidrBlock"),
        ("127.81.0.0/24", "InvalidCidrBlock"),
        ("127.80.2.128/25", "InvalidCidrBlock.Overlapped"),
    ],
)
def test_refused_blocks_of_a_switch(text: str, code: str) -> None:
    with pytest.raises(ApiError) as error:
        switch_block(text, IPv4Network("127.80.0.0/16"), [IPv4Network("127.80.2.0/24")])
    assert error.value.code == code


def test_the_first_and_the_last_three_addresses_are_the_systems() -> None:
    block = IPv4Network("127.80.0.0/29")
    assert [str(a) for a in block if assignable(a, block)] == [f"127.80.0.{n}" for n in (1, 2, 3, 4)]
    assert not assignable(IPv4Address("127.80.0.9"), block)
    assert available(block, 1) == 3


def test_free_addresses_end() -> None:
    block = IPv4Network("127.80.0.0/29")
    taken = ["127.80.0.1", "127.80.0.2"]
    assert str(free_address(block, taken)) == "127.80.0.3"
    with pytest.raises(ApiError, match="IpNotEnough"):
        free_address(block, [*taken, "127.80.0.3", "127.80.0.4"])
