"""Roles and policies as they lie in the store, and what a role may do by them."""

from __future__ import annotations

from infra.localcloud.policy import Statement, parse_policy
from infra.localcloud.services.ram.system_policies import SYSTEM_POLICIES
from infra.localcloud.store import Collection, Document, Store

POLICY_TYPES = ("Custom", "System")


def roles(store: Store) -> Collection:
    """Role documents by role name."""
    return store.collection("ram.role")


def policies(store: Store) -> Collection:
    """Custom policies by name."""
    return store.collection("ram.policy")


def default_version(policy: Document) -> Document:
    """The version of a custom policy that is in force."""
    found: Document = next(version for version in policy["versions"] if version["IsDefaultVersion"])
    return found


def policy_document(store: Store, policy_type: str, name: str) -> str | None:
    """The text in force of a policy, or None when there is no such policy."""
    if policy_type == "System":
        return SYSTEM_POLICIES.get(name)
    policy = policies(store).get(name)
    return None if policy is None else str(default_version(policy)["PolicyDocument"])


def statements_of_role(store: Store, role_name: str) -> list[Statement]:
    """Every statement of the policies attached to a role; none when the role is gone."""
    role = roles(store).get(role_name)
    texts = [policy_document(store, kind, name) for kind, name in (role["Attached"] if role else [])]
    return [statement for text in texts if text is not None for statement in parse_policy(text)]
