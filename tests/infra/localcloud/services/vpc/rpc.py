"""A cloud of some services whose machines are entries of a table, and a plain HTTP server for the official SDKs.

The local cloud's own server, signatures included, is tested by itself; here the operations are what matters.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from infra.localcloud.hypervisor.machine import Hypervisor, Ingress, MachineSpec, MachineStatus, State
from infra.localcloud.service import ApiError, Call, Identity, Service
from infra.localcloud.services.ecs import SERVICE as ECS
from infra.localcloud.services.ram import SERVICE as RAM
from infra.localcloud.services.sts import SERVICE as STS
from infra.localcloud.services.vpc import SERVICE as VPC
from infra.localcloud.store import Store

REGION = "cn-hangzhou"
ACCOUNT = "1234567890123456"
IMAGE = "aliyun_3_x64_20G_alibase_20250629.vhd"


class Machines:
    """A hypervisor whose machines run as soon as they are started, and do nothing."""

    def __init__(self) -> None:
        self.specs: dict[str, MachineSpec] = {}
        self.states: dict[str, State] = {}
        self.starts: list[str] = []
        self.stops: list[tuple[str, bool]] = []
        self.deleted: list[str] = []
        self.ingress: list[Ingress] = []
        self.first_state: State = "running"
        self.gate = threading.Event()  # stopping and deleting wait for it
        self.gate.set()

    def start(self, spec: MachineSpec) -> None:
        self.specs[spec.id] = spec
        self.states[spec.id] = self.first_state
        self.starts.append(spec.id)

    def stop(self, machine_id: str, *, force: bool = False) -> None:
        self.gate.wait(10)
        self.stops.append((machine_id, force))
        self.states[machine_id] = "stopped"

    def delete(self, machine_id: str) -> None:
        self.gate.wait(10)
        self.deleted.append(machine_id)
        self.states.pop(machine_id, None)
        self.specs.pop(machine_id, None)

    def status(self, machine_id: str) -> MachineStatus:
        return MachineStatus(self.states[machine_id])

    def console(self, machine_id: str) -> str:
        return f"\x1b[1mbooting\x1b[0m {self.specs[machine_id].hostname}\n"

    def machines(self) -> list[str]:
        return list(self.specs)

    def set_ingress(self, rules: Sequence[Ingress]) -> None:
        self.ingress = list(rules)


class SmallCloud:
    """VPC, ECS, RAM and STS over one store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store(directory / "state.sqlite")
        self.region = REGION
        self.account_id = ACCOUNT
        self.machines = Machines()
        self.hypervisor: Hypervisor = self.machines
        kinds: tuple[type[Service], ...] = (VPC, ECS, RAM, STS)
        self.services = {kind.name: kind(self) for kind in kinds}

    def service(self, name: str) -> Service:
        return self.services[name]

    def close(self) -> None:
        self.machines.gate.set()
        end = time.monotonic() + 10
        while any(thread.name.startswith("ecs-") for thread in threading.enumerate()):
            assert time.monotonic() < end, "a transition does not end"
            time.sleep(0.005)
        self.store.close()

    def call(self, service: str, action: str, **parameters: Any) -> dict[str, Any]:
        """Calls an operation; ``__`` in a name stands for a dot."""
        values = {name.replace("__", "."): str(value) for name, value in parameters.items()}
        return self.dispatch(service, {"Action": action, **values}, {})

    def refused(self, service: str, action: str, **parameters: Any) -> str:
        """The code of the error that an operation answers."""
        try:
            reply = self.call(service, action, **parameters)
        except ApiError as error:
            return error.code
        raise AssertionError(f"{action} was accepted: {reply}")

    def dispatch(self, service: str, parameters: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
        return self.services[service].handle(self.make_call(service, parameters, headers))

    def make_call(self, service: str, parameters: dict[str, str], headers: dict[str, str]) -> Call:
        return Call(
            service=service,
            method="POST",
            host=f"{service}.{REGION}.aliyuncs.com",
            path="/",
            parameters=parameters,
            headers=headers,
            body=b"",
            identity=Identity(ACCOUNT, "key", "account"),
            region=REGION,
            request_id=str(uuid.uuid4()).upper(),
        )

    def network(self, block: str = "127.90.0.0/16", switch: str = "127.90.1.0/24") -> tuple[str, str, str]:
        """A VPC with a vSwitch and a security group: their ids."""
        vpc = self.call("vpc", "CreateVpc", CidrBlock=block)["VpcId"]
        zone = f"{REGION}-h"
        vswitch = self.call("vpc", "CreateVSwitch", VpcId=vpc, ZoneId=zone, CidrBlock=switch)["VSwitchId"]
        group = self.call("ecs", "CreateSecurityGroup", VpcId=vpc)["SecurityGroupId"]
        return vpc, vswitch, group

    def run(self, vswitch: str, group: str, **parameters: Any) -> str:
        """Runs an instance: its id."""
        values = {
            "InstanceType": "ecs.g7.large",
            "ImageId": IMAGE,
            "VSwitchId": vswitch,
            "SecurityGroupIds__1": group,
        }
        reply = self.call("ecs", "RunInstances", **(values | parameters))
        instance: str = reply["InstanceIdSets"]["InstanceIdSet"][0]
        return instance

    def status(self, instance: str) -> str:
        """An instance's status; empty when it is gone."""
        rows = self.call("ecs", "DescribeInstances", InstanceIds=json.dumps([instance]))["Instances"]["Instance"]
        return str(rows[0]["Status"]) if rows else ""


@contextmanager
def serve(cloud: SmallCloud) -> Iterator[str]:
    """Serves a cloud by the first label of host names; yields the ``host:port`` to use as HTTP proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            parameters = dict(parse_qsl(url.query, keep_blank_values=True)) | dict(parse_qsl(body))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                status = 200
                reply = cloud.dispatch(headers["host"].split(".")[0], parameters, headers)
            except ApiError as error:
                status, reply = error.status, {"Code": error.code, "Message": error.message, "RequestId": "1"}
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json;charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
