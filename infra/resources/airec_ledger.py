"""What was pushed into an AIRec instance: AIRec can't be asked, so the data bucket remembers."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import alibabacloud_oss_v2 as oss
from alibabacloud_oss_v2.exceptions import OperationError

from infra.resources.cloud import oss_error, read_object
from serving.clients.openapi import ApiError


@dataclass
class Ledger:
    """Rows in AIRec, so that an update pushes only what changed and a deletion finds everything.

    Attributes:
        items: fingerprint by id (ours).
        users: likewise.
        behaviors: how many lines of the interactions were pushed, from the first on.
        behaviors_digest: of those lines.
        last: time of the newest of them, seconds since 1970.
        skipped: how many rows were left out because their ids don't fit.
        content: digest of what a finished synchronisation brought here; empty while one is under way.
    """

    items: dict[str, str] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    behaviors: int = 0
    behaviors_digest: str = ""
    last: int = 0
    skipped: int = 0
    content: str = ""


class LinesDigest:
    """Digest of interactions in their order, line by line."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, lines: Iterable[bytes]) -> str:
        """Goes on with these lines; returns the digest of all so far."""
        for line in lines:
            self._hash.update(line + b"\n")
        return self._hash.hexdigest()


class LedgerFile:
    """The ledger's object in the data bucket."""

    def __init__(self, client: oss.Client, bucket: str, instance_id: str) -> None:
        self._client = client
        self._bucket = bucket
        self.key = f"airec/{instance_id}/ledger.json.gz"

    def load(self) -> Ledger | None:
        """The ledger; None when nothing was pushed, or when the bucket is gone.

        Raises:
            ApiError: it can't be read, or doesn't hold a ledger.
        """
        try:
            content = read_object(self._client, self._bucket, self.key)
        except ApiError as error:
            if error.code == "NoSuchBucket":
                return None
            raise
        if content is None:
            return None
        try:
            return Ledger(**json.loads(gzip.decompress(content)))
        except (OSError, ValueError, TypeError) as error:
            place = f"oss://{self._bucket}/{self.key}"
            message = f"is damaged ({error}): delete it, and the next update pushes everything again"
            raise ApiError(place, 200, "", message) from error

    def save(self, ledger: Ledger) -> None:
        """Writes the ledger.

        Raises:
            ApiError: refused, or no answer.
        """
        content = gzip.compress(json.dumps(asdict(ledger), separators=(",", ":")).encode(), mtime=0)
        try:
            self._client.put_object(oss.PutObjectRequest(bucket=self._bucket, key=self.key, body=content))
        except OperationError as error:
            raise oss_error(f"write oss://{self._bucket}/{self.key}", error) from error

    def remove(self) -> None:
        """Deletes the ledger; fine when it isn't there.

        Raises:
            ApiError: refused, or no answer.
        """
        try:
            self._client.delete_object(oss.DeleteObjectRequest(bucket=self._bucket, key=self.key))
        except OperationError as error:
            translated = oss_error(f"delete oss://{self._bucket}/{self.key}", error)
            if not translated.not_found:
                raise translated from error
