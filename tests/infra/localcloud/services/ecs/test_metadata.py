"""The metadata service: what an instance reads about itself, and hardened mode."""

from __future__ import annotations

import base64
import json
import time

import pytest

from infra.localcloud.services.ecs.metadata import TOKEN_HEADER, TTL_HEADER, handle
from tests.infra.localcloud.services.vpc.rpc import IMAGE, REGION, SmallCloud

TRUST = json.dumps(
    {
        "Version": "1",
        "Statement": [
            {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": ["ecs.aliyuncs.com"]}}
        ],
    }
)


@pytest.fixture
def instance(cloud: SmallCloud) -> str:
    _, switch, group = cloud.network()
    data = base64.b64encode(b"#cloud-config\n").decode()
    return cloud.run(switch, group, PrivateIpAddress="127.90.1.10", HostName="one", UserData=data)


def read(cloud: SmallCloud, machine: str, path: str, **headers: str) -> str:
    status, _, body = handle(cloud, machine, "GET", path, headers)
    assert status == 200, body
    return body.decode()


def status(
    cloud: SmallCloud, machine: str, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> int:
    return handle(cloud, machine, method, path, headers or {})[0]


@pytest.mark.parametrize("version", ["latest", "2016-01-01"])
def test_an_instance_reads_about_itself(cloud: SmallCloud, instance: str, version: str) -> None:
    values = {
        "instance-id": instance,
        "hostname": "one",
        "private-ipv4": "127.90.1.10",
        "region-id": REGION,
        "zone-id": f"{REGION}-h",
        "image-id": IMAGE,
        "instance/instance-type": "ecs.g7.large",
        "vswitch-cidr-block": "127.90.1.0/24",
        "owner-account-id": cloud.account_id,
    }
    for name, value in values.items():
        assert read(cloud, instance, f"/{version}/meta-data/{name}") == value
    assert read(cloud, instance, f"/{version}/user-data") == "#cloud-config\n"


def test_folders_list_what_is_in_them(cloud: SmallCloud, instance: str) -> None:
    assert read(cloud, instance, "/") == "latest\n2016-01-01"
    names = read(cloud, instance, "/latest/meta-data/").splitlines()
    assert {"instance-id", "network/", "vpc-id"} <= set(names)
    assert "ram/" not in names
    mac = read(cloud, instance, "/latest/meta-data/mac")
    assert read(cloud, instance, "/latest/meta-data/network/interfaces/macs/") == mac + "/"
    assert (
        read(cloud, instance, f"/latest/meta-data/network/interfaces/macs/{mac}/primary-ip-address") == "127.90.1.10"
    )


def test_the_identity_document(cloud: SmallCloud, instance: str) -> None:
    document = json.loads(read(cloud, instance, "/latest/dynamic/instance-identity/document"))
    assert (document["instance-id"], document["private-ipv4"]) == (instance, "127.90.1.10")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/latest/meta-data/nothing", 404),
        ("GET", "/latest/meta-data/mac/deeper", 404),
        ("GET", "/1999-01-01/meta-data/", 404),
        ("GET", "/latest/meta-data/ram/security-credentials/", 404),
        ("POST", "/latest/meta-data/mac", 405),
        ("GET", "/latest/api/token", 405),
        ("PUT", "/latest/api/token", 400),
    ],
)
def test_refusals(cloud: SmallCloud, instance: str, method: str, path: str, expected: int) -> None:
    assert status(cloud, instance, path, method) == expected


def test_other_machines_get_nothing(cloud: SmallCloud) -> None:
    assert status(cloud, "dlc-1-worker-0", "/latest/meta-data/") == 404


def test_hardened_mode_asks_for_a_token(cloud: SmallCloud, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"InstanceId": instance, "HttpEndpoint": "enabled", "HttpTokens": "required"}
    cloud.call("ecs", "ModifyInstanceMetadataOptions", **options)
    path = "/latest/meta-data/mac"
    assert status(cloud, instance, path) == 403
    assert status(cloud, instance, path, headers={TOKEN_HEADER: "12.34"}) == 401
    assert status(cloud, instance, path, headers={TOKEN_HEADER: "no token"}) == 401
    assert status(cloud, instance, "/latest/api/token", "PUT", {TTL_HEADER: "99999"}) == 400
    code, _, token = handle(cloud, instance, "PUT", "/latest/api/token", {TTL_HEADER.title(): "60"})
    assert code == 200
    assert status(cloud, instance, path, headers={TOKEN_HEADER.title(): token.decode()}) == 200
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert status(cloud, instance, path, headers={TOKEN_HEADER: token.decode()}) == 401


def test_a_token_is_good_for_its_instance_only(cloud: SmallCloud, instance: str) -> None:
    row = cloud.call("ecs", "DescribeInstances")["Instances"]["Instance"][0]
    other = cloud.run(row["VpcAttributes"]["VSwitchId"], row["SecurityGroupIds"]["SecurityGroupId"][0])
    token = handle(cloud, other, "PUT", "/latest/api/token", {TTL_HEADER: "60"})[2].decode()
    assert status(cloud, instance, "/latest/meta-data/mac", headers={TOKEN_HEADER: token}) == 401


def test_it_can_be_switched_off(cloud: SmallCloud, instance: str) -> None:
    cloud.call("ecs", "ModifyInstanceMetadataOptions", InstanceId=instance, HttpEndpoint="disabled")
    assert status(cloud, instance, "/latest/meta-data/mac") == 403


def test_a_role_hands_out_credentials(cloud: SmallCloud, instance: str) -> None:
    cloud.call("ram", "CreateRole", RoleName="worker", AssumeRolePolicyDocument=TRUST)
    ids = json.dumps([instance])
    cloud.call("ecs", "AttachInstanceRamRole", InstanceIds=ids, RamRoleName="worker")
    path = "/latest/meta-data/ram/security-credentials/"
    assert read(cloud, instance, path) == "worker"
    first = json.loads(read(cloud, instance, path + "worker"))
    assert first["Code"] == "Success"
    assert set(first) == {"AccessKeyId", "AccessKeySecret", "SecurityToken", "Expiration", "LastUpdated", "Code"}
    assert json.loads(read(cloud, instance, path + "worker")) == first
    cloud.call("ecs", "DetachInstanceRamRole", InstanceIds=ids, RamRoleName="worker")
    assert status(cloud, instance, path) == 404


def test_a_role_made_again_hands_out_new_credentials(cloud: SmallCloud, instance: str) -> None:
    path = "/latest/meta-data/ram/security-credentials/worker"
    ids = json.dumps([instance])
    keys = []
    for _ in range(2):
        cloud.call("ram", "CreateRole", RoleName="worker", AssumeRolePolicyDocument=TRUST)
        cloud.call("ecs", "AttachInstanceRamRole", InstanceIds=ids, RamRoleName="worker")
        keys.append(json.loads(read(cloud, instance, path))["AccessKeyId"])
        cloud.call("ecs", "DetachInstanceRamRole", InstanceIds=ids, RamRoleName="worker")
        cloud.call("ram", "DeleteRole", RoleName="worker")
    assert keys[0] != keys[1]


def test_key_pairs_reach_the_machine(cloud: SmallCloud, instance: str) -> None:
    cloud.call("ecs", "CreateKeyPair", KeyPairName="ops")
    cloud.call("ecs", "AttachKeyPair", KeyPairName="ops", InstanceIds=json.dumps([instance]))
    assert read(cloud, instance, "/latest/meta-data/public-keys/0/openssh-key").startswith("ssh-rsa ")
