"""The servers' command lines, as processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.serving.server import closed_port


def write(folder: Path, port: int) -> Path:
    path = folder / "service.json"
    content = {
        "instance": "ragrec-test",
        "region": "cn-hangzhou",
        "listen": {"address": "127.0.0.1", "port": port},
        "state": str(folder / "state"),
        "opensearch": {"url": "http://127.0.0.1:9"},
        "embeddings": {"url": "http://127.0.0.1:9"},
        "artifacts": {"bucket": "bucket"},
    }
    path.write_text(json.dumps(content))
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.recommendation", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_settings_can_be_checked_alone(tmp_path: Path) -> None:
    good = run("--config", str(write(tmp_path, 1)), "--check")
    bad = run("--config", str(tmp_path / "absent.json"), "--check")

    assert (good.returncode, good.stderr) == (0, "")
    assert bad.returncode == 2
    assert bad.stderr.startswith(f"error: {tmp_path}/absent.json: cannot be read: ")


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        done = run("--config", str(write(tmp_path, listener.getsockname()[1])))

    assert done.returncode == 1
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_termination_lets_the_server_end_in_order(tmp_path: Path) -> None:
    port = closed_port()
    command = [sys.executable, "-m", "serving.recommendation", "--config", str(write(tmp_path, port))]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        for _ in range(200):
            try:
                assert client.get("/healthz").status_code == 200
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        else:
            pytest.fail("the server did not start")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)

    assert "Application shutdown complete" in log
    assert "Traceback" not in log
