"""A small cloud in a folder of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.localcloud.services.vpc.rpc import SmallCloud


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SmallCloud]:
    small = SmallCloud(tmp_path)
    yield small
    small.close()
