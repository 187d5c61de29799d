"""The access keys that signatures are verified with: the account's own and the temporary ones of roles."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from infra.localcloud.credentials import RootCredentials, new_access_key_id, random_text
from infra.localcloud.service import Identity
from infra.localcloud.signing import AccessKey
from infra.localcloud.store import Store

KEEP_EXPIRED = dt.timedelta(hours=1)  # so that a late call is told "expired" and not "unknown key"


_TEMPORARY = "sts.credentials"


@dataclass(frozen=True)
class RoleCredentials:
    """Temporary credentials of an assumed role."""

    access_key_id: str
    access_key_secret: str
    security_token: str
    expires: dt.datetime  # UTC

    def __repr__(self) -> str:
        return f"RoleCredentials(access_key_id={self.access_key_id!r}, expires={self.expires!r})"

    @property
    def expiration(self) -> str:
        """The end in the vendor's form, ``2026-01-31T12:00:00Z``."""
        return self.expires.strftime("%Y-%m-%dT%H:%M:%SZ")


class AccessKeys:
    """The key ring of one account."""

    def __init__(self, store: Store, root: RootCredentials) -> None:
        self._root = root
        self._temporary = store.collection(_TEMPORARY)

    def find(self, access_key_id: str) -> AccessKey | None:
        """The key with that id, expired temporary ones included for an hour, or None."""
        root = self._root
        if access_key_id == root.access_key_id:
            return AccessKey(
                access_key_id, root.access_key_secret, Identity(root.account_id, access_key_id, "account")
            )
        document = self._temporary.get(access_key_id)
        if document is None:
            return None
        return AccessKey(
            access_key_id,
            document["secret"],
            Identity(root.account_id, access_key_id, "role", document["role"]),
            document["token"],
            dt.datetime.fromisoformat(document["expires"]),
        )

    def issue(self, role_name: str, seconds: int, *, session: str = "") -> RoleCredentials:
        """New temporary credentials of a role; the caller has checked that it may be assumed."""
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        for key, document in self._temporary.items():
            if dt.datetime.fromisoformat(document["expires"]) + KEEP_EXPIRED < now:
                self._temporary.delete(key)
        issued = RoleCredentials(
            new_access_key_id("STS.NT"), random_text(44), random_text(256), now + dt.timedelta(seconds=seconds)
        )
        self._temporary.put(
            issued.access_key_id,
            {
                "secret": issued.access_key_secret,
                "token": issued.security_token,
                "role": role_name,
                "session": session,
                "expires": issued.expires.isoformat(),
            },
        )
        return issued

    def session(self, access_key_id: str) -> str:
        """The session name that temporary credentials were issued for."""
        document = self._temporary.get(access_key_id)
        return str(document["session"]) if document else ""


def is_issued(store: Store, access_key_id: str) -> bool:
    """Whether temporary credentials still are of use: their role may have been deleted."""
    return store.collection(_TEMPORARY).get(access_key_id) is not None


def revoke(store: Store, role_name: str) -> None:
    """Forgets a role's temporary credentials: the role was deleted."""
    temporary = store.collection(_TEMPORARY)
    for key, document in temporary.items():
        if document["role"] == role_name:
            temporary.delete(key)
