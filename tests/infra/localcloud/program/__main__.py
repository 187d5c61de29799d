"""One of every kind of resource that the project uses; the setting `step` says which version of them."""

from __future__ import annotations

import json

import pulumi
import pulumi_alicloud as alicloud

config = pulumi.Config()
step = config.require_int("step")
user_data = config.get("userData") or "#cloud-config\n"
account = pulumi.Config("alicloud").require("accountId")

zone = alicloud.get_zones(available_resource_creation="VSwitch").zones[0].id
image = alicloud.ecs.get_images(
    image_family="acs:alibaba_cloud_linux_3_2104_lts_x64", owners="system", architecture="x86_64", most_recent=True
).images[0]
small, large = (
    alicloud.ecs.get_instance_types(cpu_core_count=cores, memory_size=memory, availability_zone=zone).ids[0]
    for cores, memory in ((2, 8), (4, 16))
)

network = alicloud.vpc.Network(
    "network", vpc_name=f"network-{step}", cidr_block="127.93.0.0/16", tags={"step": str(step)}
)
switch = alicloud.vpc.Switch(
    "switch", vswitch_name=f"switch-{step}", vpc_id=network.id, cidr_block="127.93.1.0/24", zone_id=zone
)
group = alicloud.ecs.SecurityGroup(
    "group", security_group_name=f"group-{step}", vpc_id=network.id, inner_access_policy="Drop"
)
alicloud.ecs.SecurityGroupRule(
    "from-block",
    type="ingress",
    ip_protocol="tcp",
    port_range="8443/8443",
    cidr_ip="127.93.0.0/16",
    security_group_id=group.id,
    description=f"step {step}",
)
alicloud.ecs.SecurityGroupRule(
    "from-group",
    type="ingress",
    ip_protocol="tcp",
    port_range="9300/9300",
    source_security_group_id=group.id,
    security_group_id=group.id,
)
alicloud.ecs.SecurityGroupRule(
    "to-nowhere",
    type="egress",
    ip_protocol="all",
    port_range="-1/-1",
    policy="drop",
    priority=100,
    cidr_ip="10.0.0.0/8",
    security_group_id=group.id,
)

# A refresh reads the rule of the resource of its own into the bucket, and an update would take it away.
bucket = alicloud.oss.Bucket(
    "bucket",
    bucket=f"provider-{account}",
    force_destroy=True,
    opts=pulumi.ResourceOptions(ignore_changes=["serverSideEncryptionRule"]),
)
alicloud.oss.BucketAcl("acl", bucket=bucket.bucket, acl="private")
alicloud.oss.BucketServerSideEncryption("encryption", bucket=bucket.bucket, sse_algorithm="AES256")
alicloud.oss.BucketPublicAccessBlock("block", bucket=bucket.bucket, block_public_access=True)
alicloud.oss.BucketObject("object", bucket=bucket.bucket, key="boot.json", content=json.dumps({"step": step}))

trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["ecs.aliyuncs.com"]}}
role = alicloud.ram.Role(
    "role",
    role_name="provider-role",
    assume_role_policy_document=json.dumps({"Version": "1", "Statement": [trust]}),
    force=True,
)
allow = {"Effect": "Allow", "Action": ["oss:GetObject"], "Resource": [f"acs:oss:*:*:provider-{account}/step{step}*"]}
policy = alicloud.ram.Policy(
    "policy",
    policy_name="provider-policy",
    policy_document=json.dumps({"Version": "1", "Statement": [allow]}),
    force=True,
)
alicloud.ram.RolePolicyAttachment(
    "policy-attachment", policy_name=policy.policy_name, policy_type="Custom", role_name=role.role_name
)

key_pair = alicloud.ecs.EcsKeyPair("key-pair", key_pair_name="provider-key")
instance = alicloud.ecs.Instance(
    "instance",
    instance_name=f"instance-{step}",
    host_name="instance",
    instance_type=small if step == 1 else large,
    image_id=image.id,
    vswitch_id=switch.id,
    private_ip="127.93.1.10",
    security_groups=[group.id],
    key_name=key_pair.key_pair_name,
    user_data=user_data,
    system_disk_category="cloud_essd",
    system_disk_size=40 if step == 1 else 60,
    system_disk_encrypted=True,
    http_endpoint="enabled",
    http_tokens="required",
    tags={"step": str(step)},
)
alicloud.ecs.RamRoleAttachment("role-attachment", instance_id=instance.id, ram_role_name=role.role_name)

pulumi.export("instance", instance.id)
pulumi.export("group", group.id)
pulumi.export("status", instance.status)
