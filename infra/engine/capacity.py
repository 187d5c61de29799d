"""Whether the machine has what a step takes: free disk, free memory, processors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from infra.engine.errors import SetupError
from infra.engine.versions import Need

GIB = 1024**3
COMPILER_GIB = 1.0
"""Memory of one more compiler at work beside the largest one."""


def existing(path: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def free_disk(path: Path) -> float:
    """Free space, in GiB, where `path` is or will be."""
    return shutil.disk_usage(existing(path)).free / GIB


def free_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Memory, in GiB, that new processes can have: what is available and swap, within the control group's limit."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = sum(int(fields[name].split()[0]) for name in ("MemAvailable", "SwapFree")) * 1024 / GIB
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = (cgroup / "memory.current").read_text().strip()
    except OSError:
        return free
    return free if limit == "max" else min(free, (int(limit) - int(used)) / GIB)


def require_disk(step: str, need: float, path: Path, variable: str = "RAGREC_CACHE") -> None:
    """Refuse a step that would fill the disk.

    Args:
        step: What needs the room.
        need: How much, in GiB.
        path: Where.
        variable: What moves it elsewhere.

    Raises:
        SetupError: There is less than `need` GiB.
    """
    free = free_disk(path)
    if free < need:
        raise SetupError(
            f"{step} needs {need:.1f} GiB of disk and {existing(path)} has {free:.1f} GiB free: "
            f"make room there, or set {variable} to a folder on a larger disk"
        )


def require_memory(step: str, need: float) -> None:
    """Refuse a step that would be killed for want of memory.

    Raises:
        SetupError: There is less than `need` GiB.
    """
    free = free_memory()
    if free < need:
        raise SetupError(
            f"{step} needs {need:.1f} GiB of memory and {free:.1f} GiB are free: stop other programs or add swap"
        )


def compilers(need: Need, memory: float | None = None, processors: int | None = None) -> int:
    """How many compilers may run at once: one a processor, as far as memory beside the largest one goes."""
    memory = free_memory() if memory is None else memory
    processors = processors or len(os.sched_getaffinity(0))
    return max(1, min(processors, 1 + int((memory - need.memory) / COMPILER_GIB)))
