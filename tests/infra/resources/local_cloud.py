"""A local cloud that listens, verifies signatures and runs pods as plain processes, for tests of resources."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import alibabacloud_oss_v2 as oss
import pytest

from infra.localcloud.cloud import LocalCloud
from infra.localcloud.environment import client_environment
from infra.localcloud.hypervisor.machine import Hypervisor
from infra.localcloud.server import Server
from infra.localcloud.services.airec import instance as airec_instance
from infra.localcloud.services.airec.service import Airec
from infra.localcloud.services.oss import OssService
from infra.localcloud.services.pai_dlc.service import PaiDlc
from infra.resources.cloud import CloudSettings, list_objects, oss_client, read_object
from tests.infra.localcloud.services.pai_dlc.conftest import ProcessHypervisor
from tests.infra.localcloud.services.roa import REGION

SETTINGS = CloudSettings(REGION, "HTTP")
BUCKET = "ragrec-test-data"


@dataclass
class Local:
    """The running cloud and its data bucket."""

    cloud: LocalCloud
    environment: dict[str, str]

    @property
    def client(self) -> oss.Client:
        return oss_client(SETTINGS)

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(oss.PutObjectRequest(bucket=BUCKET, key=key, body=content))

    def get(self, key: str) -> bytes | None:
        return read_object(self.client, BUCKET, key)

    def remove(self, key: str) -> None:
        self.client.delete_object(oss.DeleteObjectRequest(bucket=BUCKET, key=key))

    def keys(self) -> list[str]:
        return [key for key, _, _ in list_objects(self.client, BUCKET, "")]


@contextmanager
def serving(state: Path, machines: Hypervisor | None = None) -> Iterator[Local]:
    """Runs the cloud for the block; pods are processes unless there is a hypervisor."""
    if machines is None:
        (state / "processes").mkdir(parents=True)
        machines = ProcessHypervisor(state / "processes")
    cloud = LocalCloud(state, services=(OssService, PaiDlc, Airec), machines=machines)
    server = Server(cloud, 0)
    listening = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        await server.start()
        listening.set()
        await server.run()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert listening.wait(10)
    cloud.start()
    try:
        yield Local(cloud, client_environment(state, port=server.port))
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join()
        loop.close()
        dlc = cloud.service("pai_dlc")
        assert isinstance(dlc, PaiDlc)
        dlc.close()
        for machine in machines.machines():
            machines.delete(machine)
        cloud.close()


@pytest.fixture(name="local")
def local_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    """A fresh local cloud with a data bucket; the environment leads to it."""
    monkeypatch.setattr(airec_instance, "STARTING_S", 0.0)
    with serving(tmp_path) as local:
        for name, value in local.environment.items():
            monkeypatch.setenv(name, value)
        local.client.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
        yield local
