"""One stack for the module that drives it: previewed, brought up, destroyed, and nothing left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack; `preview.txt` in its state is what the preview before it said."""
    # Sockets' names are short: the state can't lie deep.
    stack = Stack(Path(str(tmp_path_factory.mktemp("s"))), "127.90.0.0/16")
    try:
        stack.start()
        (stack.state / "preview.txt").write_text(stack.pulumi("preview"))
        stack.up()
        yield stack
        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert json.loads(stack.localcloud("inventory", "--json")) == []
    finally:
        stack.close()
