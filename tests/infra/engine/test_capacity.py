"""Disk, memory and processors are looked at before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine import capacity
from infra.engine.errors import SetupError
from infra.engine.versions import Need

MEMINFO = "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nSwapFree: 2097152 kB\n"


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    file = tmp_path / "meminfo"
    file.write_text(MEMINFO)
    return file


def test_memory_is_what_is_available_and_swap(meminfo: Path, tmp_path: Path) -> None:
    assert capacity.free_memory(meminfo, tmp_path / "no-control-group") == 10.0


@pytest.mark.parametrize(("limit", "expected"), [("4294967296", 3.0), ("max", 10.0), ("1099511627776", 10.0)])
def test_memory_stays_within_the_control_group(meminfo: Path, tmp_path: Path, limit: str, expected: float) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("1073741824\n")
    assert capacity.free_memory(meminfo, tmp_path) == expected


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert capacity.free_disk(tmp_path / "a" / "b") == pytest.approx(capacity.free_disk(tmp_path), rel=0.01)


def test_too_little_disk_names_the_folder_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=rf"building needs 1000000.0 GiB of disk and {tmp_path} has .*RAGREC_CACHE"):
        capacity.require_disk("building", 1e6, tmp_path / "cache")


def test_too_little_memory_says_how_much() -> None:
    with pytest.raises(SetupError, match=r"building needs 1000000.0 GiB of memory and .* GiB are free"):
        capacity.require_memory("building", 1e6)


@pytest.mark.parametrize(
    ("memory", "processors", "expected"), [(24.0, 2, 2), (8.0, 8, 2), (7.0, 8, 1), (1.0, 8, 1), (64.0, 16, 16)]
)
def test_compilers_are_bounded_by_memory(memory: float, processors: int, expected: int) -> None:
    assert capacity.compilers(Need(disk=1.0, memory=7.0), memory, processors) == expected
