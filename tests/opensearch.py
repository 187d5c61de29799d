"""Real OpenSearch nodes for tests.

`node` is a context manager. A `conftest.py` that imports the session's fixtures `opensearch` (TLS and users,
configured by the files that instances boot with) and `plain_opensearch` gives them to the tests of its folder.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import yaml

from infra import cloudinit
from infra.engine.opensearch import ensure
from infra.resources import search_security
from infra.resources.credentials import Pair, hash_password, issue, issue_authority

NOBODY = 65534
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Node:
    """A running node. Without TLS, `user` and `password` are empty and `authority` is None."""

    url: str
    authority: Pair | None
    passwords: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()

    def connection(self, user: str = search_security.LOADER) -> dict[str, str]:
        """The inputs by which a managed resource connects."""
        authority = self.authority.certificate if self.authority else ""
        return {"url": self.url, "authority": authority, "user": user, "password": self.passwords.get(user, "")}

    @property
    def user(self) -> str:
        return "admin" if self.passwords else ""

    @property
    def password(self) -> str:
        return self.passwords.get("admin", "")

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority."""
        return self.folder / "config" / "certs" / "ca.pem"

    def session(self, user: str | None = None) -> requests.Session:
        """An HTTP session that trusts the node and logs in."""
        session = requests.Session()
        session.trust_env = False
        if self.passwords:
            session.auth = (user or self.user, self.passwords[user or self.user])
            session.verify = str(self.ca_file)
        return session


def cache() -> Path:
    """Where the assembled home is kept between runs."""
    return Path(os.environ.get("RAGREC_CACHE") or Path.home() / ".cache" / "ragrec")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


@contextmanager
def node(
    *,
    secured: bool = True,
    authority: Pair | None = None,
    trusted_endpoints: str = r"^https?://127\..*$",
    timeout: float = 120,
) -> Iterator[Node]:
    """Starts a node in a temporary folder and waits for it; at the end it is killed and the folder removed.

    Args:
        secured: TLS with a private authority, and users with the roles that the stack gives them.
        authority: signs the certificates, and is trusted by the node's outgoing connections; default: a new one.
        trusted_endpoints: regular expression of the URLs that ml-commons connectors may call.
        timeout: seconds until it must answer.
    """
    home = ensure(cache(), lambda line: print(line, file=sys.stderr))
    folder = Path(tempfile.mkdtemp(prefix="ragrec-opensearch-"))
    authority = authority or issue_authority(dt.datetime.now(dt.UTC))
    port = free_port()
    passwords = {user: f"test-{user}-{os.urandom(6).hex()}" for user in search_security.USERS} if secured else {}
    try:
        configure(home, folder, port, authority, passwords, trusted_endpoints)
        running = Node(f"{'https' if secured else 'http'}://{HOST}:{port}", authority, passwords, folder)
        process = launch(home, folder)
        try:
            wait(running, process, timeout)
            yield running
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    finally:
        shutil.rmtree(folder)


def configure(
    home: Path, folder: Path, port: int, authority: Pair, passwords: dict[str, str], trusted_endpoints: str
) -> None:
    """Writes the configuration that the stack's user data writes, for one node on the loopback."""
    config = folder / "config"
    shutil.copytree(home / "config", config)
    for name in ("data", "logs", "tmp"):
        (folder / name).mkdir()
    certs = config / "certs"
    certs.mkdir()
    server = issue(authority, "ragrec-test", [HOST, "localhost"], dt.datetime.now(dt.UTC))
    (certs / "ca.pem").write_text(authority.certificate)
    (certs / "node.pem").write_text(server.certificate)
    (certs / "node.key").write_text(server.key)
    subprocess.run(
        [
            *("keytool", "-importcert", "-noprompt", "-alias", "ragrec", "-file", str(certs / "ca.pem")),
            *("-keystore", str(certs / "trust.p12"), "-storetype", "PKCS12", "-storepass", "changeit"),
        ],
        check=True,
        capture_output=True,
    )
    template = Path(cloudinit.__file__).parent / "files" / "opensearch.yml"
    values = {
        "cluster_name": "ragrec-test",
        "hostname": "search-0",
        "address": HOST,
        "seed_hosts": "[]",
        "bootstrap": "discovery.type: single-node",
        "inference_pattern": "",
    }
    settings = yaml.safe_load(re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], template.read_text()))
    settings |= {
        "path.data": str(folder / "data"),
        "path.logs": str(folder / "logs"),
        "http.port": port,
        "transport.port": 0,
        "plugins.ml_commons.trusted_connector_endpoints_regex": [trusted_endpoints],
    }
    if not passwords:
        settings = {k: v for k, v in settings.items() if not k.startswith("plugins.security")}
        settings["plugins.security.disabled"] = True
    (config / "opensearch.yml").write_text(yaml.safe_dump(settings))
    for name, text in (
        search_security.files({user: hash_password(p) for user, p in passwords.items()}).items() if passwords else ()
    ):
        (config / name).write_text(text)


def launch(home: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Starts the node in a process group of its own, as `nobody` where the tests run as root."""
    environment = {
        **{k: v for k, v in os.environ.items() if k in {"PATH", "JAVA_HOME", "LANG"}},
        "OPENSEARCH_PATH_CONF": str(folder / "config"),
        "OPENSEARCH_TMPDIR": str(folder / "tmp"),
        "OPENSEARCH_JAVA_OPTS": "-Xms512m -Xmx1g"
        f" -Djavax.net.ssl.trustStore={folder}/config/certs/trust.p12"
        " -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=changeit",
    }
    command = []
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        home = _reachable(home, folder / "home")
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    command.append(str(home / "bin" / "opensearch"))
    log = (folder / "logs" / "console.log").open("wb")
    with log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True)


def _reachable(home: Path, target: Path) -> Path:
    """The home for another user than root, below whose own folder it may lie: by links where the file system lets."""
    try:
        shutil.copytree(home, target, copy_function=os.link)
    except shutil.Error:
        shutil.rmtree(target)
        shutil.copytree(home, target)
    return target


def wait(running: Node, process: subprocess.Popen[bytes], timeout: float) -> None:
    """Returns when the node gives an authenticated answer.

    Raises:
        RuntimeError: it ended, or the time is over; the message has the end of its log.
    """
    deadline = time.monotonic() + timeout
    session = running.session()
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = session.get(f"{running.url}/_cluster/health?wait_for_status=yellow&timeout=5s", timeout=10)
            if answer.status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.25)
    console = (running.folder / "logs" / "console.log").read_text(errors="replace")
    raise RuntimeError(f"OpenSearch didn't start (exit {process.poll()}):\n{console[-6000:]}")


@pytest.fixture(scope="session")
def opensearch() -> Iterator[Node]:
    """A node with TLS and users."""
    with node() as running:
        yield running


@pytest.fixture(scope="session")
def plain_opensearch() -> Iterator[Node]:
    """A node without TLS and users."""
    with node(secured=False) as running:
        yield running
