"""Credentials, retries and errors of OpenAPI calls; the metadata service and the API are real servers here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_tea_openapi.client import Client
from alibabacloud_tea_openapi.utils_models import OpenApiRequest, Params
from darabonba.runtime import RuntimeOptions

from serving.clients import openapi
from serving.clients.instance_role import InstanceRole
from serving.clients.openapi import ApiError, Target, call

Answer = tuple[int, str]


@contextmanager
def server(answers: dict[str, list[Answer]], asked: list[str]) -> Iterator[str]:
    """Gives each path its answers in turn, the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("http://api.aliyuncs.com")
            asked.append(f"{self.command} {path}")
            left = answers[path]
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_GET  # noqa: N815 - the base class's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def keys(name: str, *, hours: float = 1.0) -> Answer:
    expires = datetime.now(UTC) + timedelta(hours=hours)
    document = {
        "Code": "Success",
        "AccessKeyId": name,
        "AccessKeySecret": "secret",
        "SecurityToken": "token",
        "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return 200, json.dumps(document)


def metadata(*rows: Answer) -> dict[str, list[Answer]]:
    base = "/latest/meta-data/ram/security-credentials/"
    return {"/latest/api/token": [(200, "t")], base: [(200, "role\n")], f"{base}role": list(rows)}


def test_the_role_is_asked_directly_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    asked: list[str] = []
    with server(metadata(keys("first"), keys("second")), asked) as url:
        role = InstanceRole(url)
        assert [role.get_credentials().get_access_key_id() for _ in range(3)] == ["first"] * 3
    assert asked[0] == "PUT /latest/api/token"
    assert len(asked) == 3


def test_keys_are_renewed_before_they_end_and_used_until_then() -> None:
    with server(metadata(keys("first", hours=0.1), keys("second")), []) as url:
        role = InstanceRole(url)
        assert role.get_credentials().get_access_key_id() == "first"
        assert role.get_credentials().get_access_key_id() == "second"
    with server(metadata(keys("short", hours=0.1), (500, "")), []) as url:
        role = InstanceRole(url)
        assert [role.get_credentials().get_access_key_id() for _ in range(2)] == ["short", "short"]


def test_no_role_is_one_error() -> None:
    with server({"/latest/api/token": [(404, "")]}, []) as url:
        with pytest.raises(CredentialException) as caught:
            InstanceRole(url).get_credentials()
        assert "no role from the metadata service" in caught.value.message


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret")
    assert openapi.credentials().get_credential().access_key_id == "key"
    monkeypatch.setenv("ALIBABA_CLOUD_SECURITY_TOKEN", "token")
    assert openapi.credentials().get_credential().security_token == "token"


def test_without_keys_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
    openapi._other_sources.cache_clear()
    try:
        with pytest.raises(ApiError, match=r"set ALIBABA_CLOUD_ACCESS_KEY_ID .*cli_profile") as caught:
            call("Probe", lambda: openapi.credentials().get_credential())
        assert (caught.value.status, caught.value.transient) == (401, False)
    finally:
        openapi._other_sources.cache_clear()


def probe(monkeypatch: pytest.MonkeyPatch, answers: list[Answer], attempts: int = 5) -> tuple[object, int]:
    """Calls an API that gives these answers; the result, and how often it was asked."""
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret")
    asked: list[str] = []
    with server({"/probe": answers}, asked) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        client = Client(Target("cn-hangzhou", "HTTP").config("api.aliyuncs.com"))
        params = Params(
            action="Probe",
            version="2020-01-01",
            protocol="HTTP",
            pathname="/probe",
            method="GET",
            auth_type="AK",
            style="ROA",
            req_body_type="json",
            body_type="json",
        )

        def send() -> object:
            return client.call_api(params, OpenApiRequest(), RuntimeOptions())["body"]

        try:
            result: object = call("Probe", send, attempts=attempts)
        except ApiError as error:
            result = error
    return result, len(asked)


def test_server_errors_and_throttling_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = (503, '{"Code": "ServiceUnavailable", "Message": "down"}')
    throttled = (400, '{"Code": "Throttling.User", "Message": "slow down"}')
    assert probe(monkeypatch, [failure, throttled, (200, '{"ok": true}')]) == ({"ok": True}, 3)


def test_refusals_are_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    error, count = probe(monkeypatch, [(403, '{"Code": "NoPermission", "Message": "not allowed"}')])
    assert isinstance(error, ApiError)
    assert (error.status, error.code, count) == (403, "NoPermission", 1)
    assert str(error).startswith("Probe: NoPermission: not allowed")


def test_an_absent_service_is_told_after_the_last_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret")
    error, count = probe(monkeypatch, [(502, "not JSON")], attempts=2)
    assert isinstance(error, ApiError)
    assert (error.status, count) == (0, 2)
