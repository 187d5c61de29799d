"""Step 1, storage: two private, encrypted buckets, the staged data and the code that jobs and instances run."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_alicloud as alicloud

from infra.resources.data_set import DataSet, DataSetArgs

TRAINING_CODE = ("model", "serving/torchserve/handler.py", "requirements.lock")
"""What a training job runs, relative to the project's root: a change of it is a new artifact."""
SERVING_CODE = ("model", "serving", "requirements.lock")
"""What instances run."""


class PrivateBucket(pulumi.ComponentResource):
    """A bucket that nobody outside of the account can read, encrypted at rest."""

    def __init__(
        self, name: str, bucket: str, *, force_destroy: bool, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ragrec:storage:PrivateBucket", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.name = bucket
        self.bucket = alicloud.oss.Bucket(
            name,
            bucket=bucket,
            force_destroy=force_destroy,
            server_side_encryption_rule=alicloud.oss.BucketServerSideEncryptionRuleArgs(sse_algorithm="AES256"),
            opts=child,
        )
        after = pulumi.ResourceOptions(parent=self, depends_on=[self.bucket])
        alicloud.oss.BucketAcl(name, bucket=bucket, acl="private", opts=after)
        alicloud.oss.BucketPublicAccessBlock(name, bucket=bucket, block_public_access=True, opts=after)
        self.register_outputs({"name": bucket})


@dataclass(frozen=True)
class Code:
    """An archive of code, the same bytes for the same files."""

    name: str
    path: Path
    digest: str

    @property
    def key(self) -> str:
        """Where it lies in the data bucket."""
        return f"code/{self.name}-{self.digest[:12]}.tar.gz"


def archive_code(name: str, root: Path, parts: Sequence[str], target: Path) -> Code:
    """Packs `parts` of `root` reproducibly into the folder `target`; does nothing when it is there already."""
    files = sorted(
        path
        for part in parts
        for path in ([root / part] if (root / part).is_file() else (root / part).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    )
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in files:
            entry = tarfile.TarInfo(str(path.relative_to(root)))
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha256(plain.getvalue()).hexdigest()
    path = target / f"{name}-{digest[:12]}.tar.gz"
    if not path.exists():
        target.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(gzip.compress(plain.getvalue(), mtime=0))
        unfinished.replace(path)
    return Code(name, path, digest)


@dataclass(frozen=True)
class StorageArgs:
    """Names, and what goes in."""

    data_bucket: str
    config_bucket: str
    source: Path
    """Folder with the documents and interactions."""
    source_digest: str
    codes: Sequence[Code]
    force_destroy: bool
    """Whether `pulumi destroy` may delete buckets that still hold objects."""


class Storage(pulumi.ComponentResource):
    """Buckets, raw data and code."""

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ragrec:storage:Storage", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.data = PrivateBucket("data", args.data_bucket, force_destroy=args.force_destroy, opts=child)
        self.config = PrivateBucket("config", args.config_bucket, force_destroy=args.force_destroy, opts=child)
        after = pulumi.ResourceOptions(parent=self, depends_on=[self.data])
        self.raw = DataSet(
            "raw",
            DataSetArgs(source=str(args.source), digest=args.source_digest, bucket=args.data_bucket, prefix="raw/"),
            opts=after,
        )
        self.codes = [
            alicloud.oss.BucketObject(
                f"code-{code.name}",
                bucket=args.data_bucket,
                key=code.key,
                source=str(code.path),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[self.data], ignore_changes=["source"]),
            )
            for code in args.codes
        ]
        self.register_outputs({"data": args.data_bucket, "config": args.config_bucket})
