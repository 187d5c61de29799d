"""Other stacks are previewed against the local cloud, and nothing of them is touched."""

import re

import pytest

from infra.engine.paths import TREE
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def test_prod_previews_cleanly(tmp_path_factory: pytest.TempPathFactory) -> None:
    committed = (TREE / "Pulumi.prod.yaml").read_text()
    stack = Stack(tmp_path_factory.mktemp("p"), "127.91.0.0/16")
    try:
        stack.start()
        said = stack.run(str(TREE / "scripts/preview"), "--stack", "prod", "--diff")
        unknown = stack.run(str(TREE / "scripts/preview"), "--stack", "qa", fails=True)
        assert stack.localcloud("inventory", "--json").strip() == "[]"
    finally:
        stack.close()
    assert "ecs.gn7i-c8g1.2xlarge" in said
    assert [f"name={n}" for n in range(3) if f"ragrec-prod-search-{n}" in said] == ["name=0", "name=1", "name=2"]
    assert re.search(r"Policy Packs run:\n.*\n\s+ragrec\|local", said)
    assert " to create" in said
    assert "error" not in said.lower()
    assert "stacks with a configuration are dev, prod, staging" in unknown
    assert (TREE / "Pulumi.prod.yaml").read_text() == committed
