"""Links, addresses and routes of a network namespace over rtnetlink: the few `ip` commands that a machine needs.

Wire format: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h. Every function acts on the namespace of the calling
thread.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

_RTM_NEWLINK, _RTM_NEWADDR, _RTM_DELADDR, _RTM_NEWROUTE = 16, 20, 21, 24
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
_NLMSG_ERROR = 2
_IFF_UP, _IFF_NOARP = 0x1, 0x80
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_NET_NS_PID = 1, 3, 4, 18, 19
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_PREFSRC = 1, 4, 7
_RT_TABLE_MAIN, _RT_TABLE_LOCAL = 254, 255
_RTPROT_STATIC = 4
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RT_SCOPE_HOST = 0, 253, 254
_RTN_UNICAST, _RTN_LOCAL = 1, 2
# Without ARP a link sends to its own hardware address, so both ends have the same one (locally administered).
_HARDWARE_ADDRESS = bytes.fromhex("023e00000001")
_MTU = 65535  # both ends are on this host: as large as the loopback's


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _request(kind: int, flags: int, body: bytes, what: str) -> None:
    """Sends one request and waits for its acknowledgement."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as link:
        link.bind((0, 0))
        flags |= _NLM_F_REQUEST | _NLM_F_ACK
        link.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        reply = link.recv(65536)
    _, answer, _, _, _ = struct.unpack_from("=IHHII", reply)
    if answer != _NLMSG_ERROR:
        raise OSError(f"{what}: unexpected netlink answer {answer}")
    (error,) = struct.unpack_from("=i", reply, 16)
    if error:
        raise OSError(-error, f"{what}: {os.strerror(-error)}")


def create_veth(name: str, peer: str, peer_pid: int) -> None:
    """A pair of connected links: `name` here, `peer` in the network namespace of process `peer_pid`."""
    peer_body = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    peer_body += _attribute(_IFLA_IFNAME, peer.encode() + b"\0")
    peer_body += _attribute(_IFLA_NET_NS_PID, struct.pack("=I", peer_pid))
    peer_body += _attribute(_IFLA_MTU, struct.pack("=I", _MTU)) + _attribute(_IFLA_ADDRESS, _HARDWARE_ADDRESS)
    data = _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, peer_body))
    info = _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, b"veth") + data)
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    body += _attribute(_IFLA_MTU, struct.pack("=I", _MTU)) + _attribute(_IFLA_ADDRESS, _HARDWARE_ADDRESS) + info
    _request(_RTM_NEWLINK, _NLM_F_CREATE | _NLM_F_EXCL, body, "create a veth pair (kernel module veth)")


def set_up(name: str, *, arp: bool = True) -> None:
    """Brings the link up; without `arp` it sends every packet to the other end, whoever asks."""
    flags, mask = _IFF_UP, _IFF_UP
    if not arp:
        flags, mask = flags | _IFF_NOARP, mask | _IFF_NOARP
    body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(name), flags, mask)
    _request(_RTM_NEWLINK, 0, body, f"bring up {name}")


def _address_body(name: str, address: IPv4Address, prefix: int) -> bytes:
    scope = _RT_SCOPE_HOST if name == "lo" else _RT_SCOPE_UNIVERSE
    body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, scope, socket.if_nametoindex(name))
    return body + _attribute(_IFA_LOCAL, address.packed) + _attribute(_IFA_ADDRESS, address.packed)


def add_address(name: str, address: IPv4Address, prefix: int = 32) -> None:
    """Gives the link an address."""
    flags = _NLM_F_CREATE | _NLM_F_EXCL
    _request(_RTM_NEWADDR, flags, _address_body(name, address, prefix), f"add {address}/{prefix} to {name}")


def remove_address(name: str, address: IPv4Address, prefix: int) -> None:
    """Takes an address from the link."""
    _request(_RTM_DELADDR, 0, _address_body(name, address, prefix), f"remove {address}/{prefix} from {name}")


def _add_route(
    destination: IPv4Network, name: str, kind: int, table: int, scope: int, source: IPv4Address | None = None
) -> None:
    prefix = destination.prefixlen
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, table, _RTPROT_STATIC, scope, kind, 0)
    if prefix:
        body += _attribute(_RTA_DST, destination.network_address.packed)
    body += _attribute(_RTA_OIF, struct.pack("=I", socket.if_nametoindex(name)))
    if source is not None:
        body += _attribute(_RTA_PREFSRC, source.packed)
    _request(_RTM_NEWROUTE, _NLM_F_CREATE | _NLM_F_EXCL, body, f"route {destination} by {name}")


def route_everything(name: str, source: IPv4Address) -> None:
    """What has no other route leaves by the link, from `source`."""
    _add_route(IPv4Network("0.0.0.0/0"), name, _RTN_UNICAST, _RT_TABLE_MAIN, _RT_SCOPE_LINK, source)


def answer_everything() -> None:
    """Every address without a more specific local route is this namespace's own (Linux calls it AnyIP)."""
    _add_route(IPv4Network("0.0.0.0/0"), "lo", _RTN_LOCAL, _RT_TABLE_LOCAL, _RT_SCOPE_HOST)


def route_address(address: IPv4Address, name: str) -> None:
    """The one address is behind the link, ahead of `answer_everything`."""
    _add_route(IPv4Network(address), name, _RTN_UNICAST, _RT_TABLE_LOCAL, _RT_SCOPE_LINK)


def allow_loopback_addresses(name: str) -> None:
    """Lets 127.0.0.0/8 travel on the link; the kernel drops such packets elsewhere."""
    settings = Path(f"/proc/sys/net/ipv4/conf/{name}")
    (settings / "route_localnet").write_text("1")
    (settings / "rp_filter").write_text("0")


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{what}: {error}") from error


def configure_machine(address: IPv4Address, link: str) -> None:
    """The machine's side: its loopback, its own address, everything else by `link`."""
    with _named("the machine's network"):
        set_up("lo")
        # Only 127.0.0.0/16 stays with the loopback: the network's block may be another part of 127.0.0.0/8.
        add_address("lo", IPv4Address("127.0.0.1"), 16)
        remove_address("lo", IPv4Address("127.0.0.1"), 8)
        add_address("lo", address)
        allow_loopback_addresses(link)
        set_up(link, arp=False)
        route_everything(link, address)


def configure_edge(address: IPv4Address, link: str) -> None:
    """The far side of a machine's link: every address but the machine's is answered here."""
    with _named("the machine's edge"):
        set_up("lo")
        remove_address("lo", IPv4Address("127.0.0.1"), 8)
        allow_loopback_addresses(link)
        set_up(link, arp=False)
        answer_everything()
        route_address(address, link)
