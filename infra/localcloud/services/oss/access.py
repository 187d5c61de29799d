"""Who may do what with a bucket: RAM policies, the bucket's policy and ACL, blocked public access."""

from __future__ import annotations

from infra.localcloud.authorization import context, decide
from infra.localcloud.policy import Access, Statement, evaluate, matches, parse_policy
from infra.localcloud.service import ApiError, Identity
from infra.localcloud.services.oss.catalogue import Catalogue
from infra.localcloud.store import Document
from infra.localcloud.wire import Request

ACLS = ("private", "public-read", "public-read-write")
PUBLIC_READ = frozenset({"oss:GetObject", "oss:ListObjects"})
PUBLIC_WRITE = frozenset({"oss:PutObject", "oss:DeleteObject", "oss:AbortMultipartUpload"})


class AccessControl:
    """Decides over calls to one account's OSS."""

    def __init__(self, catalogue: Catalogue, account_id: str) -> None:
        self._catalogue = catalogue
        self._account_id = account_id

    def require(
        self, request: Request, identity: Identity | None, action: str, bucket: str, key: str, region: str
    ) -> None:
        """Lets an action pass.

        Raises:
            ApiError: AccessDenied.
        """
        if identity is not None and identity.kind == "account":
            return
        name = f"{bucket}/{key}" if key else bucket or "*"
        asked = Access(
            action, f"acs:oss:oss-{region}:{self._account_id}:{name}", context(request.source_ip, request.scheme)
        )
        record = self._catalogue.buckets.get(bucket) if bucket else None
        by_bucket = evaluate(_concerning(record, identity, self._account_id), asked)
        by_identity = decide(self._catalogue.store, identity, asked) if identity else "none"
        if "deny" in (by_bucket, by_identity):
            raise _denied(identity, asked)
        if "allow" in (by_bucket, by_identity) or (record and self._public(record, key, action)):
            return
        raise _denied(identity, asked)

    def _public(self, record: Document, key: str, action: str) -> bool:
        if record["blockPublicAccess"]:
            return False
        acl = record["acl"]
        if key:
            versions = (self._catalogue.objects(record["name"]).get(key) or {"versions": []})["versions"]
            own = versions[0].get("acl", "default") if versions else "default"
            acl = acl if own == "default" else own
        if acl == "public-read-write":
            return action in PUBLIC_READ | PUBLIC_WRITE
        return bool(acl == "public-read" and action in PUBLIC_READ)


def is_public(statements: tuple[Statement, ...]) -> bool:
    """Whether a bucket policy opens the bucket to everybody."""
    return any(
        each.effect == "Allow" and any(name == "*" for _, name in each.principals) and not each.conditions
        for each in statements
    )


def _concerning(record: Document | None, identity: Identity | None, account_id: str) -> list[Statement]:
    text = record.get("policy", "") if record else ""
    if not text or record is None:
        return []
    names = ["*"]
    if identity is not None:
        names += [identity.account_id, f"arn:sts::{account_id}:assumed-role/{identity.role_name}/session"]
    statements = parse_policy(text, bucket=True)
    if record["blockPublicAccess"] and is_public(statements):
        return [each for each in statements if each.effect == "Deny"]
    return [
        each for each in statements if any(matches(pattern, name) for _, pattern in each.principals for name in names)
    ]


def _denied(identity: Identity | None, asked: Access) -> ApiError:
    who = identity.arn if identity else "anonymous"
    return ApiError(
        403,
        "AccessDenied",
        f"You have no right to access this object: {who} needs {asked.action} on {asked.resource}.",
    )
