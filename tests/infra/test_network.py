"""What is open in the network, and that the guardrails agree."""

import json
from pathlib import Path

import yaml

from infra import settings
from infra.network import Opening, openings
from infra.policies import rules

ROOT = Path(__file__).parents[2]


def _network() -> settings.Network:
    config = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())["config"]
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    return settings.load(values, stack="prod").network


def test_clients_reach_the_api_alone() -> None:
    reachable = [opening for opening in openings(_network()) if "10.1.0.0/16" in opening.from_cidrs]
    assert reachable == [Opening("recommendation", 8080, from_cidrs=["10.0.0.0/16", "10.1.0.0/16"])]


def test_transport_of_search_is_open_to_its_nodes_alone() -> None:
    assert [o for o in openings(_network()) if o.port == 9300] == [Opening("search", 9300, from_roles=["search"])]


def test_guardrails_agree() -> None:
    for opening in openings(_network()):
        for cidr in opening.from_cidrs:
            declared = {
                "type": "ingress",
                "ipProtocol": "tcp",
                "policy": "accept",
                "portRange": f"{opening.port}/{opening.port}",
                "cidrIp": cidr,
            }
            assert rules.ingress_rule(declared) == []
