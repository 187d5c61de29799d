"""What an identity may do: the account everything, a role what its policies say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from infra.localcloud.policy import Access, Decision, evaluate
from infra.localcloud.service import Identity
from infra.localcloud.services.ram.records import statements_of_role
from infra.localcloud.store import Store


def decide(store: Store, identity: Identity, access: Access) -> Decision:
    """The decision of the identity's own policies."""
    if identity.kind == "account":
        return "allow"
    if identity.kind == "role":
        return evaluate(statements_of_role(store, identity.role_name), access)
    return "none"


def context(source_ip: str, scheme: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The context keys that every request has for the conditions of policies."""
    return {
        "acs:SourceIp": source_ip,
        "acs:SecureTransport": "true" if scheme == "https" else "false",
        "acs:CurrentTime": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **(more or {}),
    }
