"""Security groups: what the network is told, checked against the vendor's rules one connection at a time."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.localcloud.hypervisor.machine import Ingress
from infra.localcloud.services.ecs.ingress import blocks, ingress_rules, subtract, union


def rule(direction: str = "ingress", **members: Any) -> dict[str, Any]:
    kept = {
        "Direction": direction,
        "IpProtocol": "TCP",
        "PortRange": "1/65535",
        "Policy": "Accept",
        "Priority": "1",
        "SourceCidrIp": "",
        "SourceGroupId": "",
        "DestCidrIp": "",
        "DestGroupId": "",
    }
    return kept | members


def group(*rules: dict[str, Any], inner: str = "Accept") -> dict[str, Any]:
    return {"InnerAccessPolicy": inner, "Permissions": list(rules)}


def machine(address: str, *groups: str) -> dict[str, Any]:
    return {"PrivateIpAddress": address, "SecurityGroupIds": list(groups)}


A, B, C = "127.80.0.10", "127.80.0.11", "127.80.0.12"


def test_nothing_comes_in_between_groups() -> None:
    assert ingress_rules([machine(A, "one"), machine(B, "two")], {"one": group(), "two": group()}) == []


def test_members_of_a_group_reach_each_other() -> None:
    assert ingress_rules([machine(A, "one"), machine(B, "one")], {"one": group()}) == [
        Ingress(A, 1, 65535, [B]),
        Ingress(B, 1, 65535, [A]),
    ]


def test_members_do_not_reach_each_other_when_the_inner_policy_drops() -> None:
    assert ingress_rules([machine(A, "one"), machine(B, "one")], {"one": group(inner="Drop")}) == []


def test_a_rule_opens_its_ports_to_its_block() -> None:
    groups = {"one": group(rule(PortRange="8080/8081", SourceCidrIp="127.80.0.0/16"))}
    assert ingress_rules([machine(A, "one")], groups) == [Ingress(A, 8080, 8081, ["127.80.0.0/16"])]


def test_a_rule_may_name_a_group() -> None:
    groups = {"one": group(rule(PortRange="9200/9200", SourceGroupId="two")), "two": group()}
    machines = [machine(A, "one"), machine(B, "two"), machine(C, "two")]
    assert Ingress(A, 9200, 9200, ["127.80.0.11", "127.80.0.12"]) not in ingress_rules(machines[:1], groups)
    found = [ingress for ingress in ingress_rules(machines, groups) if ingress.address == A]
    assert [(i.first_port, i.last_port) for i in found] == [(9200, 9200)]
    assert {str(a) for block in found[0].sources for a in IPv4Network(block)} == {B, C}


def test_drop_wins_at_equal_priority_and_loses_to_a_higher_one() -> None:
    accept = rule(SourceCidrIp="0.0.0.0/0", PortRange="80/80")
    drop = rule(SourceCidrIp=f"{B}/32", PortRange="80/80", Policy="Drop")
    (found,) = ingress_rules([machine(A, "one")], {"one": group(accept, drop)})
    assert not any(IPv4Address(B) in IPv4Network(block) for block in found.sources)
    (found,) = ingress_rules([machine(A, "one")], {"one": group(accept, drop | {"Priority": "2"})})
    assert found.sources == ["0.0.0.0/0"]


def test_udp_rules_open_no_tcp_port_and_rules_for_all_protocols_do() -> None:
    udp = rule(SourceCidrIp="0.0.0.0/0", IpProtocol="UDP")
    everything = rule(SourceCidrIp="0.0.0.0/0", IpProtocol="ALL", PortRange="-1/-1")
    assert ingress_rules([machine(A, "one")], {"one": group(udp)}) == []
    assert ingress_rules([machine(A, "one")], {"one": group(everything)}) == [Ingress(A, 1, 65535, ["0.0.0.0/0"])]


def test_a_source_that_may_not_leave_is_no_source() -> None:
    open_to_all = group(rule(PortRange="80/90", SourceCidrIp="127.80.0.0/16"))
    shut_in = group(rule("egress", PortRange="85/85", DestCidrIp=A, Policy="Drop"))
    found = ingress_rules([machine(A, "one"), machine(B, "two")], {"one": open_to_all, "two": shut_in})
    reached = {
        port
        for ingress in found
        for port in range(ingress.first_port, ingress.last_port + 1)
        if any(IPv4Address(B) in IPv4Network(block) for block in ingress.sources)
    }
    assert reached == {80, 81, 82, 83, 84, 86, 87, 88, 89, 90}


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=5)


def numbers(several: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in several for number in range(first, last + 1)}


@given(spans, spans)
def test_spans_are_sets(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    one, other = union(one, []), union(other, [])
    assert numbers(union(one, other)) == numbers(one) | numbers(other)
    assert numbers(subtract(one, other)) == numbers(one) - numbers(other)
    assert {int(a) for block in blocks(one) for a in IPv4Network(block)} == numbers(one)


ADDRESSES = ["127.80.0.10", "127.80.0.11", "127.80.0.70"]
peers = st.one_of(
    st.sampled_from(["0.0.0.0/0", "127.80.0.8/29", "127.80.0.11", "127.80.0.64/26"]).map(lambda c: ("CidrIp", c)),
    st.sampled_from(["one", "two"]).map(lambda g: ("GroupId", g)),
)


@st.composite
def permissions(draw: st.DrawFn) -> dict[str, Any]:
    direction = draw(st.sampled_from(["ingress", "egress"]))
    kind, peer = draw(peers)
    first = draw(st.integers(1, 6))
    return rule(
        direction,
        IpProtocol=draw(st.sampled_from(["TCP", "UDP", "ALL"])),
        PortRange=f"{first}/{draw(st.integers(first, 8))}",
        Policy=draw(st.sampled_from(["Accept", "Drop"])),
        Priority=str(draw(st.integers(1, 3))),
        **{("Source" if direction == "ingress" else "Dest") + kind: peer},
    )


def verdict(rules: list[dict[str, Any]], side: str, peer: str, port: int, members: dict[str, set[str]]) -> str:
    """What the first rule that fits says, read off the vendor's documentation; empty when none fits."""
    for given_rule in sorted(rules, key=lambda r: (int(r["Priority"]), r["Policy"] == "Accept")):
        first, last = (int(p) for p in given_rule["PortRange"].split("/"))
        block, named = given_rule[f"{side}CidrIp"], given_rule[f"{side}GroupId"]
        fits = IPv4Address(peer) in IPv4Network(block) if block else peer in members.get(named, set())
        if given_rule["IpProtocol"] != "UDP" and first <= port <= last and fits:
            return str(given_rule["Policy"])
    return ""


@given(
    st.dictionaries(
        st.sampled_from(["one", "two"]),
        st.tuples(st.lists(permissions(), max_size=5), st.sampled_from(["Accept", "Drop"])),
        min_size=2,
    ),
    st.lists(st.sets(st.sampled_from(["one", "two"]), min_size=1), min_size=3, max_size=3),
)
def test_every_connection_is_decided_as_documented(
    rules: dict[str, tuple[list[dict[str, Any]], str]], membership: list[set[str]]
) -> None:
    groups = {name: group(*several, inner=inner) for name, (several, inner) in rules.items()}
    machines = [machine(address, *sorted(own)) for address, own in zip(ADDRESSES, membership, strict=True)]
    members = {name: {a for a, own in zip(ADDRESSES, membership, strict=True) if name in own} for name in groups}
    found = ingress_rules(machines, groups)
    for target, own in zip(ADDRESSES, membership, strict=True):
        arriving = [r for name in own for r in groups[name]["Permissions"] if r["Direction"] == "ingress"]
        for source in [*ADDRESSES, "10.9.8.7"]:
            if source == target:
                continue
            theirs = membership[ADDRESSES.index(source)] if source in ADDRESSES else set()
            leaving = [r for name in theirs for r in groups[name]["Permissions"] if r["Direction"] == "egress"]
            shared = any(groups[name]["InnerAccessPolicy"] == "Accept" for name in own & theirs)
            for port in (1, 4, 7, 8, 9, 65535):
                inwards = verdict(arriving, "Source", source, port, members) or ("Accept" if shared else "Drop")
                outwards = verdict(leaving, "Dest", target, port, members) or "Accept"
                reachable = any(
                    i.address == target
                    and i.first_port <= port <= i.last_port
                    and any(IPv4Address(source) in IPv4Network(block) for block in i.sources)
                    for i in found
                )
                assert reachable == (inwards == outwards == "Accept"), (source, target, port)
