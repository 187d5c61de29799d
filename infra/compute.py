"""An instance of Alibaba Cloud Linux 3 that boots from user data and acts through its own RAM role."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_alicloud as alicloud

from infra import settings
from infra.resources.credentials import Credentials
from serving import tokens

IMAGE_FAMILY = "acs:alibaba_cloud_linux_3_2104_lts_x64"

_ASSUMED_BY_ECS = json.dumps(
    {
        "Version": "1",
        "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["ecs.aliyuncs.com"]}}
        ],
    }
)


@dataclass(frozen=True)
class ConfigFile:
    """A file that an instance writes at boot from its private configuration object."""

    content: pulumi.Input[str]
    owner: str
    mode: str = "0400"


@dataclass(frozen=True)
class RoleArgs:
    """What instances of one kind may read, and what they find when they boot."""

    prefix: str
    config_bucket: str
    files: Mapping[str, ConfigFile]
    """By absolute path; kept as one private object that only this role can read."""
    readable: Sequence[str]
    """OSS resources ``bucket/prefix*`` that the role may read beside its configuration."""
    statements: Sequence[Mapping[str, object]] = ()
    """Further policy statements: AIRec's."""
    revision: str = "boot"
    """Names the configuration object, and so is part of the user data: another revision, another instance."""


class InstanceRole(pulumi.ComponentResource):
    """A RAM role of least privilege with the configuration object that its instances boot from."""

    def __init__(self, name: str, args: RoleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ragrec:compute:InstanceRole", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.config_key = f"{name}/{args.revision}.json"
        role_name = f"{args.prefix}-{name}"
        self.config = alicloud.oss.BucketObject(
            f"{name}-boot",
            bucket=args.config_bucket,
            key=self.config_key,
            content=_secret(
                pulumi.Output.json_dumps(
                    {
                        path: {"content": file.content, "owner": file.owner, "mode": file.mode}
                        for path, file in args.files.items()
                    }
                )
            ),
            content_type="application/json",
            opts=child,
        )
        readable = [f"{args.config_bucket}/{name}/*", *args.readable]
        role = alicloud.ram.Role(
            name, role_name=role_name, assume_role_policy_document=_ASSUMED_BY_ECS, force=True, opts=child
        )
        policy = alicloud.ram.Policy(
            name,
            policy_name=role_name,
            policy_document=pulumi.Output.json_dumps(
                {
                    "Version": "1",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Action": ["oss:GetObject"],
                            "Resource": [f"acs:oss:*:*:{resource}" for resource in readable],
                        },
                        *args.statements,
                    ],
                }
            ),
            force=True,
            opts=child,
        )
        self.attachment = alicloud.ram.RolePolicyAttachment(
            name,
            policy_name=policy.policy_name,
            policy_type="Custom",
            role_name=role.role_name,
            opts=child,
        )
        self.role_name = role.role_name
        self.register_outputs({"role": role_name})


@dataclass(frozen=True)
class ServerArgs:
    """One instance. Its address is fixed, so that everything that points to it is known in a preview."""

    hostname: str
    instance_type: str
    address: str
    switch: alicloud.vpc.Switch
    security_group: alicloud.ecs.SecurityGroup
    user_data: str
    role: InstanceRole
    system_disk_gb: int
    deletion_protection: bool


class Server(pulumi.ComponentResource):
    """An instance with its role. New user data means a new instance: it is what an instance is."""

    def __init__(self, name: str, args: ServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ragrec:compute:Server", name, None, opts)
        self.address = args.address
        self.instance = alicloud.ecs.Instance(
            name,
            instance_name=args.hostname,
            host_name=args.hostname,
            instance_type=args.instance_type,
            image_id=_system_image(self),
            vswitch_id=args.switch.id,
            private_ip=args.address,
            security_groups=[args.security_group.id],
            user_data=args.user_data,
            system_disk_category="cloud_essd",
            system_disk_size=args.system_disk_gb,
            system_disk_encrypted=True,
            http_endpoint="enabled",
            http_tokens="required",
            deletion_protection=args.deletion_protection,
            opts=pulumi.ResourceOptions(
                parent=self,
                # The address is taken until the old instance is gone.
                delete_before_replace=True,
                replace_on_changes=["userData"],
                # A newer system image is no reason to replace a running instance.
                ignore_changes=["imageId"],
            ),
        )
        alicloud.ecs.RamRoleAttachment(
            name,
            instance_id=self.instance.id,
            ram_role_name=args.role.role_name,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        self.register_outputs({"address": args.address})


def _system_image(parent: pulumi.Resource) -> str:
    """The newest image of the family: the first thing that is asked from the cloud, so the first to fail."""
    try:
        found = alicloud.ecs.get_images(
            image_family=IMAGE_FAMILY,
            owners="system",
            architecture="x86_64",
            most_recent=True,
            opts=pulumi.InvokeOptions(parent=parent),
        )
    except Exception as error:  # noqa: BLE001 - pulumi.runtime.invoke raises nothing narrower
        raise pulumi.RunError(f"image family {IMAGE_FAMILY} can't be looked up: {refusal(str(error))}") from None
    if not found.images:
        raise pulumi.RunError(
            f"image family {IMAGE_FAMILY} has no image in this region: choose another alicloud:region"
        )
    return str(found.images[0].id)


def refusal(message: str) -> str:
    """What the cloud said, out of what the provider makes of it: its code and message, else the last line.

    Without colours, and without the query of a URL: it is long and signed.
    """
    text = re.sub(r"\x1b\[[0-9;]*m|(?<=/)\?[^\s\"]*", "", message)
    code, said = (re.search(rf"^\s*{name}: (.+)$", text, re.MULTILINE) for name in ("(?:Error)?Code", "Message"))
    if code is None:
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason was given")
        return (
            f"{last} (nothing listens where HTTP_PROXY leads; scripts/localcloud start)"
            if "proxyconnect" in last
            else last
        )
    words = f"{code[1].strip()}: {said[1].strip()}" if said else code[1].strip()
    keys = re.match(r"SignatureDoesNotMatch|IncompleteSignature|InvalidAccessKeyId|Forbidden", code[1])
    return f"{words} (check ALICLOUD_ACCESS_KEY and ALICLOUD_SECRET_KEY)" if keys else words


def _secret(value: pulumi.Output[str]) -> pulumi.Output[str]:
    secret: pulumi.Output[str] = pulumi.Output.secret(value)
    return secret


def boot_variables(stack: settings.Settings, oss_endpoint: str, hostname: str, role: InstanceRole) -> dict[str, str]:
    """What every user data template asks for: who the instance is, and where its configuration lies."""
    return {
        "hostname": hostname,
        "region": stack.region,
        "oss_endpoint": oss_endpoint,
        "config_bucket": stack.config_bucket,
        "config_key": role.config_key,
    }


def token_digests(credentials: Credentials, names: Iterable[str]) -> dict[str, pulumi.Output[str]]:
    """The digests of tokens by name: all that an instance that checks them needs."""
    return {name: credentials.tokens[name].apply(tokens.digest) for name in names}
