"""The environment that leads unmodified clients to the local cloud: proxies, trust, keys."""

from __future__ import annotations

import json
import os
from pathlib import Path

import certifi

from infra.localcloud.certificates import CertificateAuthority
from infra.localcloud.credentials import load_credentials
from infra.localcloud.files import locked, write_private
from infra.localcloud.paths import StatePaths

DEFAULT_PORT = 7780
PORT_VARIABLE = "RAGREC_PORT"
_SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_DIRECT = "localhost,127.0.0.0/8,127.0.0.1,::1"


def client_environment(state: Path, *, port: int | None = None) -> dict[str, str]:
    """Environment variables for clients of the local cloud of a state folder; works before its first start.

    `port` is the daemon's: by default ``$RAGREC_PORT``, else that of the last start, else 7780.

    Raises:
        ValueError: ``RAGREC_PORT`` is no port, or a file of the state is damaged.
    """
    paths = StatePaths(state)
    root = load_credentials(paths.directory)
    proxy = f"http://127.0.0.1:{port or default_port(paths)}"
    bundle = str(ca_bundle(state))
    environment = {
        "HTTP_PROXY": proxy,
        "HTTPS_PROXY": proxy,
        "NO_PROXY": _DIRECT,
        "SSL_CERT_FILE": bundle,
        "REQUESTS_CA_BUNDLE": bundle,
        "CURL_CA_BUNDLE": bundle,
        "ALICLOUD_ACCESS_KEY": root.access_key_id,
        "ALICLOUD_SECRET_KEY": root.access_key_secret,
        "ALIBABA_CLOUD_ACCESS_KEY_ID": root.access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": root.access_key_secret,
        "OSS_ACCESS_KEY_ID": root.access_key_id,
        "OSS_ACCESS_KEY_SECRET": root.access_key_secret,
        "ALICLOUD_ACCOUNT_ID": root.account_id,
        "ALIBABA_CLOUD_ACCOUNT_TYPE": "Domestic",
        "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
    }
    # curl reads the proxies in small letters, and http_proxy only so.
    return environment | {name.lower(): environment[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")}


def ca_bundle(state: Path) -> Path:
    """The system's certificate authorities and the local cloud's own, in one file."""
    paths = StatePaths(state)
    own = CertificateAuthority(paths.directory).certificate_path.read_bytes()
    system = next((Path(path) for path in _system_bundles() if Path(path).is_file()), None)
    content = (system.read_bytes().rstrip() + b"\n" if system else b"") + own
    bundle = paths.directory / "ca-bundle.pem"
    with locked(paths.directory / "ca.lock"):
        if not bundle.exists() or bundle.read_bytes() != content:
            write_private(bundle, content, 0o644)
    return bundle


def wanted_port() -> int | None:
    """``$RAGREC_PORT``, or None where it isn't set.

    Raises:
        ValueError: it is no port.
    """
    text = os.environ.get(PORT_VARIABLE)
    return parse_port(text, PORT_VARIABLE) if text else None


def parse_port(text: str, name: str) -> int:
    """A port as a person writes it; 0 is any free one.

    Raises:
        ValueError: it is none; the message begins with `name`.
    """
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise ValueError(f"{name} is {text!r}; a port is a number between 0 and 65535")
    return int(text)


def default_port(paths: StatePaths) -> int:
    """``$RAGREC_PORT``, else the port of the last start, else 7780.

    Raises:
        ValueError: ``RAGREC_PORT`` is no port.
    """
    wanted = wanted_port()
    if wanted is not None:
        return wanted
    try:
        return int(json.loads(paths.process.read_text())["port"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return DEFAULT_PORT


def _system_bundles() -> list[str]:
    """Where the system's authorities may lie; a bundle that the caller trusts already comes first."""
    named = os.environ.get("SSL_CERT_FILE", "")
    return [*([named] if named and "localcloud" not in Path(named).parts else []), *_SYSTEM_BUNDLES, certifi.where()]
