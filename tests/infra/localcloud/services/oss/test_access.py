"""Who gets at what: anonymous callers, roles, public access, other regions, signatures."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import requests

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # oss2's source has invalid escape sequences
    oss2 = importlib.import_module("oss2")

NAME = "ragrec-access"
URL = f"http://{NAME}.oss-cn-hangzhou.aliyuncs.com"
BLOCK = "<PublicAccessBlockConfiguration><BlockPublicAccess>{}</BlockPublicAccess></PublicAccessBlockConfiguration>"


@pytest.fixture
def bucket(led: Any) -> Iterator[Any]:
    known = oss2.Bucket(oss2.Auth(*led.key), "http://oss-cn-hangzhou.aliyuncs.com", NAME)
    known.create_bucket()
    known.put_object("a", b"text")
    yield known
    known.delete_object("a")
    known.delete_bucket()


def configure(bucket: Any, subresource: str, document: str) -> None:
    bucket._do("PUT", bucket.bucket_name, "", data=document, params={subresource: ""})


def code(answer: requests.Response) -> str:
    return answer.headers["x-oss-err-code"]


def test_private_is_private(bucket: Any) -> None:
    for url in (f"{URL}/a", f"{URL}/", "http://oss-cn-hangzhou.aliyuncs.com/"):
        answer = requests.get(url, timeout=10)
        assert (answer.status_code, code(answer)) == (403, "AccessDenied")
        assert answer.text.startswith("<?xml")
    assert requests.put(f"{URL}/b", data=b"x", timeout=10).status_code == 403
    assert requests.head(f"{URL}/a", timeout=10).status_code == 403


def test_public_access_is_blocked_until_it_is_allowed(bucket: Any) -> None:
    with pytest.raises(oss2.exceptions.AccessDenied):
        bucket.put_bucket_acl("public-read")
    configure(bucket, "publicAccessBlock", BLOCK.format("false"))
    bucket.put_bucket_acl("public-read")
    assert requests.get(f"{URL}/a", timeout=10).content == b"text"
    assert requests.put(f"{URL}/b", data=b"x", timeout=10).status_code == 403
    bucket.put_object_acl("a", "private")
    assert requests.get(f"{URL}/a", timeout=10).status_code == 403
    bucket.put_object_acl("a", "default")
    configure(bucket, "publicAccessBlock", BLOCK.format("true"))
    assert requests.get(f"{URL}/a", timeout=10).status_code == 403


def test_bucket_policies(bucket: Any) -> None:
    everybody = {
        "Effect": "Allow",
        "Action": ["oss:GetObject"],
        "Principal": ["*"],
        "Resource": [f"acs:oss:*:*:{NAME}/a"],
    }
    policy = json.dumps({"Version": "1", "Statement": [everybody]})
    with pytest.raises(oss2.exceptions.AccessDenied):
        bucket.put_bucket_policy(policy)
    configure(bucket, "publicAccessBlock", BLOCK.format("false"))
    bucket.put_bucket_policy(policy)
    assert json.loads(bucket.get_bucket_policy().policy) == json.loads(policy)
    assert requests.get(f"{URL}/a", timeout=10).content == b"text"
    assert requests.get(f"{URL}/b", timeout=10).status_code == 403
    bucket.delete_bucket_policy()
    with pytest.raises(oss2.exceptions.ServerError, match="InvalidPolicyDocument"):
        bucket.put_bucket_policy("{}")


def test_wrong_secrets(bucket: Any, led: Any) -> None:
    for make in (oss2.Auth, oss2.AuthV4):
        wrong = oss2.Bucket(
            make(led.key[0], "wrong"), "http://oss-cn-hangzhou.aliyuncs.com", NAME, region="cn-hangzhou"
        )
        with pytest.raises(oss2.exceptions.SignatureDoesNotMatch):
            wrong.get_object("a")
        nobody = oss2.Bucket(
            make("nobody", "wrong"), "http://oss-cn-hangzhou.aliyuncs.com", NAME, region="cn-hangzhou"
        )
        with pytest.raises(oss2.exceptions.ServerError, match="InvalidAccessKeyId"):
            nobody.get_object("a")


def test_other_regions(bucket: Any, led: Any) -> None:
    other = oss2.Bucket(oss2.Auth(*led.key), "http://oss-cn-beijing.aliyuncs.com", NAME)
    with pytest.raises(oss2.exceptions.AccessDenied, match="specified endpoint"):
        other.get_object("a")
    with pytest.raises(oss2.exceptions.ServerError, match="BucketAlreadyExists"):
        other.create_bucket()
    scoped = oss2.Bucket(oss2.AuthV4(*led.key), "http://oss-cn-hangzhou.aliyuncs.com", NAME, region="cn-beijing")
    with pytest.raises(oss2.exceptions.ServerError, match="Invalid signing region"):
        scoped.get_object("a")


@pytest.mark.parametrize(
    ("method", "key", "query", "status"),
    [
        ("GET", "", {"metaQuery": ""}, 400),
        ("PUT", "", {"replication": ""}, 400),
        ("GET", "a", {"x-oss-process": "image/resize,w_1"}, 400),
        ("PUT", "", {"cors": "", "acl": ""}, 400),
        ("POST", "a", {}, 405),
        ("POST", "a", {"restore": ""}, 400),
        ("GET", "", {"max-keys": "0"}, 400),
        ("GET", "", {"list-type": "3"}, 400),
    ],
)
def test_what_is_not_known_is_refused(bucket: Any, method: str, key: str, query: dict[str, str], status: int) -> None:
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        bucket._do(method, NAME, key, params=query)
    assert caught.value.status == status


def test_an_expired_url(bucket: Any) -> None:
    url = bucket.sign_url("GET", "a", -10)
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, code(answer)) == (403, "AccessDenied")
    assert "expired" in answer.text
