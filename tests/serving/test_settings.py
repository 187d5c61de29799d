from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from serving.gateway.settings import Settings as GatewaySettings
from serving.recommendation.settings import Settings
from serving.settings import SettingsError, load
from serving.tokens import digest

SERVICE: dict[str, Any] = {
    "instance": "ragrec-dev",
    "region": "cn-hangzhou",
    "listen": {"address": "127.0.0.1", "port": 8080},
    "state": "/var/lib/ragrec/recommendation",
    "authentication": {
        "reads": "none",
        "tokens": [{"name": "stack", "sha256": digest("t"), "scopes": ["deploy", "events"]}],
    },
    "opensearch": {"url": "https://127.80.1.20:9200", "username": "service", "password_file": "/etc/ragrec/password"},
    "embeddings": {"url": "https://127.80.1.10:8443", "token_file": "/etc/ragrec/token"},
    "artifacts": {"bucket": "data"},
    "airec": {"instance_id": "airec-cn-1", "scene_id": "main", "protocol": "HTTP"},
}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(*path: str, to: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(SERVICE))
    *parents, name = path
    part = copy
    for parent in parents:
        part = part[parent]
    if to is ...:
        del part[name]
    else:
        part[name] = to
    return copy


def test_a_services_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path / "service.json", SERVICE), Settings)

    assert settings.opensearch.pipeline == "ragrec-hybrid"
    assert (settings.limits.k, settings.limits.k_max) == (10, 100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Invalid JSON"),
        (changed("instance", to=...), "instance: Field required"),
        (changed("instance", to="Über"), "instance: String should match"),
        (changed("listen", "port", to="8080"), "listen.port: Input should be a valid integer"),
        (changed("listen", "port", to=70000), "listen.port: Input should be less than or equal to 65535"),
        (changed("listen", "address", to="somewhere"), "listen.address: 'somewhere' is not an IP address"),
        (changed("listen", "host", to="::"), "listen.host: Extra inputs are not permitted"),
        (changed("opensearch", "url", to="127.0.0.1:9200"), "opensearch.url: String should match"),
        (changed("opensearch", "password", to="x"), "opensearch: give password or password_file, not both"),
        (changed("opensearch", "password_file", to=...), "opensearch: username without password"),
        (changed("limits", to={"k": 20, "k_max": 10}), "limits: k is over k_max"),
        (changed("authentication", "reads", to="any"), "authentication.reads: Input should be 'none' or 'token'"),
        (
            changed("authentication", "tokens", to=[{"name": "x", "sha256": digest("t"), "scopes": ["write"]}]),
            "authentication: token 'x': unknown scope 'write'; known are read, events, deploy, metrics",
        ),
        (
            changed("authentication", "tokens", to=[{"name": "x", "sha256": "t0k3n", "scopes": ["read"]}]),
            "authentication.tokens.0.sha256: String should match",
        ),
        (changed("artifacts", "prefix", to="no-slash"), "artifacts.prefix: String should match"),
        (
            changed("listen", "tls", to={"certificate": "/nowhere/c.pem", "key": "/nowhere/k.pem"}),
            "listen.tls: /nowhere/c.pem is not a file",
        ),
    ],
)
def test_every_mistake_is_named_with_file_and_field(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path / "service.json", content)

    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        load(path, Settings)

    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent.json: cannot be read"):
        load(tmp_path / "absent.json", Settings)


def test_a_gateway_without_tls_and_tokens_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "gateway.json", {"listen": {"address": "127.0.0.1", "port": 8443}, "tokens": []})

    with pytest.raises(SettingsError) as caught:
        load(path, GatewaySettings)

    assert [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()] == [
        "listen.tls: Field required",
        "tokens: Tuple should have at least 1 item after validation, not 0",
    ]
