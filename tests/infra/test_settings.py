"""The stack's configuration: defaults, the committed files, and errors that name the key."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import settings

ROOT = Path(__file__).parents[2]


def _values(stack: str = "dev", **changes: Any) -> dict[str, str]:
    """A committed stack file as Pulumi would hand it over, with changed keys (None removes one)."""
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    config |= {key.replace("__", ":"): value for key, value in changes.items()}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items() if v is not None}


@pytest.mark.parametrize("stack", ["dev", "staging", "prod"])
def test_committed_stacks_are_valid(stack: str) -> None:
    assert settings.load(_values(stack), stack=stack).stack == stack


def test_prod_has_the_gpu_type_and_three_nodes() -> None:
    prod = settings.load(_values("prod"), stack="prod")
    assert prod.inference.instance_type == "ecs.gn7i-c8g1.2xlarge"
    assert prod.search.nodes == 3


def test_addresses_follow_from_the_block() -> None:
    network = settings.load(_values(), stack="dev").network
    assert network.zone_block(1) == "127.80.1.0/24"
    assert network.address(1, 20) == "127.80.1.20"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ragrec__hybird": {"bm25Weight": 0.3}}, "ragrec:hybird is not a setting; known are ragrec:airec, "),
        ({"ragrec__hybrid": {"bm25Weight": 0.3, "vectorWeight": 0.8}}, "is 1.1; the weights must sum to 1"),
        ({"ragrec__hybrid": {"bm25Weight": -0.3, "vectorWeight": 1.3}}, "bm25Weight is -0.3"),
        ({"ragrec__hybrid": {"bm25": 1}}, "ragrec:hybrid.bm25 is not a setting"),
        (
            {"ragrec__training": {"instanceType": "a", "image": "b", "parameters": {"epoch": 3}}},
            "ragrec:training.parameters: epoch: Extra inputs are not permitted",
        ),
        ({"ragrec__ranking": "magic"}, "ragrec:ranking: Input should be 'airec' or 'embedded' (is 'magic')"),
        ({"ragrec__airec": None}, "ranking is airec, so airec:"),
        ({"ragrec__network": None}, "ragrec:network is missing"),
        (
            {"ragrec__training": {"instanceType": "a", "image": "b", "baseModel": "minilm"}},
            "ragrec:training.baseModel: must be package:NAME of a Python package, or oss://BUCKET/FOLDER",
        ),
        ({"ragrec__search": {"instanceType": "ecs.r7.large", "nodes": 2}}, "nodes must be 1 or at least 3"),
        ({"alicloud__accountId": None}, "alicloud:accountId is missing"),
        (
            {"ragrec__network": {"cidr": "10.0.0.0/16", "zones": ["a"], "operatorCidrs": ["0.0.0.0/0"]}},
            "0.0.0.0/0 opens the stack to everyone",
        ),
    ],
)
def test_errors_name_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(settings.SettingsError) as error:
        settings.load(_values(**changes), stack="dev")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
