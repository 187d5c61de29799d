"""The command line and the daemon, as users run them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[3]


class Command:
    """``python -m infra.localcloud`` on a state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def __call__(self, *arguments: str, expect: int = 0) -> str:
        command = [sys.executable, "-m", "infra.localcloud", *arguments, "--state", str(self.state)]
        done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, timeout=90)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout if expect == 0 else done.stdout + done.stderr


@pytest.fixture
def localcloud(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path / "state")
    yield command
    command("stop")


def test_a_life(localcloud: Command) -> None:
    assert "not running" in localcloud("status", expect=1)
    assert "started on 127.0.0.1" in localcloud("start", "--port", "0")
    first = json.loads(localcloud("status", "--json"))
    assert "runs already" in localcloud("start", "--port", str(first["port"]))
    assert "services: airec" in localcloud("status")
    given = json.loads(localcloud("env", "--json"))
    bucket = """if 1:
        import oss2, os
        auth = oss2.Auth(os.environ["OSS_ACCESS_KEY_ID"], os.environ["OSS_ACCESS_KEY_SECRET"])
        bucket = oss2.Bucket(auth, "https://oss-cn-hangzhou.aliyuncs.com", "ragrec-life")
        {}
    """

    def client(statement: str) -> str:
        command = [sys.executable, "-W", "ignore", "-c", bucket.format(statement)]
        return subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=True).stdout

    client("bucket.create_bucket(); bucket.put_object('a', 'kept')")
    assert json.loads(localcloud("inventory", "--json")) == ["oss-bucket ragrec-life"]
    localcloud("stop")
    assert localcloud("inventory") == "oss-bucket ragrec-life\n"
    localcloud("start", "--port", str(first["port"]))
    assert json.loads(localcloud("env", "--json")) == given
    assert client("print(bucket.get_object('a').read())") == "b'kept'\n"
    log = localcloud("logs", "--lines", "1000")
    assert '"operation": "GetObject"' in log
    assert given["ALICLOUD_SECRET_KEY"] not in log
    assert (localcloud.state / "localcloud/credentials.json").stat().st_mode & 0o777 == 0o600
    localcloud("reset")
    assert not (localcloud.state / "localcloud").exists()


def test_a_port_in_use(localcloud: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = localcloud("start", "--port", str(port), expect=1)
    assert said.count("\n") == 1
    assert said.startswith(f"error: port {port} of 127.0.0.1 is in use")
    assert "--port" in said


def test_the_port_comes_from_the_environment_and_is_kept(
    localcloud: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("RAGREC_PORT", str(port))
    proxy = f"http://127.0.0.1:{port}"
    assert json.loads(localcloud("env", "--json"))["HTTP_PROXY"] == proxy
    assert f"started on 127.0.0.1:{port}" in localcloud("start")
    monkeypatch.setenv("RAGREC_PORT", "1")
    assert f"on port {port} and not 1: stop it first" in localcloud("start", expect=1)
    monkeypatch.delenv("RAGREC_PORT")
    assert "runs already" in localcloud("start")
    localcloud("stop")
    assert f"started on 127.0.0.1:{port}" in localcloud("start")
    assert json.loads(localcloud("env", "--json"))["HTTP_PROXY"] == proxy
    monkeypatch.setenv("RAGREC_PORT", "http")
    said = localcloud("start", expect=1)
    assert said == "error: RAGREC_PORT is 'http'; a port is a number between 0 and 65535\n"


def test_faults_are_set_by_the_command_line(localcloud: Command) -> None:
    localcloud("fault", "add", "oss", "Put*", "throttle", "--count", "3")
    assert localcloud("fault", "list") == "oss Put* throttle x3\n"
    assert localcloud("fault", "clear") == "1 faults removed\n"
    assert "count must be" in localcloud("fault", "add", "oss", "*", "drop", "--count", "0", expect=1)


def test_a_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = Command(tmp_path / "file")("inventory", expect=1)
    assert said.startswith("error: ")
    assert said.count("\n") == 1
