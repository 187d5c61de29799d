"""One account of the local cloud: its state, its keys and its services."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra.localcloud import hypervisor
from infra.localcloud.credentials import load_credentials
from infra.localcloud.faults import Faults
from infra.localcloud.gateway import Gateway
from infra.localcloud.keys import AccessKeys
from infra.localcloud.paths import StatePaths
from infra.localcloud.registry import discover
from infra.localcloud.service import Service
from infra.localcloud.signing import Verifier
from infra.localcloud.store import Store

if TYPE_CHECKING:
    from infra.localcloud.hypervisor.machine import Hypervisor

DEFAULT_REGION = "cn-hangzhou"
LOG = logging.getLogger(__name__)


class LocalCloud:
    """Implements the contract `Cloud`; everything that services reach."""

    def __init__(
        self,
        state: Path,
        *,
        region: str = DEFAULT_REGION,
        services: Sequence[type[Service]] | None = None,
        machines: Hypervisor | None = None,
    ) -> None:
        self.paths = StatePaths(state)
        self.directory = self.paths.directory
        self.region = region
        self.credentials = load_credentials(self.directory)
        self.account_id = self.credentials.account_id
        self.store = Store(self.paths.store)
        self.keys = AccessKeys(self.store, self.credentials)
        self.faults = Faults(self.store)
        self._given_hypervisor = machines
        self._services = {each.name: each(self) for each in (discover() if services is None else services)}
        self.gateway = Gateway(self, self.services, Verifier(self.keys), self.faults)

    @functools.cached_property
    def hypervisor(self) -> Hypervisor:
        """The hypervisor, started by its first use."""
        if self._given_hypervisor is not None:
            return self._given_hypervisor
        return hypervisor.create(self.directory)

    @property
    def services(self) -> list[Service]:
        """All services."""
        return list(self._services.values())

    def service(self, name: str) -> Service:
        """The service of that name.

        Raises:
            KeyError: there is none.
        """
        return self._services[name]

    def start(self) -> None:
        """Takes up what was running: the hypervisor first, then every service."""
        machines = self.hypervisor.machines()
        LOG.info("starting services %s, %d machines known", ", ".join(self._services), len(machines))
        for service in self.services:
            service.start()

    def inventory(self) -> list[str]:
        """What stands in the account because somebody created it, one ``type id`` a line."""
        return [line for service in self.services for line in service.inventory()]

    def close(self) -> None:
        """Closes the state. Machines go on running."""
        for service in self.services:
            service.close()
        self.store.close()
