"""The account of the local cloud and its root access key, generated when they are first needed."""

from __future__ import annotations

import json
import secrets
import string
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.localcloud.files import locked, write_private

ACCOUNT_ID = "1080521900720001"  # fixed, so that stacks can name it in their configuration
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class RootCredentials:
    """The account's identifier and the access key that may do everything."""

    account_id: str
    access_key_id: str
    access_key_secret: str

    def __repr__(self) -> str:
        return f"RootCredentials(account_id={self.account_id!r}, access_key_id={self.access_key_id!r})"


def load_credentials(folder: Path) -> RootCredentials:
    """The credentials kept in ``credentials.json`` of `folder`; written there (mode 0600) when missing.

    Raises:
        ValueError: the file isn't what this function wrote.
    """
    path = folder / "credentials.json"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(folder / "credentials.lock"):
        if not path.exists():
            created = RootCredentials(ACCOUNT_ID, new_access_key_id("LTAI5t"), random_text(30))
            write_private(path, json.dumps(asdict(created), indent=2).encode() + b"\n")
        try:
            return RootCredentials(**json.loads(path.read_bytes()))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}); remove it to get a new access key") from error


def new_access_key_id(prefix: str) -> str:
    """An access key id: ``LTAI5t`` starts those of accounts and users, ``STS.`` temporary ones."""
    return prefix + random_text(18)


def random_text(length: int) -> str:
    """Random letters and digits from the system's source."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
