"""A hypervisor with a folder of its own, whose machines are gone when the test ends."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.localcloud.hypervisor.hypervisor import NamespaceHypervisor
from infra.localcloud.hypervisor.machine import MachineStatus

Wait = Callable[[Callable[[], object], str], None]


@pytest.fixture
def hypervisor(tmp_path: Path) -> Iterator[NamespaceHypervisor]:
    """The folder is `tmp_path` / "cloud"."""
    made = NamespaceHypervisor(tmp_path / "cloud")
    yield made
    for machine_id in made.machines():
        made.delete(machine_id)


@pytest.fixture
def wait() -> Wait:
    """Waits until the condition holds; says what did not happen."""

    def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"did not happen in {seconds:.0f} s: {what}")
            time.sleep(0.03)

    return until


@pytest.fixture
def booted(hypervisor: NamespaceHypervisor, wait: Wait) -> Callable[[str], MachineStatus]:
    """Waits until user data was carried out, and returns how it went."""

    def until(machine_id: str) -> MachineStatus:
        def ended() -> bool:
            status = hypervisor.status(machine_id)
            return status.state not in ("starting", "running") or status.boot in ("done", "failed")

        wait(ended, f"{machine_id} boots: {hypervisor.console(machine_id)}")
        return hypervisor.status(machine_id)

    return until
