"""The raw data in OSS: checked, brought into the contract's form, and uploaded as far as it changed."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss
import pulumi
from alibabacloud_oss_v2.exceptions import OperationError
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from infra.resources.cloud import (
    CloudProvider,
    changed,
    failures,
    is_unknown,
    known,
    list_objects,
    oss_client,
    oss_error,
    read_object,
)
from model.data import DataError, open_dataset, write_contract

MANIFEST = "MANIFEST.json"
_SHA256 = "sha256"  # the object's metadata that tells its content
_INPUTS = ("source", "digest", "bucket", "prefix")
Properties = dict[str, Any]


@dataclass(frozen=True)
class DataSetArgs:
    """Inputs of `DataSet`.

    Attributes:
        source: folder in one of the formats that `model.data` reads.
        digest: of its content, ``model.data.open_dataset(source).digest``: what decides whether anything is uploaded.
        bucket: where to.
        prefix: of the keys; nothing else lives under it.
    """

    source: str
    digest: str
    bucket: pulumi.Input[str]
    prefix: str = "raw/"


@dataclass(frozen=True)
class Stored:
    """An object as it lies in the bucket; `sha256` is empty when somebody else put it there."""

    size: int
    sha256: str


def validate(properties: Mapping[str, Any]) -> dict[str, str]:
    """Problems by property; what isn't known yet is no problem. The policy pack calls this too."""
    problems = {}
    if "digest" in properties and not re.fullmatch(r"[0-9a-f]{64}", str(properties["digest"])):
        problems["digest"] = f"is {properties['digest']!r}; give the 64 hex digits of open_dataset(source).digest"
    if "prefix" in properties and not re.fullmatch(r"([\w.-]+/)+", str(properties["prefix"])):
        problems["prefix"] = f"is {properties['prefix']!r}; it must end with a slash, for example raw/"
    if "bucket" in properties and not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", str(properties["bucket"])):
        problems["bucket"] = f"is {properties['bucket']!r}; 3 to 63 lower-case letters, digits and hyphens"
    if properties.get("source") == "":
        problems["source"] = "is empty; name the folder with the data"
    return problems


def plan(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Steps from what is recorded to what is wanted, in words; empty when there is nothing to do."""
    where = f"oss://{new['bucket']}/{new['prefix']}"
    if not old:
        return [f"check {new['source']}", f"upload it to {where}"]
    if not changed(old, new, ("digest", "bucket", "prefix")):
        return []
    size = sum(entry["size"] for entry in (old.get("objects") or {}).values())
    was = f"data set {str(old.get('digest'))[:12]}" if old.get("digest") else "incomplete objects"
    return [
        f"check {new['source']}",
        f"replace {was} ({size / 1e6:.1f} MB) in {where} by {new['digest'][:12]}: changed objects only",
    ]


def difference(wanted: Mapping[str, Stored], found: Mapping[str, Stored]) -> tuple[list[str], list[str]]:
    """Names of the objects to upload, in the order given, and of those to remove."""
    upload = [name for name, content in wanted.items() if found.get(name) != content]
    return upload, sorted(name for name in found if name not in wanted)


class DataSetProvider(CloudProvider):
    """Keeps the objects under one prefix."""

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Refuses malformed names."""
        return CheckResult(news, failures(validate(known(news))))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Compares digests; where the source lies on this machine is no difference."""
        if is_unknown(news):
            return DiffResult(changes=True)
        for step in (steps := plan(olds, news)):
            pulumi.log.info(step)
        return DiffResult(changes=bool(steps), replaces=changed(olds, news, ("bucket", "prefix")))

    def create(self, props: Properties) -> CreateResult:
        """Uploads what isn't there yet."""
        return CreateResult(f"{props['bucket']}/{props['prefix']}", self._stage(props))

    def update(self, _id: str, _olds: Properties, news: Properties) -> UpdateResult:
        """Uploads what changed and removes what is gone; the manifest says which data set it is, and goes last."""
        return UpdateResult(self._stage(news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """What lies in the bucket; the digest is empty unless every object is as its manifest says."""
        client = oss_client(self.cloud())
        found = stored(client, props["bucket"], props["prefix"])
        if not found:
            return ReadResult("", {})
        content = read_object(client, props["bucket"], props["prefix"] + MANIFEST)
        outs = {
            **{name: props[name] for name in _INPUTS},
            "digest": manifest_digest(content, found),
            "objects": _plain(found),
        }
        return ReadResult(id_, outs, {name: outs[name] for name in _INPUTS})

    def delete(self, _id: str, props: Properties) -> None:
        """Removes the objects, the manifest first: what is left of an interrupted removal says so."""
        client = oss_client(self.cloud())
        bucket, prefix = props["bucket"], props["prefix"]
        keys = [key for key, _, _ in list_objects(client, bucket, prefix)]
        for key in sorted(keys, key=lambda key: key != prefix + MANIFEST):
            _remove(client, bucket, key)

    def _stage(self, props: Properties) -> Properties:
        data = open_dataset(props["source"])
        data.progress = lambda name, count: pulumi.log.info(f"{name}: {count:,} records checked")
        if data.digest != props["digest"]:
            raise DataError(
                f"{props['source']}: changed since the preview; run `pulumi up` again when it is complete"
            )
        for warning in data.summary.warnings:
            pulumi.log.info(f"{props['source']}: {warning}")
        client = oss_client(self.cloud())
        bucket, prefix = props["bucket"], props["prefix"]
        with tempfile.TemporaryDirectory(prefix="ragrec-stage-") as folder:
            write_contract(data, Path(folder))
            wanted = local(Path(folder))
            upload, removed = difference(wanted, stored(client, bucket, prefix))
            total = sum(wanted[name].size for name in upload)
            for name in upload:
                pulumi.log.info(f"uploading {prefix}{name}, {wanted[name].size / 1e6:.1f} of {total / 1e6:.1f} MB")
                _upload(client, bucket, prefix + name, Path(folder, name), wanted[name])
            for name in removed:
                _remove(client, bucket, prefix + name)
        pulumi.log.info(
            f"staged data set {props['digest'][:12]}: {len(upload)} objects uploaded, {len(removed)} removed"
        )
        return {**{name: props[name] for name in _INPUTS}, "objects": _plain(wanted)}


class DataSet(Resource, module="ragrec", name="DataSet"):
    """Staged data.

    Attributes:
        digest: of the content.
        objects: size and SHA-256 of each object, by its name below the prefix.
    """

    digest: pulumi.Output[str]
    bucket: pulumi.Output[str]
    prefix: pulumi.Output[str]
    objects: pulumi.Output[dict[str, Any]]

    def __init__(self, name: str, args: DataSetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(DataSetProvider(), name, {**vars(args), "objects": None}, opts)


def local(folder: Path) -> dict[str, Stored]:
    """The files of a folder by name, the manifest last."""
    paths = sorted((path for path in folder.iterdir() if path.is_file()), key=lambda p: (p.name == MANIFEST, p.name))
    return {path.name: Stored(path.stat().st_size, _sha256(path)) for path in paths}


def stored(client: oss.Client, bucket: str, prefix: str) -> dict[str, Stored]:
    """The objects below a prefix by name, with the digests that their metadata tell.

    Raises:
        ApiError: the bucket isn't there, or refuses.
    """
    found = {}
    for key, _, size in list_objects(client, bucket, prefix):
        try:
            head = client.head_object(oss.HeadObjectRequest(bucket=bucket, key=key))
        except OperationError as error:
            raise oss_error(f"head oss://{bucket}/{key}", error) from error
        metadata = {str(name).lower(): str(value) for name, value in (head.metadata or {}).items()}
        found[key.removeprefix(prefix)] = Stored(size, metadata.get(_SHA256, ""))
    return found


def manifest_digest(content: bytes | None, found: Mapping[str, Stored]) -> str:
    """The data set that a manifest names, or nothing when an object is missing or differs from what it says."""
    if content is None:
        return ""
    try:
        manifest = json.loads(content)
        files = {name: Stored(entry["size"], entry["sha256"]) for name, entry in manifest["files"].items()}
        digest = str(manifest["digest"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    objects = {name: content for name, content in found.items() if name != MANIFEST}
    return digest if objects == files else ""


def _upload(client: oss.Client, bucket: str, key: str, path: Path, content: Stored) -> None:
    request = oss.PutObjectRequest(bucket=bucket, key=key, metadata={_SHA256: content.sha256})
    try:
        # In parts where it is large; each part is tried again by itself.
        client.uploader(part_size=64 * 1024 * 1024, parallel_num=3).upload_file(request, str(path))
    except OperationError as error:
        raise oss_error(f"write oss://{bucket}/{key}", error) from error


def _remove(client: oss.Client, bucket: str, key: str) -> None:
    try:
        client.delete_object(oss.DeleteObjectRequest(bucket=bucket, key=key))
    except OperationError as error:
        raise oss_error(f"delete oss://{bucket}/{key}", error) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(objects: Mapping[str, Stored]) -> dict[str, dict[str, Any]]:
    return {name: vars(content) for name, content in objects.items()}
