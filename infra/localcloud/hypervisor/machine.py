"""What the hypervisor runs: machines, described once and driven through their life cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

State = Literal["starting", "running", "stopped", "exited", "failed"]


@dataclass(frozen=True)
class Mount:
    """A folder of the host that a machine sees at `target`."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True)
class MachineSpec:
    """An ECS instance (boots from user data, runs until stopped) or a pod (runs one command, then exits)."""

    id: str
    kind: Literal["instance", "pod"]
    hostname: str
    address: str  # private IPv4 address; a loopback address of the network's CIDR block
    user_data: str = ""  # instances: cloud-init user data, decoded
    command: str = ""  # pods: run with ``bash -c``
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()


@dataclass(frozen=True)
class MachineStatus:
    """A machine at this moment. `boot` tells how far user data has come: instances only."""

    state: State
    exit_code: int | None = None
    boot: Literal["", "running", "done", "failed"] = ""
    detail: str = ""  # one line: why it failed


@dataclass(frozen=True)
class Ingress:
    """A TCP port of a machine that some sources may reach."""

    address: str  # the machine's
    first_port: int
    last_port: int
    sources: Sequence[str]  # CIDR blocks and addresses; other machines' addresses among them


class Hypervisor(Protocol):
    """Starts, stops and connects machines. Every method is idempotent and safe to call from any thread."""

    def start(self, spec: MachineSpec) -> None:
        """Creates the machine's folder when it is new (first boot) and starts it; returns at once."""
        ...

    def stop(self, machine_id: str, *, force: bool = False) -> None:
        """Ends every process of the machine, gently unless `force`; its folder stays."""
        ...

    def delete(self, machine_id: str) -> None:
        """Ends the machine and removes its folder."""
        ...

    def status(self, machine_id: str) -> MachineStatus:
        """The state now.

        Raises:
            KeyError: there is no such machine.
        """
        ...

    def console(self, machine_id: str) -> str:
        """What the machine wrote to its console: boot, user data, units; for pods the command's output."""
        ...

    def machines(self) -> list[str]:
        """Ids of the machines that have a folder."""
        ...

    def set_ingress(self, rules: Sequence[Ingress]) -> None:
        """Replaces what may reach what; in force within a second. Nothing else is reachable."""
        ...
