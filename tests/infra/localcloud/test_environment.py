"""What clients are given, before the local cloud ever ran."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest

from infra.localcloud.certificates import CertificateAuthority
from infra.localcloud.credentials import load_credentials
from infra.localcloud.environment import client_environment


def test_it_works_before_the_first_start(tmp_path: Path) -> None:
    environment = client_environment(tmp_path / "state")
    assert environment["HTTP_PROXY"] == environment["https_proxy"] == "http://127.0.0.1:7780"
    assert environment["ALICLOUD_ACCESS_KEY"] == environment["OSS_ACCESS_KEY_ID"]
    assert environment == client_environment(tmp_path / "state")
    bundle = Path(environment["SSL_CERT_FILE"]).read_text()
    assert (tmp_path / "state/localcloud/ca.pem").read_text() in bundle
    assert bundle.count("BEGIN CERTIFICATE") > 1


def test_the_authority_and_the_key_stay(tmp_path: Path) -> None:
    first, second = (CertificateAuthority(tmp_path).certificate_path.read_bytes() for _ in range(2))
    assert first == second
    assert load_credentials(tmp_path) == load_credentials(tmp_path)
    assert load_credentials(tmp_path).access_key_secret not in repr(load_credentials(tmp_path))
    assert {
        path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.suffix in (".key", ".json")
    } == {
        "ca.key": 0o600,
        "credentials.json": 0o600,
    }


def test_damaged_credentials_are_named(tmp_path: Path) -> None:
    load_credentials(tmp_path)
    (tmp_path / "credentials.json").write_text(json.dumps({"account_id": "1"}))
    with pytest.raises(ValueError, match=r"credentials\.json is damaged"):
        load_credentials(tmp_path)


def test_certificates_are_for_host_names_only(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    assert isinstance(authority.context("a.oss-cn-hangzhou.aliyuncs.com"), ssl.SSLContext)
    assert authority.context("127.0.0.1") is authority.context("127.0.0.1")
    with pytest.raises(ValueError, match="not a host name"):
        authority.context("../../etc/passwd")
