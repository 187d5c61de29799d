"""Runs instances and training pods as processes with their own root folder, network and metadata service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.localcloud.hypervisor.machine import Hypervisor


def create(directory: Path) -> Hypervisor:
    """The hypervisor of this host, for the machines below `directory` (the local cloud's state folder)."""
    # Here and not above: monitors and inits import this package without any installed package at hand.
    from infra.localcloud.hypervisor.hypervisor import NamespaceHypervisor

    return NamespaceHypervisor(directory)
