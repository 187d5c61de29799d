"""Buckets and objects through the official SDKs, unmodified, through the proxy and TLS."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss
import pytest
import requests

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # oss2's source has invalid escape sequences
    import oss2

ENDPOINT = "oss-cn-hangzhou.aliyuncs.com"
REGION = "cn-hangzhou"
_numbers = itertools.count()


def client(version: str, scheme: str, bucket: str, key: tuple[str, str], token: str = "") -> oss2.Bucket:
    if token:
        auth: Any = oss2.StsAuth(*key, token, auth_version=oss2.AUTH_VERSION_4 if version == "v4" else "v1")
    else:
        auth = oss2.AuthV4(*key) if version == "v4" else oss2.Auth(*key)
    return oss2.Bucket(auth, f"{scheme}://{ENDPOINT}", bucket, region=REGION)


@pytest.fixture(params=[("v1", "http"), ("v4", "http"), ("v4", "https")], ids=lambda p: "-".join(p))
def bucket(request: pytest.FixtureRequest, led: Any) -> Iterator[oss2.Bucket]:
    version, scheme = request.param
    known = client(version, scheme, f"ragrec-test-{next(_numbers)}", led.key)
    known.create_bucket()
    yield known
    left = known.list_object_versions()
    for each in [*left.versions, *left.delete_marker]:
        known.delete_object(each.key, params={"versionId": each.versionid})
    known.delete_bucket()


def test_put_get_head_delete(bucket: oss2.Bucket) -> None:
    headers = {"x-oss-meta-owner": "ragrec", "Content-Type": "text/plain", "x-oss-tagging": "a=1"}
    put = bucket.put_object("raw/ä b+c.txt", "hello", headers=headers)
    assert put.etag == hashlib.md5(b"hello").hexdigest().upper()
    got = bucket.get_object("raw/ä b+c.txt")
    assert got.read() == b"hello"
    assert got.headers["x-oss-meta-owner"] == "ragrec"
    head = bucket.head_object("raw/ä b+c.txt")
    assert (head.content_length, head.content_type, head.object_type) == (5, "text/plain", "Normal")
    assert bucket.get_object_tagging("raw/ä b+c.txt").tag_set.tagging_rule == {"a": "1"}
    bucket.delete_object("raw/ä b+c.txt")
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.get_object("raw/ä b+c.txt")
    with pytest.raises(oss2.exceptions.NotFound):
        bucket.head_object("raw/ä b+c.txt")


def test_ranges_and_conditions(bucket: oss2.Bucket) -> None:
    etag = bucket.put_object("a", b"0123456789").etag
    assert bucket.get_object("a", byte_range=(2, 4)).read() == b"234"
    assert bucket.get_object("a", byte_range=(None, 3)).read() == b"789"
    assert bucket.get_object("a", byte_range=(8, None)).read() == b"89"
    assert bucket.get_object("a", byte_range=(20, 30)).read() == b"0123456789"
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        bucket.get_object("a", headers={"If-Match": '"0000"'})
    with pytest.raises(oss2.exceptions.NotModified):
        bucket.get_object("a", headers={"If-None-Match": etag})
    with pytest.raises(oss2.exceptions.ServerError, match="FileAlreadyExists"):
        bucket.put_object("a", b"other", headers={"x-oss-forbid-overwrite": "true"})
    assert bucket.get_object("a").read() == b"0123456789"


def test_a_wrong_digest_leaves_nothing(bucket: oss2.Bucket) -> None:
    with pytest.raises(oss2.exceptions.InvalidDigest):
        bucket.put_object("a", b"text", headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    assert not bucket.object_exists("a")


def test_listings(bucket: oss2.Bucket) -> None:
    for name in ("a/1", "a/2", "b/1", "c"):
        bucket.put_object(name, name)
    assert [each.key for each in oss2.ObjectIterator(bucket, max_keys=1)] == ["a/1", "a/2", "b/1", "c"]
    assert [each.key for each in oss2.ObjectIteratorV2(bucket, max_keys=2)] == ["a/1", "a/2", "b/1", "c"]
    page = bucket.list_objects(delimiter="/")
    assert (page.prefix_list, [each.key for each in page.object_list]) == (["a/", "b/"], ["c"])
    assert [each.key for each in oss2.ObjectIterator(bucket, delimiter="/", max_keys=1)] == ["a/", "b/", "c"]
    assert [each.key for each in oss2.ObjectIteratorV2(bucket, prefix="a/")] == ["a/1", "a/2"]
    assert bucket.batch_delete_objects(["a/1", "a/2", "gone"]).deleted_keys == ["a/1", "a/2", "gone"]
    assert [each.key for each in oss2.ObjectIterator(bucket)] == ["b/1", "c"]


def test_copy_and_append(bucket: oss2.Bucket) -> None:
    bucket.put_object("a", b"text", headers={"x-oss-meta-x": "1"})
    bucket.copy_object(bucket.bucket_name, "a", "b")
    assert bucket.get_object("b").read() == b"text"
    assert bucket.head_object("b").headers["x-oss-meta-x"] == "1"
    first = bucket.append_object("log", 0, b"one ")
    bucket.append_object("log", first.next_position, b"two")
    assert bucket.get_object("log").read() == b"one two"
    with pytest.raises(oss2.exceptions.PositionNotEqualToLength):
        bucket.append_object("log", 1, b"x")


def test_multipart(bucket: oss2.Bucket) -> None:
    parts, content = [], [b"x" * (200 << 10), b"y" * (200 << 10), b"z"]
    upload_id = bucket.init_multipart_upload("big").upload_id
    for number, part in enumerate(content, 1):
        etag = bucket.upload_part("big", upload_id, number, part).etag
        parts.append(oss2.models.PartInfo(number, etag))
    assert [each.upload_id for each in oss2.MultipartUploadIterator(bucket)] == [upload_id]
    assert [each.size for each in oss2.PartIterator(bucket, "big", upload_id)] == [len(part) for part in content]
    done = bucket.complete_multipart_upload("big", upload_id, parts)
    assert done.etag.endswith("-3")
    assert bucket.get_object("big").read() == b"".join(content)
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.upload_part("big", upload_id, 1, b"late")
    other = bucket.init_multipart_upload("other").upload_id
    bucket.abort_multipart_upload("other", other)
    assert list(oss2.MultipartUploadIterator(bucket)) == []


def test_versions(bucket: oss2.Bucket) -> None:
    bucket.put_object("a", b"before")
    bucket.put_bucket_versioning(oss2.models.BucketVersioningConfig("Enabled"))
    second = bucket.put_object("a", b"second").versionid
    bucket.delete_object("a")
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.get_object("a")
    assert bucket.get_object("a", params={"versionId": second}).read() == b"second"
    assert bucket.get_object("a", params={"versionId": "null"}).read() == b"before"
    listed = bucket.list_object_versions()
    assert [each.versionid for each in listed.versions] == [second, "null"]
    assert [each.is_latest for each in listed.delete_marker] == [True]
    bucket.delete_object("a", params={"versionId": listed.delete_marker[0].versionid})
    assert bucket.get_object("a").read() == b"second"
    with pytest.raises(oss2.exceptions.BucketNotEmpty):
        bucket.delete_bucket()


def test_presigned_urls(bucket: oss2.Bucket, led: Any) -> None:
    bucket.put_object("a b", b"text")
    url = bucket.sign_url("GET", "a b", 60, slash_safe=True)
    assert requests.get(url, timeout=10).content == b"text"
    assert requests.get(url.replace("a%20b", "a%20c"), timeout=10).status_code == 403
    put = bucket.sign_url("PUT", "up", 60)
    assert requests.put(put, data=b"new", timeout=10).status_code == 200
    assert bucket.get_object("up").read() == b"new"


def test_bucket_configuration(bucket: oss2.Bucket) -> None:
    info = bucket.get_bucket_info()
    assert (info.acl.grant, info.location, info.storage_class) == ("private", "oss-cn-hangzhou", "Standard")
    bucket.put_bucket_encryption(oss2.models.ServerSideEncryptionRule("AES256"))
    assert bucket.get_bucket_encryption().sse_algorithm == "AES256"
    assert bucket.put_object("a", b"x").headers["x-oss-server-side-encryption"] == "AES256"
    bucket.delete_bucket_encryption()
    with pytest.raises(oss2.exceptions.NoSuchServerSideEncryptionRule):
        bucket.get_bucket_encryption()
    tagging = oss2.models.Tagging()
    tagging.tag_set.add("project", "ragrec")
    bucket.put_bucket_tagging(tagging)
    assert bucket.get_bucket_tagging().tag_set.tagging_rule == {"project": "ragrec"}
    with pytest.raises(oss2.exceptions.NoSuchLifecycle):
        bucket.get_bucket_lifecycle()
    with pytest.raises(oss2.exceptions.ServerError, match="BucketPolicy"):
        bucket.get_bucket_policy()
    assert bucket.get_bucket_stat().object_count == 1
    names = [
        each.name for each in oss2.BucketIterator(oss2.Service(bucket.auth, f"http://{ENDPOINT}", region=REGION))
    ]
    assert bucket.bucket_name in names


def test_a_large_object_stays_out_of_memory(led: Any, tmp_path: Path) -> None:
    known = client("v4", "http", "ragrec-large", led.key)
    known.create_bucket()
    source = tmp_path / "model.mar"
    with source.open("wb") as file:
        for number in range(130):
            file.write(bytes([number]) * (1 << 20))
    known.put_object_from_file("model.mar", str(source))
    known.get_object_to_file("model.mar", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    oss2.resumable_upload(
        known, "parts.mar", str(source), multipart_threshold=1 << 20, part_size=20 << 20, num_threads=2
    )
    assert known.head_object("parts.mar").content_length == 130 << 20
    spool = led.cloud.paths.spool
    assert not spool.exists() or list(spool.iterdir()) == []
    known.batch_delete_objects(["model.mar", "parts.mar"])
    known.delete_bucket()


def new_client(led: Any, **more: Any) -> oss.Client:
    provider = oss.credentials.StaticCredentialsProvider(*led.key)
    return oss.Client(oss.Config(region=REGION, credentials_provider=provider, proxy_host=led.proxy, **more))


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_the_second_generation_of_the_sdk(led: Any, version: str) -> None:
    known = new_client(led, disable_ssl=version == "v1", signature_version=version)
    name = f"ragrec-next-{version}"
    known.put_bucket(oss.PutBucketRequest(bucket=name))
    assert known.is_bucket_exist(name)
    known.put_object(oss.PutObjectRequest(bucket=name, key="a/ü", body=b"text", metadata={"x": "1"}))
    got = known.get_object(oss.GetObjectRequest(bucket=name, key="a/ü"))
    assert (got.body.read(), got.metadata) == (b"text", {"x": "1"})
    assert known.is_object_exist(name, "a/ü")
    assert not known.is_object_exist(name, "b")
    listed = [
        each.key
        for page in known.list_objects_v2_paginator().iter_page(oss.ListObjectsV2Request(bucket=name))
        for each in page.contents
    ]
    assert listed == ["a/ü"]
    url = known.presign(oss.GetObjectRequest(bucket=name, key="a/ü")).url
    assert requests.get(url, timeout=10).content == b"text"
    blocked = known.get_bucket_public_access_block(oss.GetBucketPublicAccessBlockRequest(bucket=name))
    assert blocked.public_access_block_configuration.block_public_access is True
    known.delete_object(oss.DeleteObjectRequest(bucket=name, key="a/ü"))
    known.delete_bucket(oss.DeleteBucketRequest(bucket=name))
    assert not known.is_bucket_exist(name)
