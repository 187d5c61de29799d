"""A local cloud that really listens, with clients that are led to it as users' clients are."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infra.localcloud.cloud import LocalCloud
from infra.localcloud.environment import client_environment
from infra.localcloud.hypervisor.machine import MachineSpec, MachineStatus
from infra.localcloud.server import Server
from infra.localcloud.service import Service
from infra.localcloud.services.bssopenapi.service import BssOpenApiService
from infra.localcloud.services.location.service import LocationService
from infra.localcloud.services.oss.service import OssService
from infra.localcloud.services.ram.service import RamService
from infra.localcloud.services.sts.service import StsService

SERVICES: tuple[type[Service], ...] = (OssService, RamService, StsService, LocationService, BssOpenApiService)


@dataclass
class NoMachines:
    """A hypervisor without machines: these tests start none."""

    started: list[MachineSpec] = field(default_factory=list)

    def start(self, spec: MachineSpec) -> None:
        self.started.append(spec)

    def stop(self, machine_id: str, *, force: bool = False) -> None:
        raise KeyError(machine_id)

    def delete(self, machine_id: str) -> None:
        raise KeyError(machine_id)

    def status(self, machine_id: str) -> MachineStatus:
        raise KeyError(machine_id)

    def console(self, machine_id: str) -> str:
        raise KeyError(machine_id)

    def machines(self) -> list[str]:
        return []

    def set_ingress(self, rules: object) -> None:
        assert rules is not None


@dataclass
class Running:
    """A local cloud that listens on a port of its own."""

    cloud: LocalCloud
    server: Server
    state: Path

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def environment(self) -> dict[str, str]:
        return client_environment(self.state, port=self.server.port)

    @property
    def bundle(self) -> str:
        return self.environment["SSL_CERT_FILE"]

    @property
    def key(self) -> tuple[str, str]:
        return self.cloud.credentials.access_key_id, self.cloud.credentials.access_key_secret


@contextmanager
def running(state: Path, services: tuple[type[Service], ...] = SERVICES) -> Iterator[Running]:
    """Runs a local cloud for the block."""
    cloud = LocalCloud(state, services=services, machines=NoMachines())
    server = Server(cloud, 0)
    started = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        await server.start()
        started.set()
        await server.run()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield Running(cloud, server, state)
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join()
        loop.close()
        cloud.close()


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One local cloud for the tests that don't need an own one."""
    with running(tmp_path_factory.mktemp("state")) as known:
        yield known


@pytest.fixture
def led(local: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """The environment of clients leads to the local cloud."""
    for name, value in local.environment.items():
        monkeypatch.setenv(name, value)
    yield local
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # the vendor's clients leave their connections open


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets the vendor's clients leave their connections to the garbage collector."""
    for item in items:
        if "led" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))
