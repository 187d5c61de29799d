"""The local cloud under the real Pulumi engine and the real alicloud provider: a stack's whole life."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.localcloud.cloud import LocalCloud
from infra.localcloud.environment import client_environment
from infra.localcloud.hypervisor.machine import Hypervisor
from infra.localcloud.server import Server
from tests.infra.engine.project import Project
from tests.infra.localcloud.services.vpc.rpc import Machines

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

PROJECT = "name: provider\nruntime:\n  name: python\n  options:\n    virtualenv: .venv\n"
PROGRAM = Path(__file__).parent / "program" / "__main__.py"

USER_DATA = """\
#!/bin/bash
set -eu
metadata=http://100.100.100.200/latest
token=$(curl -sf -X PUT -H 'X-aliyun-ecs-metadata-token-ttl-seconds: 60' $metadata/api/token)
read_metadata() { curl -sf -H "X-aliyun-ecs-metadata-token: $token" "$metadata/meta-data/$1"; }
echo "hardened $(curl -s -o /dev/null -w '%{http_code}' $metadata/meta-data/instance-id)"
echo "this is $(read_metadata instance-id) at $(read_metadata private-ipv4)"
"""


@contextmanager
def listening(state: Path, machines: Hypervisor | None) -> Iterator[tuple[LocalCloud, int]]:
    """Runs a local cloud with every service for the block; yields it with its port."""
    cloud = LocalCloud(state, machines=machines)
    server = Server(cloud, 0)
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def serve() -> None:
        await server.start()
        started.set()
        await server.run()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    cloud.start()
    try:
        yield cloud, server.port
    finally:
        for machine_id in cloud.hypervisor.machines():
            cloud.hypervisor.delete(machine_id)
        loop.call_soon_threadsafe(server.stop)
        thread.join()
        loop.close()
        cloud.close()


def stack(parent: Path, cloud: LocalCloud, port: int, **settings: str) -> Project:
    """The program's stack, its configuration set."""
    project = Project.create(parent, {"Pulumi.yaml": PROJECT, "__main__.py": PROGRAM.read_text()})
    project.variables |= client_environment(cloud.paths.state, port=port)
    project.pulumi("stack", "init", "test")
    fixed = {
        "alicloud:region": cloud.region,
        "alicloud:protocol": "HTTP",
        "alicloud:accountType": "Domestic",
        "alicloud:accountId": cloud.account_id,
    }
    for name, value in (fixed | settings).items():
        project.pulumi("config", "set", name, value)
    return project


def steps(preview: dict[str, Any]) -> set[str]:
    """What a preview would do to resources of the cloud."""
    return {step["op"] for step in preview["steps"] if "alicloud:" in step["urn"].rsplit("::", 2)[1]}


def test_a_stack_lives_and_leaves_nothing(tmp_path: Path) -> None:
    machines = Machines()
    with listening(tmp_path / "cloud", machines) as (cloud, port):
        project = stack(tmp_path, cloud, port, step="1")
        assert steps(project.json("preview", "--json")) == {"create"}
        assert cloud.inventory() == []
        project.pulumi("up", "--yes")
        project.pulumi("up", "--yes", "--expect-no-changes")
        project.pulumi("refresh", "--yes")
        project.pulumi("up", "--yes", "--expect-no-changes")
        instance = project.json("stack", "output", "--json")["instance"]
        assert machines.specs[instance].address == "127.93.1.10"
        assert [(rule.first_port, rule.sources) for rule in machines.ingress] == [
            (8443, ["127.93.0.0/16"]),
            (9300, ["127.93.1.10"]),
        ]

        project.pulumi("config", "set", "step", "2")
        assert steps(project.json("preview", "--json")) == {"update"}
        project.pulumi("up", "--yes")
        project.pulumi("up", "--yes", "--refresh", "--expect-no-changes")
        (document,) = cloud.store.collection("ecs.instance").values()
        assert (document["InstanceId"], document["InstanceType"]) == (instance, "ecs.g7.xlarge")
        assert machines.stops == [(instance, False)]

        project.pulumi("destroy", "--yes")
        assert cloud.inventory() == []
        assert machines.deleted == [instance]


@pytest.mark.namespaces
def test_an_instance_of_a_stack_boots_in_a_machine(tmp_path: Path) -> None:
    with listening(tmp_path / "cloud", None) as (cloud, port):
        project = stack(tmp_path, cloud, port, step="1", userData=USER_DATA)
        project.pulumi("up", "--yes")
        instance = project.json("stack", "output", "--json")["instance"]
        end = time.monotonic() + 60
        while cloud.hypervisor.status(instance).boot not in {"done", "failed"}:
            assert time.monotonic() < end, cloud.hypervisor.console(instance)
            time.sleep(0.2)
        console = cloud.hypervisor.console(instance)
        assert cloud.hypervisor.status(instance).boot == "done", console
        assert "hardened 403" in console
        assert f"this is {instance} at 127.93.1.10" in console
        (document,) = cloud.store.collection("ecs.instance").values()
        assert base64.b64decode(document["UserData"]).decode() == USER_DATA
        state = json.dumps(project.json("stack", "export"))
        assert cloud.credentials.access_key_secret not in state
        project.pulumi("destroy", "--yes")
        assert cloud.inventory() == []
        assert cloud.hypervisor.machines() == []
