"""From security groups to what the network enforces: which source may reach which port of which machine.

The vendor's order: the rules of all groups of an instance together, by priority (1 first), at equal priority ``Drop``
before ``Accept``; then members of the same group, unless its inner access policy is ``Drop``; then nothing comes in
and everything goes out. Egress rules are folded in: a source that may not leave towards a port is no source of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from itertools import pairwise

from infra.localcloud.hypervisor.machine import Ingress
from infra.localcloud.store import Document

Spans = list[tuple[int, int]]
"""A set of addresses: first and last number of disjoint ranges, ascending."""

_PORTS = 65535


@dataclass(frozen=True)
class _Rule:
    priority: int
    accept: bool
    first_port: int
    last_port: int
    peers: Spans  # sources of ingress, destinations of egress

    def covers(self, port: int) -> bool:
        return self.first_port <= port <= self.last_port


def ingress_rules(instances: Iterable[Document], groups: Mapping[str, Document]) -> list[Ingress]:
    """What may reach the TCP ports of `instances`.

    Args:
        instances: documents with ``PrivateIpAddress`` and ``SecurityGroupIds``.
        groups: documents by id with ``InnerAccessPolicy`` and ``Permissions``.

    Returns:
        Disjoint port ranges of each machine with the CIDR blocks of their sources; ranges that nothing may reach are
        left out.
    """
    machines = list(instances)
    members: dict[str, Spans] = {}
    for machine in machines:
        for group in machine["SecurityGroupIds"]:
            members[group] = union(members.get(group, []), [_one(machine["PrivateIpAddress"])])
    arriving = {m["PrivateIpAddress"]: _rules(m, groups, members, "ingress") for m in machines}
    leaving = {m["PrivateIpAddress"]: _rules(m, groups, members, "egress") for m in machines}
    leaving = {address: rules for address, rules in leaving.items() if rules}
    found: list[Ingress] = []
    for machine in machines:
        address = machine["PrivateIpAddress"]
        inner: Spans = []
        for group in machine["SecurityGroupIds"]:
            if groups[group]["InnerAccessPolicy"] == "Accept":
                inner = union(inner, members[group])
        inner = subtract(inner, [_one(address)])
        runs: list[tuple[int, int, Spans]] = []
        for first, following in pairwise(_cuts([arriving[address], *leaving.values()])):
            sources = _accepted(arriving[address], first, inner)
            for source, rules in leaving.items():
                if not _leaves(rules, first, address):
                    sources = subtract(sources, [_one(source)])
            if runs and runs[-1][2] == sources:
                runs[-1] = (runs[-1][0], following - 1, sources)
            else:
                runs.append((first, following - 1, sources))
        found += [Ingress(address, first, last, blocks(sources)) for first, last, sources in runs if sources]
    return found


def union(one: Spans, other: Spans) -> Spans:
    """Addresses of either set."""
    merged: Spans = []
    for first, last in sorted([*one, *other]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def subtract(one: Spans, other: Spans) -> Spans:
    """Addresses of the first set that are not in the second."""
    left = list(one)
    for first, last in other:
        rest: Spans = []
        for start, end in left:
            if end < first or last < start:
                rest.append((start, end))
                continue
            if start < first:
                rest.append((start, first - 1))
            if last < end:
                rest.append((last + 1, end))
        left = rest
    return left


def blocks(spans: Spans) -> list[str]:
    """The fewest CIDR blocks that make up a set, addresses of their own without a mask."""
    texts = []
    for first, last in spans:
        for block in summarize_address_range(IPv4Address(first), IPv4Address(last)):
            texts.append(str(block[0]) if block.num_addresses == 1 else str(block))
    return texts


def _one(address: str) -> tuple[int, int]:
    number = int(IPv4Address(address))
    return number, number


def _rules(
    machine: Document, groups: Mapping[str, Document], members: Mapping[str, Spans], direction: str
) -> list[_Rule]:
    side = "Source" if direction == "ingress" else "Dest"
    found = []
    for group in machine["SecurityGroupIds"]:
        for permission in groups[group]["Permissions"]:
            if permission["Direction"] != direction or permission["IpProtocol"] not in {"TCP", "ALL"}:
                continue
            first, last = (int(part) for part in permission["PortRange"].split("/"))
            if first == -1:
                first, last = 1, _PORTS
            if block := permission[f"{side}CidrIp"]:
                network = IPv4Network(block)
                peers = [(int(network[0]), int(network[-1]))]
            else:
                peers = members.get(permission[f"{side}GroupId"], [])
            accept = permission["Policy"] == "Accept"
            found.append(_Rule(int(permission["Priority"]), accept, first, last, peers))
    return sorted(found, key=lambda rule: (rule.priority, rule.accept))


def _cuts(rules: Sequence[Sequence[_Rule]]) -> list[int]:
    """Ports at which some rule begins or has ended, the whole range included."""
    cuts = {1, _PORTS + 1}
    for several in rules:
        for rule in several:
            cuts |= {rule.first_port, rule.last_port + 1}
    return sorted(cut for cut in cuts if cut >= 1)


def _accepted(rules: Sequence[_Rule], port: int, inner: Spans) -> Spans:
    accepted: Spans = []
    decided: Spans = []
    for rule in rules:
        if rule.covers(port):
            if rule.accept:
                accepted = union(accepted, subtract(rule.peers, decided))
            decided = union(decided, rule.peers)
    return union(accepted, subtract(inner, decided))


def _leaves(rules: Sequence[_Rule], port: int, address: str) -> bool:
    number = int(IPv4Address(address))
    for rule in rules:
        if rule.covers(port) and any(first <= number <= last for first, last in rule.peers):
            return rule.accept
    return True
