"""Every signature form, right and wrong, made by the vendor's own code where it can be."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import importlib
from collections.abc import Callable
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from darabonba.exceptions import DaraException

from infra.localcloud.service import ApiError, Identity
from infra.localcloud.signing import AccessKey, Verifier
from infra.localcloud.signing.oss_address import OssAddress, parse_address
from infra.localcloud.signing.rpc import sign, string_to_sign
from infra.localcloud.wire import Body, Request
from tests.infra.localcloud import clients

NOW = dt.datetime(2026, 1, 31, 12, 0, 0, tzinfo=dt.UTC)
SECRET = "secret"
IDENTITY = Identity("1", "LTAI", "account")


class Keys:
    """One permanent key and one temporary key."""

    def find(self, access_key_id: str) -> AccessKey | None:
        if access_key_id == "LTAI":
            return AccessKey("LTAI", SECRET, IDENTITY)
        if access_key_id == "STS":
            return AccessKey("STS", SECRET, IDENTITY, "token", NOW + dt.timedelta(minutes=1))
        return None


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(Keys(), now=lambda: NOW)


def rpc_request(spool: Path, change: Callable[[dict[str, str]], None] | None = None, **more: str) -> Request:
    parameters = {
        "Action": "DescribeVpcs",
        "AccessKeyId": "LTAI",
        "SignatureNonce": "n",
        "Timestamp": "2026-01-31T12:00:00Z",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "Format": "JSON",
        "Name": "a b*~/ü",
        **more,
    }
    parameters["Signature"] = sign(SECRET, string_to_sign("GET", parameters))
    if change:
        change(parameters)
    return Request("GET", "http", "vpc.aliyuncs.com", "/", urlencode(parameters), {}, Body(spool))


def code_of(verifier: Verifier, request: Request) -> str:
    with pytest.raises(ApiError) as caught:
        verifier.verify_api(request)
    return caught.value.code


def test_the_worked_example_of_the_vendor() -> None:
    """https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism"""
    parameters = {
        "Timestamp": "2016-02-23T12:46:24Z",
        "Format": "XML",
        "AccessKeyId": "testid",
        "Action": "DescribeRegions",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf",
        "Version": "2014-05-26",
        "SignatureVersion": "1.0",
    }
    assert sign("testsecret", string_to_sign("GET", parameters)) == "OLeaidS1JvxuMvnyHOwuJ+uX5qY="


def test_a_good_rpc_signature(verifier: Verifier, tmp_path: Path) -> None:
    assert verifier.verify_api(rpc_request(tmp_path)) == IDENTITY


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p: p.update(Name="other"), "SignatureDoesNotMatch"),
        (lambda p: p.update(Signature="ü"), "SignatureDoesNotMatch"),
        (lambda p: p.update(AccessKeyId="nobody"), "InvalidAccessKeyId.NotFound"),
        (lambda p: p.update(Timestamp="2026-01-31T12:20:00Z"), "InvalidTimeStamp.Expired"),
        (lambda p: p.update(Timestamp="yesterday"), "InvalidTimeStamp.Expired"),
        (lambda p: p.pop("SignatureNonce"), "MissingSignatureNonce"),
        (lambda p: p.update(SignatureMethod="HMAC-MD5"), "InvalidParameter.SignatureMethod"),
        (lambda p: p.pop("Signature"), "IncompleteSignature"),
        (lambda p: p.update(SecurityToken="token"), "InvalidSecurityToken.MismatchWithAccessKey"),
    ],
)
def test_bad_rpc_signatures(verifier: Verifier, tmp_path: Path, change: Any, code: str) -> None:
    assert code_of(verifier, rpc_request(tmp_path, change)) == code


def test_a_nonce_is_good_once(verifier: Verifier, tmp_path: Path) -> None:
    verifier.verify_api(rpc_request(tmp_path))
    assert code_of(verifier, rpc_request(tmp_path)) == "SignatureNonceUsed"
    assert verifier.verify_api(rpc_request(tmp_path, SignatureNonce="other")) == IDENTITY


def test_tokens(tmp_path: Path) -> None:
    verifier = Verifier(Keys(), now=lambda: NOW)
    assert verifier.verify_api(rpc_request(tmp_path, SecurityToken="token", AccessKeyId="STS")) == IDENTITY
    assert code_of(verifier, rpc_request(tmp_path, AccessKeyId="STS")) == "MissingSecurityToken"
    late = Verifier(Keys(), now=lambda: NOW + dt.timedelta(minutes=2))
    assert (
        code_of(late, rpc_request(tmp_path, SecurityToken="token", AccessKeyId="STS"))
        == "InvalidSecurityToken.Expired"
    )


def roa_request(spool: Path, signature_secret: str = SECRET, body: bytes = b"{}") -> Request:
    headers = {
        "accept": "application/json",
        "content-type": "application/json",
        "content-md5": base64.b64encode(hashlib.md5(b"{}").digest()).decode(),
        "date": format_datetime(NOW, usegmt=True),
        "x-acs-signature-nonce": "n",
        "x-acs-version": "2021-02-04",
    }
    lines = ["POST", *(headers[name] for name in ("accept", "content-md5", "content-type", "date"))]
    lines += ["x-acs-signature-nonce:n", "x-acs-version:2021-02-04", "/api/v1/jobs?a=1&b"]
    digest = hmac.digest(signature_secret.encode(), "\n".join(lines).encode(), "sha1")
    headers["authorization"] = f"acs LTAI:{base64.b64encode(digest).decode()}"
    return Request("POST", "http", "h", "/api/v1/jobs", "b=&a=1", headers, Body.of(body, spool))


def test_roa_signatures(verifier: Verifier, tmp_path: Path) -> None:
    assert verifier.verify_api(roa_request(tmp_path)) == IDENTITY
    assert code_of(verifier, roa_request(tmp_path, "wrong")) == "SignatureDoesNotMatch"
    assert code_of(verifier, roa_request(tmp_path, body=b"[]")) == "ContentMD5NotMatched"


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("oss-cn-hangzhou.aliyuncs.com", "/", OssAddress("", "", "cn-hangzhou", virtual_host=False)),
        ("a.oss-cn-hangzhou.aliyuncs.com", "/k%20/x", OssAddress("a", "k /x", "cn-hangzhou", virtual_host=True)),
        ("a.oss-cn-hangzhou-internal.aliyuncs.com", "/", OssAddress("a", "", "cn-hangzhou", virtual_host=True)),
        ("127.0.0.1", "/a/k", OssAddress("a", "k", "", virtual_host=False)),
    ],
)
def test_oss_addresses(host: str, path: str, expected: OssAddress) -> None:
    assert parse_address(host, path) == expected


def test_wrong_secrets_through_the_sdks(led: Any) -> None:
    wrong = (led.key[0], "wrong")
    with pytest.raises(DaraException, match="SignatureDoesNotMatch"):
        clients.sts(led, key=wrong).get_caller_identity()
    with pytest.raises(DaraException, match="SignatureDoesNotMatch"):
        clients.sts(led, key=wrong, signature_algorithm="v2").get_caller_identity()
    with pytest.raises(DaraException, match=r"InvalidAccessKeyId\.NotFound"):
        clients.sts(led, key=("LTAInobody", "wrong")).get_caller_identity()


@pytest.mark.parametrize("scheme", ["HTTP", "HTTPS"])
@pytest.mark.parametrize("algorithm", ["v2", "ACS3-HMAC-SHA256"])
def test_both_signatures_of_the_current_sdk(led: Any, scheme: str, algorithm: str) -> None:
    client = clients.sts(led, scheme=scheme, signature_algorithm=algorithm)
    assert client.get_caller_identity().body.account_id == led.cloud.account_id


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_first_generation_of_the_sdk(led: Any, method: str) -> None:
    client = importlib.import_module("aliyunsdkcore.client").AcsClient(*led.key, clients.REGION)
    request = importlib.import_module("aliyunsdkcore.request").CommonRequest(
        domain="sts.cn-hangzhou.aliyuncs.com", version="2015-04-01", action_name="GetCallerIdentity"
    )
    request.set_method(method)
    assert led.cloud.account_id.encode() in client.do_action_with_exception(request)


def test_unknown_actions_parameters_and_versions(led: Any) -> None:
    def code(version: str, action: str, **query: str) -> tuple[int, str]:
        with pytest.raises(DaraException) as caught:
            clients.call(led, "ram.aliyuncs.com", version, action, query)
        return caught.value.data["statusCode"], caught.value.data["Code"]

    assert code("2015-05-01", "CreateLoginProfile") == (404, "InvalidAction.NotFound")
    assert code("2015-05-01", "GetRole", RoleName="x", Surprise="1") == (400, "InvalidParameter")
    assert code("2015-05-01", "GetRole") == (400, "MissingRoleName")
    assert code("2015-05-01", "ListRoles", Format="XML") == (400, "InvalidParameter.Format")
    assert code("2014-01-01", "GetRole", RoleName="x") == (400, "InvalidVersion")


def test_a_changed_body_is_noticed(led: Any) -> None:
    digest = hashlib.sha256(b"a=1").hexdigest()
    headers = {
        "Authorization": f"ACS3-HMAC-SHA256 Credential={led.key[0]},SignedHeaders=host;x-acs-action;"
        "x-acs-content-sha256;x-acs-date;x-acs-version,Signature=00",
        "x-acs-action": "GetCallerIdentity",
        "x-acs-version": "2015-04-01",
        "x-acs-date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": "changed-body",
        "x-acs-content-sha256": digest,
    }
    answer = requests.post("http://sts.aliyuncs.com/", data=b"a=2", headers=headers, timeout=10).json()
    assert answer["Code"] == "SignatureDoesNotMatch"
    assert "x-acs-content-sha256" in answer["Message"]
