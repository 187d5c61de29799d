"""The handler and its archive, in a real TorchServe."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model.embedding.base import DEFAULT_BASE, find_base
from model.embedding.encoder import Encoder
from model.packaging import package

VERSION = "0123456789ab"
TEXTS = ["The brindel collar showed morling.", "vask", "Why does a qubit decohere?"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the prediction; the archive's settings, no token."""
    if shutil.which("java") is None:
        pytest.skip("no java: TorchServe needs a JDK 17")
    folder = tmp_path_factory.mktemp("torchserve")
    for name in ("store", "temporary", "logs"):
        (folder / name).mkdir()
    package(find_base(DEFAULT_BASE).path, VERSION, folder / "store")
    ports = [free_port() for _ in range(5)]
    (folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{ports[0]}\n"
        f"management_address=http://127.0.0.1:{ports[1]}\n"
        f"metrics_address=http://127.0.0.1:{ports[2]}\n"
        f"grpc_inference_port={ports[3]}\ngrpc_management_port={ports[4]}\n"
        "disable_token_authorization=true\nenable_envvars_config=false\nload_models=custom_emb.mar\n"
        f"model_store={folder / 'store'}\nvmargs=-Djava.io.tmpdir={folder / 'temporary'} -Xmx512m\n"
    )
    environment = {
        **os.environ,
        "TMPDIR": str(folder / "temporary"),
        "TEMP": str(folder / "temporary"),
        "LOG_LOCATION": str(folder / "logs"),
        "METRICS_LOCATION": str(folder / "logs"),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [
        *(sys.executable, "-c", "from ts.model_server import start; start()", "--start", "--foreground"),
        *("--ts-config", str(folder / "config.properties")),
    ]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield _wait(f"http://127.0.0.1:{ports[0]}", process, folder / "output")
        finally:
            # java and its workers are in the session of the wrapper.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], output: Path) -> str:
    deadline = time.monotonic() + 180
    url = f"{address}/predictions/custom_emb"
    while time.monotonic() < deadline:
        assert process.poll() is None, output.read_text()[-3000:]
        try:
            if httpx.post(url, json={"input": "ready?"}, timeout=60).status_code == 200:
                return url
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(f"TorchServe did not become ready:\n{output.read_text()[-3000:]}")


def ask(url: str, body: Any) -> httpx.Response:
    return httpx.post(url, json=body, timeout=60)


@pytest.mark.torchserve
def test_vectors_are_those_of_the_encoder(server: str) -> None:
    response = ask(server, {"input": TEXTS})
    assert response.status_code == 200
    answer = json.loads(response.text)
    assert answer["version"] == VERSION
    assert "\n" not in response.text
    expected = Encoder.load(find_base(DEFAULT_BASE).path).encode(TEXTS)
    cosines = (np.array(answer["embeddings"]) * expected).sum(axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.torchserve
def test_requests_that_arrive_together_get_their_own_answers(server: str) -> None:
    texts = [f"vask {number}" for number in range(40)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: ask(server, {"input": text} if text else {}), [*texts, ""]))
    assert [answer.status_code for answer in answers] == [200] * 40 + [400]
    expected = Encoder.load(find_base(DEFAULT_BASE).path).encode(texts)
    found = np.array([json.loads(answer.text)["embeddings"][0] for answer in answers[:-1]])
    assert (found * expected).sum(axis=1).min() > 0.9999


@pytest.mark.torchserve
def test_a_bad_request_says_what_is_wrong(server: str) -> None:
    response = ask(server, {"input": ["a", " "]})
    assert response.status_code == 400
    assert json.loads(response.text) == {"error": "'input' 1 is empty"}
