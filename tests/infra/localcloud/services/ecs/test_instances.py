"""Instances: run, describe, start, stop, reboot, delete, and what is refused."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import pytest

from infra.localcloud.hypervisor.machine import MachineStatus
from infra.localcloud.services.ecs.instance import status
from infra.localcloud.services.ecs.instances import Instances
from tests.infra.localcloud.services.vpc.rpc import IMAGE, REGION, SmallCloud


def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("power", "booted", "machine", "expected"),
    [
        ("on", False, None, "Pending"),
        ("on", False, "starting", "Pending"),
        ("on", True, "starting", "Starting"),
        ("on", True, None, "Starting"),
        ("on", False, "running", "Running"),
        ("on", True, "exited", "Stopped"),
        ("on", True, "failed", "Stopped"),
        ("stopping", True, "running", "Stopping"),
        ("rebooting", True, "stopped", "Starting"),
        ("releasing", True, "running", "Stopping"),
        ("off", True, "stopped", "Stopped"),
    ],
)
def test_status(power: str, booted: bool, machine: str | None, expected: str) -> None:
    state = MachineStatus(machine) if machine else None  # type: ignore[arg-type]  # a parameter of the test
    assert status(power, booted, state) == expected


def test_an_instance_becomes_a_machine(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    text = "#cloud-config\nruncmd: [[echo, hi]]\n"
    data = base64.b64encode(text.encode()).decode()
    instance = cloud.run(switch, group, PrivateIpAddress="127.90.1.20", HostName="one", UserData=data)
    spec = cloud.machines.specs[instance]
    assert (spec.kind, spec.hostname, spec.address, spec.user_data) == ("instance", "one", "127.90.1.20", text)
    assert cloud.status(instance) == "Running"
    assert cloud.call("ecs", "DescribeUserData", InstanceId=instance)["UserData"] == data


def test_an_instance_is_pending_until_its_machine_runs(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    cloud.machines.first_state = "starting"
    instance = cloud.run(switch, group)
    assert cloud.status(instance) == "Pending"
    cloud.machines.states[instance] = "running"
    assert cloud.status(instance) == "Running"
    cloud.machines.states[instance] = "starting"
    assert cloud.status(instance) == "Starting"


def test_addresses_are_given_out_in_order(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    cloud.run(switch, group, PrivateIpAddress="127.90.1.1")
    cloud.run(switch, group, Amount=2)
    assert sorted(s.address for s in cloud.machines.specs.values()) == ["127.90.1.1", "127.90.1.2", "127.90.1.3"]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"InstanceType": "ecs.moon.large"}, "InvalidInstanceType.ValueNotSupported"),
        ({"ImageId": "m-nothing"}, "InvalidImageId.NotFound"),
        ({"ImageId": ""}, "MissingParameter"),
        ({"VSwitchId": "vsw-1"}, "InvalidVSwitchId.NotFound"),
        ({"SecurityGroupIds__1": "sg-1"}, "InvalidSecurityGroupId.NotFound"),
        ({"SecurityGroupId": "sg-1"}, "InvalidParameter.Conflict"),
        ({"PrivateIpAddress": "127.90.2.1"}, "InvalidPrivateIpAddress"),
        ({"PrivateIpAddress": "127.90.1.255"}, "InvalidPrivateIpAddress"),
        ({"PrivateIpAddress": "x"}, "InvalidPrivateIpAddress.Malformed"),
        ({"PrivateIpAddress": "127.90.1.9"}, "InvalidPrivateIpAddress.Duplicated"),
        ({"UserData": "%%%"}, "InvalidUserData.Base64FormatInvalid"),
        ({"UserData": base64.b64encode(b"x" * 32769).decode()}, "InvalidUserData.SizeExceeded"),
        ({"UserData": base64.b64encode(b"\x1f\x8b\xff").decode()}, "InvalidUserData.NotSupported"),
        ({"KeyPairName": "nobody"}, "InvalidKeyPairName.NotFound"),
        ({"RamRoleName": "nobody"}, "InvalidRamRole.NotFound"),
        ({"SystemDisk__Size": "10"}, "InvalidSystemDiskSize"),
        ({"SystemDisk__Category": "floppy"}, "InvalidSystemDiskCategory.ValueNotSupported"),
        ({"SystemDisk__Colour": "red"}, "InvalidParameter"),
        ({"InstanceChargeType": "PrePaid"}, "InvalidInstanceChargeType.ValueNotSupported"),
        ({"HostName": "-x-"}, "InvalidHostName.Malformed"),
        ({"InstanceName": "x"}, "InvalidInstanceName.Malformed"),
        ({"ZoneId": f"{REGION}-i"}, "InvalidParameter.Conflict"),
        ({"HttpTokens": "maybe"}, "InvalidHttpTokens.ValueNotSupported"),
        ({"DeletionProtection": "maybe"}, "InvalidDeletionProtection"),
        ({"DryRun": "true"}, "DryRunOperation"),
        ({"Amount": "2", "PrivateIpAddress": "127.90.1.30"}, "InvalidParameter.Conflict"),
        ({"Password": "secret"}, "InvalidParameter"),
    ],
)
def test_refused_orders_leave_nothing(cloud: SmallCloud, parameters: dict[str, str], code: str) -> None:
    _, switch, group = cloud.network()
    cloud.run(switch, group, PrivateIpAddress="127.90.1.9")
    given = {"InstanceType": "ecs.g7.large", "ImageId": IMAGE, "VSwitchId": switch, "SecurityGroupIds__1": group}
    assert cloud.refused("ecs", "RunInstances", **given | parameters) == code
    assert len(cloud.machines.specs) == 1
    assert cloud.call("ecs", "DescribeInstances")["TotalCount"] == 1


def test_a_group_of_another_network_is_refused(cloud: SmallCloud) -> None:
    _, switch, _ = cloud.network()
    _, _, other = cloud.network("127.91.0.0/16", "127.91.1.0/24")
    given = {"InstanceType": "ecs.g7.large", "ImageId": IMAGE, "VSwitchId": switch, "SecurityGroupId": other}
    assert cloud.refused("ecs", "RunInstances", **given) == "InvalidSecurityGroupId.VPCMismatch"


def test_machines_outside_loopback_are_refused_and_the_block_is_named(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network("10.0.0.0/8", "10.0.1.0/24")
    given = {"InstanceType": "ecs.g7.large", "ImageId": IMAGE, "VSwitchId": switch, "SecurityGroupId": group}
    assert cloud.refused("ecs", "RunInstances", **given) == "OperationDenied.CidrBlockNotSupported"


def test_an_image_family_means_its_newest_image(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    family = "acs:alibaba_cloud_linux_3_2104_lts_x64"
    given = {"InstanceType": "ecs.g7.large", "VSwitchId": switch, "SecurityGroupId": group}
    cloud.call("ecs", "RunInstances", **given, ImageFamily=family)
    (row,) = cloud.call("ecs", "DescribeInstances")["Instances"]["Instance"]
    assert row["ImageId"] == cloud.call("ecs", "DescribeImageFromFamily", ImageFamily=family)["Image"]["ImageId"]


def test_a_client_token_makes_one_instance(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    first = cloud.run(switch, group, ClientToken="t")
    assert cloud.run(switch, group, ClientToken="t") == first
    assert cloud.machines.starts == [first]
    given = {"InstanceType": "ecs.g7.xlarge", "ImageId": IMAGE, "VSwitchId": switch, "SecurityGroupIds__1": group}
    assert cloud.refused("ecs", "RunInstances", **given, ClientToken="t") == "IdempotentParameterMismatch"


def test_stop_and_start(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    assert cloud.refused("ecs", "StartInstance", InstanceId=instance) == "IncorrectInstanceStatus"
    cloud.machines.gate.clear()
    cloud.call("ecs", "StopInstance", InstanceId=instance, StoppedMode="StopCharging")
    assert cloud.status(instance) == "Stopping"
    assert cloud.refused("ecs", "RebootInstance", InstanceId=instance) == "IncorrectInstanceStatus"
    cloud.machines.gate.set()
    eventually(lambda: cloud.status(instance) == "Stopped")
    (row,) = cloud.call("ecs", "DescribeInstances")["Instances"]["Instance"]
    assert row["StoppedMode"] == "StopCharging"
    cloud.call("ecs", "StartInstance", InstanceId=instance)
    (row,) = cloud.call("ecs", "DescribeInstances")["Instances"]["Instance"]
    assert row["StoppedMode"] == "Not-applicable"
    assert cloud.status(instance) == "Running"
    assert cloud.machines.stops == [(instance, False)]
    assert cloud.machines.starts == [instance, instance]


def test_reboot(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    cloud.call("ecs", "RebootInstance", InstanceId=instance, ForceStop="true")
    eventually(lambda: cloud.machines.starts == [instance, instance])
    eventually(lambda: cloud.status(instance) == "Running")
    assert cloud.machines.stops == [(instance, True)]


def test_deletion(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group, DeletionProtection="true")
    assert cloud.refused("ecs", "DeleteInstance", InstanceId=instance) == "OperationDenied.DeletionProtection"
    cloud.call("ecs", "ModifyInstanceAttribute", InstanceId=instance, DeletionProtection="false")
    assert cloud.refused("ecs", "DeleteInstance", InstanceId=instance) == "IncorrectInstanceStatus"
    assert cloud.refused("ecs", "DeleteSecurityGroup", SecurityGroupId=group) == "DependencyViolation"
    cloud.call("ecs", "DeleteInstance", InstanceId=instance, Force="true")
    eventually(lambda: cloud.status(instance) == "")
    assert cloud.machines.deleted == [instance]
    assert cloud.call("ecs", "DescribeDisks")["TotalCount"] == 0
    assert cloud.refused("ecs", "DeleteInstance", InstanceId=instance) == "InvalidInstanceId.NotFound"
    cloud.call("ecs", "DeleteSecurityGroup", SecurityGroupId=group)


def test_the_stopped_mode_of_a_running_instance_asks_for_nothing(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    cloud.call("ecs", "StopInstance", InstanceId=instance, StoppedMode="Not-applicable")
    eventually(lambda: cloud.status(instance) == "Stopped")
    cloud.call("ecs", "StopInstance", InstanceId=instance, StoppedMode="StopCharging")
    eventually(lambda: cloud.status(instance) == "Stopped")


def test_a_release_during_a_stop_is_carried_out(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    cloud.machines.gate.clear()
    cloud.call("ecs", "StopInstance", InstanceId=instance)
    cloud.call("ecs", "DeleteInstance", InstanceId=instance, Force="true")
    cloud.machines.gate.set()
    eventually(lambda: cloud.status(instance) == "")
    assert cloud.machines.deleted == [instance]


def test_settling_waits_for_what_is_under_way(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    ecs = cloud.services["ecs"]
    assert isinstance(ecs, Instances)
    cloud.machines.gate.clear()
    cloud.call("ecs", "StopInstance", InstanceId=instance)
    assert not ecs.settle(0.05)
    cloud.machines.gate.set()
    assert ecs.settle(10)
    assert cloud.status(instance) == "Stopped"


def test_several_at_once(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    ids = [cloud.run(switch, group) for _ in range(2)]
    both = {"InstanceId__1": ids[0], "InstanceId__2": ids[1]}
    cloud.call("ecs", "StopInstances", **both)
    eventually(lambda: [cloud.status(i) for i in ids] == ["Stopped", "Stopped"])
    cloud.call("ecs", "StartInstance", InstanceId=ids[1])
    assert cloud.refused("ecs", "StartInstances", **both) == "IncorrectInstanceStatus"
    reply = cloud.call("ecs", "RebootInstances", InstanceId__1=ids[1])
    assert reply["InstanceResponses"]["InstanceResponse"][0]["PreviousStatus"] == "Running"
    eventually(lambda: cloud.status(ids[1]) == "Running")
    cloud.call("ecs", "DeleteInstances", **both, Force="true")
    eventually(lambda: cloud.call("ecs", "DescribeInstances")["TotalCount"] == 0)


def test_filters_and_pages(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    ids = [
        cloud.run(
            switch,
            group,
            InstanceName=f"node-{n}",
            Tag__1__Key="n",
            Tag__1__Value=n,
            PrivateIpAddress=f"127.90.1.{n}",
        )
        for n in range(11, 14)
    ]

    def found(**parameters: object) -> list[str]:
        rows = cloud.call("ecs", "DescribeInstances", **parameters)["Instances"]["Instance"]
        return sorted(row["InstanceName"] for row in rows)

    assert found(InstanceName="node-*") == ["node-11", "node-12", "node-13"]
    assert found(InstanceName="node-12") == ["node-12"]
    assert found(InstanceIds=json.dumps(ids[:2])) == ["node-11", "node-12"]
    assert found(PrivateIpAddresses='["127.90.1.13"]') == ["node-13"]
    assert found(Tag__1__Key="n", Tag__1__Value="11") == ["node-11"]
    assert found(VSwitchId=switch, Status="Running", SecurityGroupId=group) == ["node-11", "node-12", "node-13"]
    assert found(Status="Stopped") == []
    first = cloud.call("ecs", "DescribeInstances", MaxResults=2)
    rest = cloud.call("ecs", "DescribeInstances", MaxResults=2, NextToken=first["NextToken"])
    assert (len(first["Instances"]["Instance"]), len(rest["Instances"]["Instance"]), rest["NextToken"]) == (2, 1, "")
    assert cloud.refused("ecs", "DescribeInstances", InstanceIds="i-1") == "InvalidInstanceIds.Malformed"
    statuses = cloud.call("ecs", "DescribeInstanceStatus", InstanceId__1=ids[0])
    assert statuses["InstanceStatuses"]["InstanceStatus"] == [{"InstanceId": ids[0], "Status": "Running"}]


def test_console(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group, HostName="one")
    output = cloud.call("ecs", "GetInstanceConsoleOutput", InstanceId=instance, RemoveSymbols="true")["ConsoleOutput"]
    assert base64.b64decode(output) == b"booting one\n"


def test_changes_of_a_stopped_instance(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    instance = cloud.run(switch, group)
    bigger = {"InstanceId": instance, "InstanceType": "ecs.g7.2xlarge"}
    assert cloud.refused("ecs", "ModifyInstanceSpec", **bigger) == "IncorrectInstanceStatus"
    data = base64.b64encode(b"#!/bin/sh\n").decode()
    cloud.call("ecs", "ModifyInstanceAttribute", InstanceId=instance, UserData=data, HostName="two")
    cloud.call("ecs", "StopInstance", InstanceId=instance)
    eventually(lambda: cloud.status(instance) == "Stopped")
    cloud.call("ecs", "ModifyInstanceSpec", **bigger)
    old = cloud.call("ecs", "DescribeDisks", InstanceId=instance)["Disks"]["Disk"][0]
    image = "aliyun_3_x64_20G_alibase_20240819.vhd"
    new = cloud.call("ecs", "ReplaceSystemDisk", InstanceId=instance, ImageId=image, SystemDisk__Size=60)
    assert cloud.machines.deleted == [instance]
    (disk,) = cloud.call("ecs", "DescribeDisks", InstanceId=instance, DiskType="system")["Disks"]["Disk"]
    assert (disk["DiskId"], disk["Size"], disk["ImageId"]) == (new["DiskId"], 60, image)
    assert old["DiskId"] != disk["DiskId"]
    moved = {"InstanceId": instance, "VSwitchId": switch, "PrivateIpAddress": "127.90.1.77"}
    cloud.call("ecs", "ModifyInstanceVpcAttribute", **moved)
    cloud.call("ecs", "StartInstance", InstanceId=instance)
    spec = cloud.machines.specs[instance]
    assert (spec.address, spec.hostname, spec.user_data) == ("127.90.1.77", "two", "#!/bin/sh\n")
    (row,) = cloud.call("ecs", "DescribeInstances")["Instances"]["Instance"]
    assert (row["InstanceType"], row["ImageId"], row["Cpu"], row["Memory"]) == ("ecs.g7.2xlarge", image, 8, 32768)


def test_a_restart_takes_up_what_was_under_way(cloud: SmallCloud) -> None:
    _, switch, group = cloud.network()
    ended, running, leaving, off = (cloud.run(switch, group) for _ in range(4))
    cloud.call("ecs", "StopInstance", InstanceId=off)
    eventually(lambda: cloud.status(off) == "Stopped")
    cloud.machines.states[ended] = "exited"
    instances = cloud.store.collection("ecs.instance")
    instances.update(leaving, lambda document: document.update(Power="releasing"))
    cloud.machines.specs["i-orphan"] = cloud.machines.specs[running]
    cloud.machines.starts.clear()
    cloud.machines.ingress.clear()
    type(cloud.services["ecs"])(cloud).start()
    eventually(lambda: cloud.status(leaving) == "")
    assert cloud.machines.starts == [ended]
    assert set(cloud.machines.deleted) == {"i-orphan", leaving}
    assert cloud.status(off) == "Stopped"
    assert {ingress.address for ingress in cloud.machines.ingress} >= {cloud.machines.specs[running].address}
