"""The alicloud plugin speaks the tokens and property names of the pulumi-alicloud SDK."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from infra.engine.versions import versions
from tests.infra.engine.project import Project

pytestmark = pytest.mark.engine

PROJECT = "name: probe\nruntime:\n  name: python\n  options:\n    virtualenv: .venv\n"
CONFIG = """\
config:
  alicloud:region: cn-hangzhou
  alicloud:protocol: HTTP
  alicloud:accountType: Domestic
  alicloud:accountId: "1000000000000001"
  alicloud:accessKey: LTAIexample
  alicloud:secretKey: example
"""
PROGRAM = """\
import json

import pulumi_alicloud as alicloud

trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["ecs.aliyuncs.com"]}}
allow = {"Effect": "Allow", "Action": ["oss:GetObject"], "Resource": ["acs:oss:*:*:probe/*"]}


def document(statement):
    return json.dumps({"Version": "1", "Statement": [statement]})


network = alicloud.vpc.Network("network", vpc_name="probe", cidr_block="10.0.0.0/16")
switch = alicloud.vpc.Switch("switch", vpc_id=network.id, cidr_block="10.0.1.0/24", zone_id="cn-hangzhou-h")
group = alicloud.ecs.SecurityGroup("group", vpc_id=network.id, security_group_name="probe")
alicloud.ecs.SecurityGroupRule(
    "rule", security_group_id=group.id, type="ingress", ip_protocol="tcp", port_range="80/80", cidr_ip="10.0.0.0/16"
)
role = alicloud.ram.Role("role", role_name="probe", assume_role_policy_document=document(trust))
policy = alicloud.ram.Policy("policy", policy_name="probe", policy_document=document(allow))
alicloud.ram.RolePolicyAttachment(
    "attached", role_name=role.role_name, policy_name=policy.policy_name, policy_type="Custom"
)
user = alicloud.ram.User("user", name="probe")
alicloud.ram.AccessKey("key", user_name=user.name)
alicloud.ram.UserPolicyAttachment(
    "user-attached", user_name=user.name, policy_name=policy.policy_name, policy_type="Custom"
)
pair = alicloud.ecs.EcsKeyPair("pair", key_pair_name="probe")
instance = alicloud.ecs.Instance(
    "instance",
    instance_name="probe",
    instance_type="ecs.gn7i-c8g1.2xlarge",
    image_id="aliyun_3_x64_20G_alibase_20250117.vhd",
    vswitch_id=switch.id,
    security_groups=[group.id],
    private_ip="10.0.1.10",
    key_name=pair.key_pair_name,
    user_data="I2Nsb3VkLWNvbmZpZwo=",
    system_disk_category="cloud_essd",
    system_disk_size=40,
    data_disks=[{"name": "data", "size": 100, "category": "cloud_essd", "encrypted": True}],
)
alicloud.ecs.RamRoleAttachment("instance-role", instance_id=instance.id, ram_role_name=role.role_name)
disk = alicloud.ecs.EcsDisk("disk", zone_id="cn-hangzhou-h", category="cloud_essd", size=100)
alicloud.ecs.EcsDiskAttachment("disk-attached", disk_id=disk.id, instance_id=instance.id)
address = alicloud.ecs.EipAddress("address", address_name="probe", bandwidth="5")
alicloud.ecs.EipAssociation("associated", allocation_id=address.id, instance_id=instance.id)
bucket = alicloud.oss.Bucket(
    "bucket",
    bucket="probe-bucket",
    lifecycle_rules=[{"id": "old", "prefix": "tmp/", "enabled": True, "expirations": [{"days": 3}]}],
)
alicloud.oss.BucketAcl("acl", bucket=bucket.bucket, acl="private")
alicloud.oss.BucketServerSideEncryption("encrypted", bucket=bucket.bucket, sse_algorithm="AES256")
alicloud.oss.BucketPublicAccessBlock("blocked", bucket=bucket.bucket, block_public_access=True)
alicloud.oss.BucketVersioning("versions", bucket=bucket.bucket, status="Enabled")
alicloud.oss.BucketPolicy("bucket-policy", bucket=bucket.bucket, policy=document(allow))
alicloud.oss.BucketObject("object", bucket=bucket.bucket, key="a", content="b")
balancer = alicloud.slb.ApplicationLoadBalancer(
    "balancer", load_balancer_name="probe", address_type="intranet", vswitch_id=switch.id
)
servers = alicloud.slb.ServerGroup("servers", load_balancer_id=balancer.id, name="probe")
alicloud.slb.ServerGroupServerAttachment(
    "server", server_group_id=servers.id, server_id=instance.id, port=8080, weight=100
)
alicloud.slb.Listener(
    "listener",
    load_balancer_id=balancer.id,
    server_group_id=servers.id,
    frontend_port=443,
    backend_port=8080,
    protocol="tcp",
    bandwidth=-1,
)
"""
OWN = {"id", "urn", "pulumi_resource_name", "pulumi_resource_type"}
"""Properties that every resource of the SDK has of itself."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    files = {"Pulumi.yaml": PROJECT, "Pulumi.dev.yaml": CONFIG, "__main__.py": PROGRAM}
    project = Project.create(tmp_path, files)
    project.pulumi("stack", "init", "dev")
    return project


@pytest.fixture
def schema(project: Project) -> dict[str, Any]:
    """What the plugin says of itself."""
    return project.json("package", "get-schema", f"alicloud@{versions().plugin}")


def member(token: str, name: str) -> Any:
    """What the SDK has under a name in the module that a token belongs to."""
    module = token.split(":")[1].split("/")[0]
    return getattr(
        importlib.import_module("pulumi_alicloud" if module == "index" else f"pulumi_alicloud.{module}"), name
    )


def names(kind: type) -> set[str]:
    """The names that the properties of a class of the SDK have on the wire."""
    properties = inspect.getmembers(kind, lambda one: isinstance(one, property))
    return {getattr(value.fget, "_pulumi_name", None) or name for name, value in properties}


def arguments(token: str, name: str) -> type:
    """The arguments of a resource: another name than usual where that is taken by a nested block."""
    found: type
    try:
        found = member(token, f"{name}InitArgs")
    except AttributeError:
        found = member(token, f"{name}Args")
    return found


# The SDK's modules warn of other resources in them when they are imported.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:pulumi_alicloud")
def test_every_resource_and_function_is_that_of_the_sdk(schema: dict[str, Any]) -> None:
    assert (schema["name"], schema["version"]) == ("alicloud", versions().plugin)
    assert len(schema["resources"]) > 30
    for token, resource in schema["resources"].items():
        name = token.split(":")[2]
        assert member(token, name).pulumi_type == token
        assert set(resource["properties"]) == names(member(token, name)) - OWN, token
        assert set(resource["inputProperties"]) == names(arguments(token, name)), token
    for token, function in schema["functions"].items():
        name = token.split(":")[2]
        result = member(token, f"{name[0].upper()}{name[1:]}Result")
        assert f"'{token}'" in Path(inspect.getfile(result)).read_text()
        # Every result has an id of its own; the Terraform schema does not name it.
        assert set(function["outputs"]["properties"]) | {"id"} == names(result) | {"id"}, token


def test_all_resources_preview_without_a_cloud(project: Project) -> None:
    said = project.pulumi("preview")
    assert f"+ {PROGRAM.count('alicloud.') + 1} to create" in said
    assert "warning" not in said


def test_a_wrong_setting_is_named(project: Project) -> None:
    project.pulumi("config", "set", "alicloud:protocol", "GOPHER")
    said = project.pulumi("preview", code=1)
    assert 'expected protocol to be one of ["HTTP" "HTTPS"]' in " ".join(said.split()) or "GOPHER" in said
