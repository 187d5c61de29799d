"""The port and the sockets: plain HTTP, TLS, CONNECT, bodies in every form, hosts that aren't served."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.localcloud.files import unix_address

HOST = "ecs.cn-hangzhou.aliyuncs.com"
UNSIGNED = "IncompleteSignature"


def exchange(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_health_on_the_address_itself(local: Any) -> None:
    reply = requests.get(f"{local.proxy}/.localcloud/health", timeout=10).json()
    assert (reply["status"], reply["account_id"]) == ("ok", local.cloud.account_id)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxied_requests_are_answered_by_the_host(led: Any, scheme: str) -> None:
    answer = requests.get(f"{scheme}://sts.cn-hangzhou.aliyuncs.com/?Action=GetCallerIdentity", timeout=10)
    assert (answer.status_code, answer.json()["Code"]) == (400, UNSIGNED)
    assert answer.json()["HostId"] == "sts.cn-hangzhou.aliyuncs.com"


def test_tls_without_a_proxy(local: Any) -> None:
    context = ssl.create_default_context(cafile=local.bundle)
    for name in ("oss-cn-hangzhou.aliyuncs.com", "a-bucket.oss-cn-hangzhou.aliyuncs.com", "127.0.0.1"):
        with (
            socket.create_connection(("127.0.0.1", local.server.port)) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            request = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
            assert exchange(tls, request).startswith(b"HTTP/1.1 ")


def test_an_untrusting_client_gets_no_further(local: Any) -> None:
    context = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", local.server.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain, server_hostname=HOST)


def test_nothing_is_relayed_to_other_hosts(led: Any) -> None:
    answer = requests.get("http://example.com/", timeout=10)
    assert (answer.status_code, answer.json()["Code"]) == (502, "HostNotServed")
    with socket.create_connection(("127.0.0.1", led.server.port)) as raw:
        machine = b"GET http://127.80.1.10:8080/ HTTP/1.1\r\nHost: 127.80.1.10:8080\r\nConnection: close\r\n\r\n"
        assert b"HostNotServed" in exchange(raw, machine)
    with pytest.raises(requests.exceptions.ProxyError, match="502"):
        requests.get("https://example.com/", timeout=10)


def test_hosts_without_a_service(led: Any) -> None:
    answer = requests.get("http://kms.cn-hangzhou.aliyuncs.com/", timeout=10)
    assert (answer.status_code, answer.json()["Code"]) == (404, "InvalidHost.NotFound")


def test_keep_alive_and_pipelines(local: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", local.server.port)
    for _ in range(3):
        connection.request("GET", "/.localcloud/health")
        assert json.loads(connection.getresponse().read())["status"] == "ok"
    connection.close()
    one = b"GET /.localcloud/health HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(("127.0.0.1", local.server.port)) as raw:
        assert exchange(raw, one + b"\r\n" + one + b"Connection: close\r\n\r\n").count(b'"status":"ok"') == 2


def test_malformed_requests_are_answered(local: Any) -> None:
    with socket.create_connection(("127.0.0.1", local.server.port)) as raw:
        assert exchange(raw, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    with socket.create_connection(("127.0.0.1", local.server.port)) as raw:
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (64 << 10)
        assert exchange(raw, head).startswith(b"HTTP/1.1 431")


def test_chunked_bodies_and_100_continue(led: Any, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"0123456789" * (300 << 10))
    url = f"http://127.0.0.1:{led.server.port}/a-bucket-that-is-not-there/key"
    for options in (["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"]):
        command = ["curl", "-s", "--max-time", "20", "-w", "%{http_code}", *options, "-T", str(content), url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "NoSuchBucket" in done.stdout
        assert done.stdout.endswith("404")
    assert not led.cloud.paths.spool.exists() or not list(led.cloud.paths.spool.iterdir())


def test_the_unix_socket_serves_the_same(local: Any) -> None:
    with socket.socket(socket.AF_UNIX) as connection, unix_address(local.cloud.paths.socket) as address:
        connection.connect(address)
        request = f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
        assert exchange(connection, request).startswith(b"HTTP/1.1 4")
    for path in (local.cloud.paths.socket, local.cloud.paths.metadata_socket):
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_metadata_socket_names_the_machine(local: Any) -> None:
    with socket.socket(socket.AF_UNIX) as connection, unix_address(local.cloud.paths.metadata_socket) as address:
        connection.connect(address)
        head = b"i-unknown\nGET /latest/meta-data/instance-id HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        assert exchange(connection, head).startswith(b"HTTP/1.1 404")


def test_oss_by_address_and_path(local: Any) -> None:
    answer = requests.get(f"{local.proxy}/not-there/key", timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/xml")
