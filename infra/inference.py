"""Step 3, inference: the trained model in TorchServe on an instance, behind the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_alicloud as alicloud

from infra import cloudinit, settings
from infra.compute import ConfigFile, InstanceRole, RoleArgs, Server, ServerArgs, boot_variables, token_digests
from infra.release import digest, short
from infra.resources.credentials import Credentials

PORT = 8443
TOKENS = ("indexer", "search", "recommendation")
"""Who calls the gateway, each with an own token: the index build, ml-commons, the recommendation service."""


@dataclass(frozen=True)
class InferenceArgs:
    """Where the model and the code lie, and what the instance is."""

    settings: settings.Settings
    oss_endpoint: str
    switch: alicloud.vpc.Switch
    security_group: alicloud.ecs.SecurityGroup
    credentials: Credentials
    code_key: str
    model_key: str
    """The model archive's key in the data bucket."""
    model: str
    """The name that clients ask for."""


class Inference(pulumi.ComponentResource):
    """The inference instance; `url` is the gateway's."""

    def __init__(self, name: str, args: InferenceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ragrec:inference:Inference", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        stack = args.settings
        self.address = address(stack.network)
        self.url = f"https://{self.address}:{PORT}"
        role = InstanceRole(
            name,
            RoleArgs(
                prefix=stack.prefix,
                config_bucket=stack.config_bucket,
                revision=short(digest(gateway=self._configuration(args, dict.fromkeys(TOKENS)))),
                files={
                    "/etc/ragrec/gateway.json": ConfigFile(
                        pulumi.Output.json_dumps(self._configuration(args, token_digests(args.credentials, TOKENS))),
                        "ragrec:ragrec",
                    ),
                    "/etc/ragrec/tls/gateway.pem": ConfigFile(
                        args.credentials.certificates["inference"], "ragrec:ragrec"
                    ),
                    "/etc/ragrec/tls/gateway.key": ConfigFile(args.credentials.keys["inference"], "ragrec:ragrec"),
                },
                readable=[f"{stack.data_bucket}/code/*", f"{stack.data_bucket}/artifacts/*"],
            ),
            opts=child,
        )
        hostname = f"{stack.prefix}-inference"
        self.server = Server(
            name,
            ServerArgs(
                hostname=hostname,
                instance_type=stack.inference.instance_type,
                address=self.address,
                switch=args.switch,
                security_group=args.security_group,
                user_data=cloudinit.render(
                    "inference",
                    {
                        **boot_variables(stack, args.oss_endpoint, hostname, role),
                        "data_bucket": stack.data_bucket,
                        "code_key": args.code_key,
                        "model_key": args.model_key,
                    },
                ),
                role=role,
                system_disk_gb=stack.inference.system_disk_gb,
                deletion_protection=stack.protect,
            ),
            opts=child,
        )
        self.register_outputs({"url": self.url})

    def _configuration(self, args: InferenceArgs, digests: Mapping[str, Any]) -> dict[str, Any]:
        """``gateway.json``: it holds digests of tokens, never tokens."""
        return {
            "listen": {
                "address": self.address,
                "port": PORT,
                "tls": {"certificate": "/etc/ragrec/tls/gateway.pem", "key": "/etc/ragrec/tls/gateway.key"},
            },
            "tokens": [{"name": name, "sha256": digests[name]} for name in TOKENS],
            "model": {"name": args.model},
            "torchserve": {"key_file": "/var/log/torchserve/key_file.json"},
        }


def address(network: settings.Network) -> str:
    """The instance's fixed address, in the first zone."""
    return network.address(0, 20)
