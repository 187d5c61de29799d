"""The OSS client against the local cloud."""

from __future__ import annotations

from pathlib import Path

import alibabacloud_oss_v2 as oss
import pytest

from serving.clients.oss import Bucket, OssError
from tests.infra.localcloud.conftest import Running, led, local  # noqa: F401 - fixtures

REGION = "cn-hangzhou"
ENDPOINT = f"https://oss-{REGION}.aliyuncs.com"

# The vendor's client leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def bucket(led: Running) -> Bucket:  # noqa: F811 - the fixture
    config = oss.config.load_default()
    config.region, config.endpoint = REGION, ENDPOINT
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(*led.key)
    writer = oss.Client(config)
    if not writer.is_bucket_exist("ragrec-test-bucket"):
        writer.put_bucket(oss.PutBucketRequest(bucket="ragrec-test-bucket"))
    for key in ("artifacts/one/ranker.json", "artifacts/one/more", "other"):
        writer.put_object(oss.PutObjectRequest(bucket="ragrec-test-bucket", key=key, body=key.encode()))
    return Bucket("ragrec-test-bucket", REGION, ENDPOINT)


def test_objects_are_listed_read_and_fetched(bucket: Bucket, tmp_path: Path) -> None:
    bucket.fetch("artifacts/one/ranker.json", tmp_path / "cache" / "ranker.json")

    assert list(bucket.keys("artifacts/")) == ["artifacts/one/more", "artifacts/one/ranker.json"]
    assert bucket.read("other") == b"other"
    assert (tmp_path / "cache" / "ranker.json").read_bytes() == b"artifacts/one/ranker.json"


def test_a_missing_object_is_named_and_leaves_no_file(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(OssError, match=r"oss://ragrec-test-bucket/absent: NoSuchKey") as caught:
        bucket.fetch("absent", tmp_path / "absent")

    assert caught.value.missing
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OssError) as caught:
        bucket.read("absent")
    assert caught.value.missing


def test_a_missing_bucket_is_no_missing_object(bucket: Bucket) -> None:
    with pytest.raises(OssError, match="NoSuchBucket") as caught:
        Bucket("ragrec-absent-bucket", REGION, ENDPOINT).read("key")

    assert not caught.value.missing


def test_a_wrong_secret_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "wrong")

    with pytest.raises(OssError, match="SignatureDoesNotMatch"):
        bucket.read("other")
