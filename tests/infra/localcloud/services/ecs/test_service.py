"""ECS through the official SDK, with roles, key pairs, disks, offers and tags."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from alibabacloud_ecs20140526 import models
from alibabacloud_ecs20140526.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.models import Config

from tests.infra.localcloud.services.vpc.rpc import IMAGE, REGION, SmallCloud, serve

FAMILY = "acs:alibaba_cloud_linux_3_2104_lts_x64"


def trust(service: str) -> str:
    statement = {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": [service]}}
    return json.dumps({"Version": "1", "Statement": [statement]})


@pytest.fixture
def client(cloud: SmallCloud) -> Iterator[Client]:
    with serve(cloud) as proxy:
        yield Client(
            Config(
                access_key_id="key",
                access_key_secret="secret",
                region_id=REGION,
                endpoint=f"ecs.{REGION}.aliyuncs.com",
                protocol="HTTP",
                http_proxy=proxy,
            )
        )


def test_an_instance_through_the_sdk(cloud: SmallCloud, client: Client) -> None:
    vpc, switch, group = cloud.network()
    image = client.describe_image_from_family(
        models.DescribeImageFromFamilyRequest(region_id=REGION, image_family=FAMILY)
    ).body.image.image_id
    client.authorize_security_group(
        models.AuthorizeSecurityGroupRequest(
            region_id=REGION,
            security_group_id=group,
            permissions=[
                models.AuthorizeSecurityGroupRequestPermissions(
                    ip_protocol="TCP", port_range="8080/8080", source_cidr_ip="127.90.0.0/16", priority="1"
                )
            ],
        )
    )
    (instance,) = client.run_instances(
        models.RunInstancesRequest(
            region_id=REGION,
            image_id=image,
            instance_type="ecs.gn7i-c8g1.2xlarge",
            v_switch_id=switch,
            security_group_ids=[group],
            instance_name="gpu",
            host_name="gpu-0",
            private_ip_address="127.90.1.10",
            system_disk=models.RunInstancesRequestSystemDisk(category="cloud_essd", size="60"),
            tag=[models.RunInstancesRequestTag(key="project", value="ragrec")],
            client_token="once",
        )
    ).body.instance_id_sets.instance_id_set
    (row,) = client.describe_instances(
        models.DescribeInstancesRequest(region_id=REGION, instance_ids=json.dumps([instance]))
    ).body.instances.instance
    assert (row.status, row.instance_name, row.host_name) == ("Running", "gpu", "gpu-0")
    assert (row.cpu, row.memory, row.gpuamount, row.gpuspec) == (8, 30720, 1, "NVIDIA A10")
    assert row.vpc_attributes.private_ip_address.ip_address == ["127.90.1.10"]
    assert [(t.tag_key, t.tag_value) for t in row.tags.tag] == [("project", "ragrec")]
    (disk,) = client.describe_disks(
        models.DescribeDisksRequest(region_id=REGION, instance_id=instance, disk_type="system")
    ).body.disks.disk
    assert (disk.size, disk.category, disk.performance_level) == (60, "cloud_essd", "PL1")
    (interface,) = client.describe_network_interfaces(
        models.DescribeNetworkInterfacesRequest(region_id=REGION, instance_id=instance)
    ).body.network_interface_sets.network_interface_set
    assert interface.private_ip_sets.private_ip_set[0].primary is True
    attribute = client.describe_instance_attribute(models.DescribeInstanceAttributeRequest(instance_id=instance)).body
    assert attribute.vpc_attributes.vpc_id == vpc
    with pytest.raises(ClientException) as refused:
        client.delete_instance(models.DeleteInstanceRequest(instance_id=instance))
    assert refused.value.code == "IncorrectInstanceStatus"
    assert "Running" in refused.value.message


def test_what_there_is(client: Client) -> None:
    regions = client.describe_regions(models.DescribeRegionsRequest()).body.regions.region
    assert [r.region_id for r in regions] == [REGION]
    zones = client.describe_zones(models.DescribeZonesRequest(region_id=REGION)).body.zones.zone
    assert [z.zone_id[-1] for z in zones] == ["h", "i", "j", "k"]
    available = client.describe_available_resource(
        models.DescribeAvailableResourceRequest(
            region_id=REGION, destination_resource="InstanceType", cores=8, memory=32
        )
    ).body.available_zones.available_zone
    supported = available[0].available_resources.available_resource[0].supported_resources.supported_resource
    assert [s.value for s in supported] == ["ecs.g7.2xlarge"]
    types = client.describe_instance_types(
        models.DescribeInstanceTypesRequest(minimum_gpuamount=1, instance_type_family="ecs.gn7i")
    ).body.instance_types.instance_type
    assert [(t.instance_type_id, t.memory_size) for t in types] == [
        ("ecs.gn7i-c8g1.2xlarge", 30.0),
        ("ecs.gn7i-c16g1.4xlarge", 60.0),
    ]
    found = client.describe_images(
        models.DescribeImagesRequest(region_id=REGION, image_name="aliyun_3_x64_20G_alibase_*")
    ).body.images.image
    assert IMAGE in [i.image_id for i in found]
    own = models.DescribeImagesRequest(region_id=REGION, image_owner_alias="self")
    assert client.describe_images(own).body.images.image == []


def test_instance_roles(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    ids = json.dumps([instance])
    given = {"InstanceIds": ids, "RamRoleName": "worker"}
    assert cloud.refused("ecs", "AttachInstanceRamRole", **given) == "InvalidRamRole.NotFound"
    cloud.call("ram", "CreateRole", RoleName="job", AssumeRolePolicyDocument=trust("pai.aliyuncs.com"))
    job = given | {"RamRoleName": "job"}
    assert cloud.refused("ecs", "AttachInstanceRamRole", **job) == "InvalidRamRole.NotEcsRole"
    for name in ("worker", "other"):
        cloud.call("ram", "CreateRole", RoleName=name, AssumeRolePolicyDocument=trust("ecs.aliyuncs.com"))
    cloud.call("ecs", "AttachInstanceRamRole", **given)
    rows = cloud.call("ecs", "DescribeInstanceRamRole", InstanceIds=ids)["InstanceRamRoleSets"]["InstanceRamRoleSet"]
    assert rows == [{"InstanceId": instance, "RamRoleName": "worker"}]
    other = given | {"RamRoleName": "other"}
    assert cloud.refused("ecs", "AttachInstanceRamRole", **other) == "RamRole.AlreadyAttached"
    unknown = given | {"InstanceIds": '["i-1"]'}
    assert cloud.refused("ecs", "AttachInstanceRamRole", **unknown) == "InvalidInstanceId.NotFound"
    cloud.call("ecs", "DetachInstanceRamRole", **given)
    assert cloud.call("ecs", "DescribeInstanceRamRole", InstanceIds=ids)["TotalCount"] == 0


def test_key_pairs(cloud: SmallCloud) -> None:
    created = cloud.call("ecs", "CreateKeyPair", KeyPairName="ops", Tag__1__Key="a", Tag__1__Value="b")
    assert created["PrivateKeyBody"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert cloud.refused("ecs", "CreateKeyPair", KeyPairName="ops") == "KeyPair.AlreadyExist"
    assert cloud.refused("ecs", "CreateKeyPair", KeyPairName="1") == "InvalidKeyPairName.Malformed"
    body = "nonsense"
    assert (
        cloud.refused("ecs", "ImportKeyPair", KeyPairName="mine", PublicKeyBody=body)
        == "InvalidPublicKeyBody.Malformed"
    )
    (row,) = cloud.call("ecs", "DescribeKeyPairs", KeyPairName="op*", IncludePublicKey="true")["KeyPairs"]["KeyPair"]
    assert row["KeyPairFingerPrint"] == created["KeyPairFingerPrint"]
    imported = cloud.call("ecs", "ImportKeyPair", KeyPairName="mine", PublicKeyBody=row["PublicKey"])
    assert imported["KeyPairFingerPrint"] == created["KeyPairFingerPrint"]
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group, KeyPairName="ops")
    names = {"KeyPairNames": '["ops", "mine"]'}
    code = "InvalidParameter.KeypairAlreadyAttachedInstance"
    assert cloud.refused("ecs", "DeleteKeyPairs", **names) == code
    cloud.call("ecs", "DetachKeyPair", KeyPairName="ops", InstanceIds=json.dumps([instance]))
    cloud.call("ecs", "DeleteKeyPairs", **names)
    assert cloud.call("ecs", "DescribeKeyPairs")["TotalCount"] == 0
    assert "private" not in json.dumps(cloud.store.collection("ecs.key_pair").values()).lower()


def test_disks(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    data = {"DataDisk__1__Size": 100, "DataDisk__1__Category": "cloud_auto", "DataDisk__1__DiskName": "data"}
    instance = cloud.run(switch, group, **data)
    system, extra = cloud.call("ecs", "DescribeDisks", InstanceId=instance)["Disks"]["Disk"]
    assert (system["Type"], extra["Type"], extra["DiskName"]) == ("system", "data", "data")
    smaller = {"DiskId": system["DiskId"], "NewSize": 30}
    assert cloud.refused("ecs", "ResizeDisk", **smaller) == "InvalidDiskSize.TooSmall"
    cloud.call("ecs", "ResizeDisk", DiskId=system["DiskId"], NewSize=80, Type="online")
    cloud.call("ecs", "ModifyDiskAttribute", DiskId=system["DiskId"], DiskName="root", Description="the system")
    cloud.call("ecs", "ModifyDiskSpec", DiskId=system["DiskId"], PerformanceLevel="PL2")
    (row,) = cloud.call("ecs", "DescribeDisks", DiskIds=json.dumps([system["DiskId"]]))["Disks"]["Disk"]
    assert (row["Size"], row["DiskName"], row["PerformanceLevel"]) == (80, "root", "PL2")
    assert cloud.refused("ecs", "ResizeDisk", DiskId="d-1", NewSize=80) == "InvalidDiskId.NotFound"


def test_tags_and_maintenance(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    given = {"ResourceType": "instance", "ResourceId__1": instance}
    cloud.call("ecs", "TagResources", **given, Tag__1__Key="a", Tag__1__Value="1", Tag__2__Key="b", Tag__2__Value="2")
    counted = cloud.call("ecs", "DescribeTags", ResourceType="instance", ResourceId=instance)["Tags"]["Tag"]
    assert counted[0] == {"TagKey": "a", "TagValue": "1", "ResourceTypeCount": {"Instance": 1}}
    assert cloud.call("ecs", "DescribeTags", ResourceType="image", ResourceId=IMAGE)["Tags"]["Tag"] == []
    cloud.call("ecs", "UntagResources", **given, TagKey__1="b")
    listed = cloud.call("ecs", "ListTagResources", **given)["TagResources"]["TagResource"]
    assert [(row["TagKey"], row["TagValue"]) for row in listed] == [("a", "1")]
    cloud.call("ecs", "UntagResources", **given, All="true")
    assert cloud.call("ecs", "ListTagResources", **given)["TagResources"]["TagResource"] == []
    cloud.call("ecs", "ModifyInstanceMaintenanceAttributes", InstanceId__1=instance, ActionOnMaintenance="Stop")
    reply = cloud.call("ecs", "DescribeInstanceMaintenanceAttributes", InstanceId__1=instance)
    (row,) = reply["MaintenanceAttributes"]["MaintenanceAttribute"]
    assert row["ActionOnMaintenance"]["Value"] == "Stop"


def test_public_addresses_are_not_given_twice(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    eip = cloud.call("vpc", "AllocateEipAddress")["EipAddress"]
    instance = cloud.run(switch, group, InternetMaxBandwidthOut=5)
    (row,) = cloud.call("ecs", "DescribeInstances")["Instances"]["Instance"]
    (address,) = row["PublicIpAddress"]["IpAddress"]
    assert address != eip
    allocation = cloud.call("vpc", "AllocateEipAddress")["AllocationId"]
    given = {"AllocationId": allocation, "InstanceId": instance}
    assert cloud.refused("vpc", "AssociateEipAddress", **given) == "InvalidInstance.InternetIpExists"


def test_inventory(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    cloud.call("ecs", "CreateKeyPair", KeyPairName="ops")
    assert cloud.services["ecs"].inventory() == [f"instance {instance}", f"security-group {group}", "key-pair ops"]


def test_unknown_operations_and_parameters(cloud: SmallCloud) -> None:
    assert cloud.refused("ecs", "LaunchRocket") == "InvalidAction.NotFound"
    assert cloud.refused("ecs", "DescribeInstances", Colour="red") == "InvalidParameter"
    assert cloud.refused("ecs", "DescribeInstances", RegionId="cn-beijing") == "InvalidRegionId.NotFound"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"InstanceId": "i-1"}, "instance/i-1"),
        ({"InstanceId.1": "i-1", "InstanceId.2": "i-2"}, "instance/i-1"),
        ({"SecurityGroupId": "sg-1", "InstanceId": "i-1"}, "instance/i-1"),
        ({"InstanceIds": '["i-1"]'}, "*"),
        ({}, "*"),
    ],
)
def test_what_ram_policies_are_asked_about(cloud: SmallCloud, parameters: dict[str, str], expected: str) -> None:
    call = cloud.make_call("ecs", parameters, {})
    assert cloud.services["ecs"].resource(call) == f"acs:ecs:{REGION}:{cloud.account_id}:{expected}"
