"""A cloud with PAI DLC in it, whose pods are plain processes and whose mounts are folders of the test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from alibabacloud_pai_dlc20201203.client import Client

from infra.localcloud.hypervisor.machine import Hypervisor, Ingress, MachineSpec, MachineStatus
from infra.localcloud.service import Service
from infra.localcloud.services.pai_dlc.request import DataSource
from infra.localcloud.services.pai_dlc.runner import FolderMount
from infra.localcloud.services.pai_dlc.service import PaiDlc
from infra.localcloud.store import Store
from infra.resources.cloud import CloudSettings, dlc_client
from tests.infra.localcloud.services.roa import ACCOUNT, REGION, serve


class ProcessHypervisor:
    """Runs pods as processes of this machine; paths of mounts are replaced in the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.specs: dict[str, MachineSpec] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, spec: MachineSpec) -> None:
        command = spec.command
        for mount in spec.mounts:
            command = command.replace(mount.target, str(mount.source))
        with (self.folder / f"{spec.id}.console").open("wb") as console:
            self.processes[spec.id] = subprocess.Popen(
                ["bash", "-c", command],
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, **spec.environment},
                start_new_session=True,
            )
        self.specs[spec.id] = spec

    def stop(self, machine_id: str, *, force: bool = False) -> None:
        process = self.processes[machine_id]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=10)

    def delete(self, machine_id: str) -> None:
        if machine_id in self.processes:
            self.stop(machine_id)
            del self.processes[machine_id]
            (self.folder / f"{machine_id}.console").unlink()

    def status(self, machine_id: str) -> MachineStatus:
        code = self.processes[machine_id].poll()
        return MachineStatus("running") if code is None else MachineStatus("exited", exit_code=code)

    def console(self, machine_id: str) -> str:
        if machine_id not in self.processes:
            raise KeyError(machine_id)
        return (self.folder / f"{machine_id}.console").read_text()

    def machines(self) -> list[str]:
        return list(self.processes)

    def set_ingress(self, rules: Sequence[Ingress]) -> None:
        pass


class FolderBucket:
    """Stands for a bucket's prefix; counts what was asked of it."""

    def __init__(self, bucket: Path, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder

    def pull(self) -> None:
        if not self.bucket.exists():
            raise OSError("no such bucket")
        shutil.copytree(self.bucket, self.folder, dirs_exist_ok=True)

    def push(self) -> None:
        shutil.copytree(self.folder, self.bucket, dirs_exist_ok=True)


class TestCloud:
    """The part of the local cloud that PAI DLC reaches."""

    __test__ = False
    region = REGION
    account_id = ACCOUNT

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store(directory / "state.sqlite")
        self.hypervisor: Hypervisor = ProcessHypervisor(directory)
        self.buckets = directory / "buckets"
        self.buckets.mkdir(exist_ok=True)

    def service(self, name: str) -> Service:
        raise KeyError(name)


class FolderDlc(PaiDlc):
    """PAI DLC whose buckets are folders under ``buckets``."""

    def _mount(self, source: DataSource, folder: Path) -> FolderMount:
        return FolderBucket(self.cloud.directory / "buckets" / source.bucket / source.prefix.strip("/"), folder)


@pytest.fixture(name="cloud")
def cloud_fixture(tmp_path: Path) -> Iterator[TestCloud]:
    cloud = TestCloud(tmp_path)
    yield cloud
    for machine in cloud.hypervisor.machines():
        cloud.hypervisor.delete(machine)
    cloud.store.close()


@pytest.fixture(name="service")
def service_fixture(cloud: TestCloud) -> Iterator[PaiDlc]:
    service = FolderDlc(cloud)
    service.start()
    yield service
    service.close()


@pytest.fixture(name="client")
def client_fixture(service: PaiDlc, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret")
    with serve({"pai-dlc": service}) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        yield dlc_client(CloudSettings(REGION, "HTTP"))
