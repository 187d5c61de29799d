"""The STS service: assuming roles, by calls and for the metadata service."""

from __future__ import annotations

import re
from typing import ClassVar

from infra.localcloud.credentials import load_credentials
from infra.localcloud.keys import AccessKeys, RoleCredentials
from infra.localcloud.policy import parse_policy, trusts
from infra.localcloud.service import ApiError, ApiService, Call, Cloud, Reply, operation
from infra.localcloud.services.ram import records
from infra.localcloud.store import Document

SHORTEST_SESSION = 900  # seconds
_SESSION_NAME = re.compile(r"[A-Za-z0-9.@_-]{2,64}")
_ROLE_ARN = re.compile(r"acs:ram::(\d+):role/([A-Za-z0-9.-]+)")


class StsService(ApiService):
    """STS 2015-04-01."""

    name: ClassVar[str] = "sts"
    versions: ClassVar[tuple[str, ...]] = ("2015-04-01",)
    hosts: ClassVar[tuple[str, ...]] = (r"sts(-vpc)?(\.[a-z0-9-]+)?\.aliyuncs\.com",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self._keys = AccessKeys(cloud.store, load_credentials(cloud.directory))

    def issue_role_credentials(
        self, role_name: str, seconds: int, *, service: str = "ecs.aliyuncs.com"
    ) -> RoleCredentials:
        """Temporary credentials for an instance or a job, when the role's trust policy lets `service` assume it.

        Raises:
            ApiError: there is no such role, or it doesn't trust the service.
        """
        role = self._role(role_name)
        if not trusts(parse_policy(role["AssumeRolePolicyDocument"], trust=True), "Service", service):
            raise ApiError(403, "NoPermission", f"The role {role_name} does not trust the service {service}.")
        return self._keys.issue(role["RoleName"], seconds, session=service.partition(".")[0])

    @operation(
        "AssumeRole",
        required=("RoleArn", "RoleSessionName"),
        optional=("DurationSeconds", "Policy", "ExternalId", "SourceIdentity", "RegionId"),
        note="a session policy (Policy) is refused",
    )
    def assume_role(self, call: Call) -> Reply:
        """Issues temporary credentials of a role that trusts the caller."""
        match = _ROLE_ARN.fullmatch(call.parameters["RoleArn"])
        if match is None:
            raise ApiError(400, "InvalidParameter.RoleArn", "The parameter RoleArn is wrongly formed.")
        session = call.parameters["RoleSessionName"]
        if not _SESSION_NAME.fullmatch(session):
            raise ApiError(
                400, "InvalidParameter.RoleSessionName", "The parameter RoleSessionName is wrongly formed."
            )
        for name in ("Policy", "ExternalId", "SourceIdentity"):
            if call.parameters.get(name):
                raise ApiError(400, f"InvalidParameter.{name}", f"The local cloud does not support {name}.")
        if match[1] != self.cloud.account_id:
            raise ApiError(403, "NoPermission", "The role belongs to another account.")
        role = self._role(match[2])
        statements = parse_policy(role["AssumeRolePolicyDocument"], trust=True)
        account = f"acs:ram::{self.cloud.account_id}:root"
        if not trusts(statements, "RAM", call.identity.arn) and not trusts(statements, "RAM", account):
            raise ApiError(
                403,
                "NoPermission",
                "You are not authorized to do this action. You should be authorized by RAM, and the role's trust"
                " policy must name you.",
            )
        issued = self._keys.issue(role["RoleName"], _duration(call, role), session=session)
        return {
            "Credentials": {
                "AccessKeyId": issued.access_key_id,
                "AccessKeySecret": issued.access_key_secret,
                "SecurityToken": issued.security_token,
                "Expiration": issued.expiration,
            },
            "AssumedRoleUser": {
                "Arn": f"acs:ram::{self.cloud.account_id}:role/{role['RoleName']}/{session}",
                "AssumedRoleId": f"{role['RoleId']}:{session}",
            },
        }

    @operation("GetCallerIdentity", optional=("RegionId",))
    def get_caller_identity(self, call: Call) -> Reply:
        """Tells who signed the call."""
        account = self.cloud.account_id
        if call.identity.kind == "role":
            role = self._role(call.identity.role_name)
            session = self._keys.session(call.identity.access_key_id)
            return {
                "IdentityType": "AssumedRoleUser",
                "AccountId": account,
                "RoleId": role["RoleId"],
                "PrincipalId": f"{role['RoleId']}:{session}",
                "UserId": role["RoleId"],
                "Arn": f"acs:ram::{account}:assumed-role/{role['RoleName']}/{session}",
            }
        return {
            "IdentityType": "Account",
            "AccountId": account,
            "PrincipalId": account,
            "UserId": account,
            "Arn": f"acs:ram::{account}:root",
        }

    def _role(self, name: str) -> Document:
        for known, role in records.roles(self.cloud.store).items():
            if known.lower() == name.lower():
                return role
        raise ApiError(404, "EntityNotExist.Role", f"The specified Role not exists: {name}.")


def _duration(call: Call, role: Document) -> int:
    text = call.parameters.get("DurationSeconds") or "3600"
    longest = int(role["MaxSessionDuration"])
    if not text.isdigit() or not SHORTEST_SESSION <= int(text) <= longest:
        raise ApiError(
            400,
            "InvalidParameter.DurationSeconds",
            f"The Min/Max value of DurationSeconds is {SHORTEST_SESSION}/{longest}.",
        )
    return int(text)
