"""IPv4 address blocks of networks and switches, as the VPC API restricts them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from infra.localcloud.service import ApiError

LOOPBACK = IPv4Network("127.0.0.0/8")
"""Addresses at which the local cloud can start machines."""

# The vendor refuses the loopback block too; here it is where machines live. The host keeps 127.0/16 for itself.
_REFUSED = tuple(
    IPv4Network(block)
    for block in ("0.0.0.0/8", "100.64.0.0/10", "127.0.0.0/16", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)


def network_block(text: str) -> IPv4Network:
    """A VPC's block.

    Raises:
        ApiError: ``InvalidCidrBlock``: it is no block, a reserved one, or its mask is not /8 to /28.
    """
    block = _parse(text)
    if not 8 <= block.prefixlen <= 28:
        raise ApiError(400, "InvalidCidrBlock", f"The mask of the CIDR block {text} must be /8 to /28.")
    for refused in _REFUSED:
        if block.overlaps(refused):
            raise ApiError(400, "InvalidCidrBlock", f"The CIDR block {text} overlaps the reserved block {refused}.")
    return block


def switch_block(text: str, network: IPv4Network, others: Iterable[IPv4Network]) -> IPv4Network:
    """A vSwitch's block within its VPC's.

    Raises:
        ApiError: ``InvalidCidrBlock`` (no block, outside, mask not /16 to /29) or ``InvalidCidrBlock.Overlapped``.
    """
    block = _parse(text)
    if not 16 <= block.prefixlen <= 29:
        raise ApiError(400, "InvalidCidrBlock", f"The mask of the CIDR block {text} must be /16 to /29.")
    if not block.subnet_of(network):
        raise ApiError(400, "InvalidCidrBlock", f"The CIDR block {text} is not within the VPC's block {network}.")
    for other in others:
        if block.overlaps(other):
            raise ApiError(400, "InvalidCidrBlock.Overlapped", f"The CIDR block {text} overlaps {other}.")
    return block


def assignable(address: IPv4Address, block: IPv4Network) -> bool:
    """Whether an instance can have the address: the first and the last three of a switch are the system's."""
    return address in block and int(block[0]) < int(address) < int(block[-1]) - 2


def free_address(block: IPv4Network, taken: Iterable[str]) -> IPv4Address:
    """The lowest address of a switch that nobody has.

    Raises:
        ApiError: ``InvalidVSwitchId.IpNotEnough``.
    """
    used = set(taken)
    for number in range(1, block.num_addresses - 3):
        if str(block[number]) not in used:
            return block[number]
    raise ApiError(400, "InvalidVSwitchId.IpNotEnough", f"The vSwitch {block} has no free address left.")


def available(block: IPv4Network, taken: int) -> int:
    """How many addresses of a switch are free."""
    return block.num_addresses - 4 - taken


def _parse(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError:
        raise ApiError(400, "InvalidCidrBlock", f"The CIDR block {text!r} is not valid.") from None
