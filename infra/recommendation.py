"""Step 6, the recommendation service: an instance with the API, which `ServiceDeployment` gives a release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_alicloud as alicloud

from infra import cloudinit, settings
from infra.compute import ConfigFile, InstanceRole, RoleArgs, Server, ServerArgs, boot_variables, token_digests
from infra.release import digest, short
from infra.resources import search_security
from infra.resources.credentials import Credentials

PORT = 8080
SCOPES: Mapping[str, tuple[str, ...]] = {
    "deployer": ("deploy", "read", "metrics"),
    "application": ("read", "events"),
}
"""Whose token is good for what."""


@dataclass(frozen=True)
class RecommendationArgs:
    """What the service talks to."""

    settings: settings.Settings
    oss_endpoint: str
    switch: alicloud.vpc.Switch
    security_group: alicloud.ecs.SecurityGroup
    credentials: Credentials
    code_key: str
    search_url: str
    inference_url: str
    model: str
    pipeline: str
    airec_instance: pulumi.Input[str] | None


class Recommendation(pulumi.ComponentResource):
    """The service's instance; `url` is the API's, `instance_id` the name of it in every path.

    `revision` names its configuration: a new one is a new instance, to which the release is deployed again.
    """

    def __init__(self, name: str, args: RecommendationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ragrec:recommendation:Recommendation", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        stack = args.settings
        self.instance_id = stack.prefix
        self.address = address(stack.network)
        self.url = f"http://{self.address}:{PORT}"
        self.revision = self._revision(args)
        secrets = args.credentials
        role = InstanceRole(
            name,
            RoleArgs(
                prefix=stack.prefix,
                config_bucket=stack.config_bucket,
                revision=self.revision,
                files={
                    "/etc/ragrec/service.json": ConfigFile(
                        pulumi.Output.json_dumps(self._configuration(args, token_digests(secrets, SCOPES))),
                        "ragrec:ragrec",
                    ),
                    "/etc/ragrec/tls/ca.pem": ConfigFile(secrets.authority, "ragrec:ragrec"),
                    "/etc/ragrec/opensearch.password": ConfigFile(
                        secrets.passwords[search_security.SERVICE], "ragrec:ragrec"
                    ),
                    "/etc/ragrec/embeddings.token": ConfigFile(secrets.tokens["recommendation"], "ragrec:ragrec"),
                },
                readable=[f"{stack.data_bucket}/code/*", f"{stack.data_bucket}/artifacts/*"],
                statements=_airec_statements(args.airec_instance),
            ),
            opts=child,
        )
        hostname = f"{stack.prefix}-recommendation"
        self.server = Server(
            name,
            ServerArgs(
                hostname=hostname,
                instance_type=stack.service.instance_type,
                address=self.address,
                switch=args.switch,
                security_group=args.security_group,
                user_data=cloudinit.render(
                    "recommendation",
                    {
                        **boot_variables(stack, args.oss_endpoint, hostname, role),
                        "data_bucket": stack.data_bucket,
                        "code_key": args.code_key,
                    },
                ),
                role=role,
                system_disk_gb=stack.service.system_disk_gb,
                deletion_protection=stack.protect,
            ),
            opts=child,
        )
        self.register_outputs({"url": self.url, "instance": self.instance_id})

    def _revision(self, args: RecommendationArgs) -> str:
        """The digest of the configuration without what is secret or not known yet."""
        plain = self._configuration(args, dict.fromkeys(SCOPES))
        if "airec" in plain:
            plain["airec"] = args.settings.airec and args.settings.airec.model_dump(mode="json")
        return short(digest(service=plain))

    def _configuration(self, args: RecommendationArgs, digests: Mapping[str, Any]) -> dict[str, Any]:
        """``service.json``: secrets are in files beside it, tokens as digests."""
        stack = args.settings
        document: dict[str, Any] = {
            "instance": self.instance_id,
            "region": stack.region,
            "listen": {"address": self.address, "port": PORT},
            "state": "/var/lib/ragrec",
            "authentication": {
                "reads": stack.service.authentication,
                "tokens": [
                    {"name": name, "sha256": digests[name], "scopes": list(scopes)} for name, scopes in SCOPES.items()
                ],
            },
            "opensearch": {
                "url": args.search_url,
                "username": search_security.SERVICE,
                "password_file": "/etc/ragrec/opensearch.password",
                "ca_file": "/etc/ragrec/tls/ca.pem",
                "pipeline": args.pipeline,
            },
            "embeddings": {
                "url": args.inference_url,
                "model": args.model,
                "token_file": "/etc/ragrec/embeddings.token",
                "ca_file": "/etc/ragrec/tls/ca.pem",
            },
            # Histories fade in serving as they did in training.
            "limits": {"half_life_days": stack.training.trained.half_life_days},
            "artifacts": {"bucket": stack.data_bucket, "endpoint": f"https://{args.oss_endpoint}"},
        }
        if args.airec_instance is not None and stack.airec is not None:
            document["airec"] = {"instance_id": args.airec_instance, "scene_id": stack.airec.scene_id}
        return document


def address(network: settings.Network) -> str:
    """The instance's fixed address, in the first zone."""
    return network.address(0, 30)


def _airec_statements(instance: pulumi.Input[str] | None) -> list[Mapping[str, object]]:
    if instance is None:
        return []
    resource = pulumi.Output.concat("acs:airec:*:*:instance/", instance)
    return [{"Effect": "Allow", "Action": ["airec:Recommend"], "Resource": [resource]}]
