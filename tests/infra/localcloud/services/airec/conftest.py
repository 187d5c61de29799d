"""AIRec behind plain HTTP, with our own client in front."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.localcloud.hypervisor.machine import Hypervisor
from infra.localcloud.service import Service
from infra.localcloud.services.airec import instance
from infra.localcloud.services.airec.service import Airec
from infra.localcloud.store import Store
from infra.resources.cloud import CloudSettings, airec_client
from serving.clients.airec import AirecClient
from tests.infra.localcloud.services.roa import ACCOUNT, REGION, serve


class TestCloud:
    """The part of the local cloud that AIRec reaches."""

    __test__ = False
    region = REGION
    account_id = ACCOUNT
    hypervisor: Hypervisor

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store(directory / "state.sqlite")

    def service(self, name: str) -> Service:
        raise KeyError(name)


@pytest.fixture(name="service")
def service_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Airec]:
    monkeypatch.setattr(instance, "STARTING_S", 0.0)
    cloud = TestCloud(tmp_path)
    service = Airec(cloud)
    service.start()
    yield service
    cloud.store.close()


@pytest.fixture(name="client")
def client_fixture(service: Airec, monkeypatch: pytest.MonkeyPatch) -> Iterator[AirecClient]:
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret")
    with serve({"airec": service}) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        yield airec_client(CloudSettings(REGION, "HTTP"))


@pytest.fixture
def running(client: AirecClient) -> str:
    """The bought instance, started."""
    client.run_instance(instance.BOUGHT)
    return instance.BOUGHT
