"""Who may do what in OpenSearch: the security plugin's files, which a cluster reads when it first starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

ADMIN = "admin"
LOADER = "loader"
SERVICE = "service"
USERS = (ADMIN, LOADER, SERVICE)
"""The users of a cluster: the operator, the managed resources, the recommendation service."""

FOLDER = "opensearch-security"
"""Where the files lie, below the configuration folder."""

_INDICES = ["items", "items-*", "users", "users-*"]

ROLES: dict[str, Any] = {
    "ragrec_loader": {
        "cluster_permissions": [
            "cluster_monitor",
            "cluster_composite_ops",
            "cluster:admin/search/pipeline/*",
            "cluster:admin/opensearch/ml/*",
            "indices:data/read/scroll*",
        ],
        "index_permissions": [{"index_patterns": _INDICES, "allowed_actions": ["*"]}],
    },
    "ragrec_service": {
        "cluster_permissions": [
            "cluster:monitor/main",
            "cluster:monitor/health",
            "cluster_composite_ops",
            "cluster:admin/search/pipeline/get",
            "cluster:admin/opensearch/ml/predict",
            "cluster:admin/opensearch/ml/models/get",
        ],
        "index_permissions": [
            {
                "index_patterns": ["items", "items-*"],
                "allowed_actions": ["read", "indices:admin/get", "indices:admin/mappings/get", "indices_monitor"],
            },
            {
                "index_patterns": ["users", "users-*"],
                "allowed_actions": ["crud", "indices:admin/get", "indices:admin/mappings/get", "indices_monitor"],
            },
        ],
    },
}


def files(hashes: Mapping[str, str]) -> dict[str, str]:
    """Text of each security file by its path below the configuration folder.

    Args:
        hashes: bcrypt hash of the password of each of `USERS`.

    Raises:
        ValueError: a user has no hash.
    """
    if missing := [user for user in USERS if user not in hashes]:
        raise ValueError(f"no password hash for {', '.join(missing)}")
    documents: dict[str, tuple[str, dict[str, Any]]] = {
        "config.yml": ("config", {"config": {"dynamic": _AUTHENTICATION}}),
        "internal_users.yml": (
            "internalusers",
            {user: {"hash": hashes[user], "reserved": user == ADMIN} for user in USERS},
        ),
        "roles.yml": ("roles", ROLES),
        "roles_mapping.yml": (
            "rolesmapping",
            {
                "all_access": {"reserved": True, "users": [ADMIN]},
                "ragrec_loader": {"users": [LOADER]},
                "ragrec_service": {"users": [SERVICE]},
            },
        ),
        "action_groups.yml": ("actiongroups", {}),
        "tenants.yml": ("tenants", {}),
        "nodes_dn.yml": ("nodesdn", {}),
        "allowlist.yml": ("allowlist", {"config": {"enabled": False}}),
        "whitelist.yml": ("whitelist", {"config": {"enabled": False}}),
        "audit.yml": ("audit", {"config": {"enabled": False}}),
    }
    return {
        f"{FOLDER}/{name}": yaml.safe_dump({"_meta": {"type": kind, "config_version": 2}, **content}, sort_keys=False)
        for name, (kind, content) in documents.items()
    }


_AUTHENTICATION: dict[str, Any] = {
    "http": {"anonymous_auth_enabled": False, "xff": {"enabled": False}},
    "authc": {
        "basic": {
            "http_enabled": True,
            "transport_enabled": True,
            "order": 0,
            "http_authenticator": {"type": "basic", "challenge": True},
            "authentication_backend": {"type": "intern"},
        }
    },
    "authz": {},
}
