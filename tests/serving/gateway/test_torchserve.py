"""The gateway in front of a real TorchServe with the unit's settings and a tiny model."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import serving.torchserve
from serving.gateway.settings import TorchServe as Settings
from serving.gateway.torchserve import BackendError, TorchServe
from tests.serving.server import closed_port

pytestmark = pytest.mark.torchserve

HANDLER = """
    import json

    from ts.torch_handler.base_handler import BaseHandler


    class Handler(BaseHandler):
        def initialize(self, context):
            self.initialized = True

        def handle(self, data, context):
            inputs = [request["body"]["input"] for request in data]
            vectors = [[[float(len(text)), 1.0] for text in texts] for texts in inputs]
            return [json.dumps({"embeddings": found, "version": "v1"}) for found in vectors]
"""


@contextmanager
def torchserve(folder: Path, **changes: str) -> Iterator[Settings]:
    """Runs TorchServe with `config.properties` of the unit, on free ports and with other settings where named."""
    (folder / "handler.py").write_text(textwrap.dedent(HANDLER))
    store = folder / "store"
    store.mkdir()
    archive = ["--model-name", "custom_emb", "--version", "1.0", "--handler", "handler.py", "--export-path", "store"]
    subprocess.run([Path(sys.executable).with_name("torch-model-archiver"), *archive], cwd=folder, check=True)
    text = Path(serving.torchserve.__path__[0], "config.properties").read_text()
    ports = {}
    for name in ("inference", "management", "metrics"):
        ports[name] = closed_port()
        changes[f"{name}_address"] = f"http://127.0.0.1:{ports[name]}"
    for name, value in changes.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
    (folder / "config.properties").write_text(text)
    command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--model-store", str(store)]
    command += ["--models", "custom_emb=custom_emb.mar", "--ts-config", str(folder / "config.properties")]
    (folder / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield Settings(
            inference=f"http://127.0.0.1:{ports['inference']}",
            management=f"http://127.0.0.1:{ports['management']}",
            key_file=folder / "key_file.json",
        )
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def ready(backend: TorchServe, folder: Path) -> None:
    """Returns when a vector comes; until then the gateway says 503."""
    deadline = time.monotonic() + 90
    while True:
        try:
            await backend.embed(["ready?"])
        except BackendError as error:
            if error.status != 503 or time.monotonic() > deadline:
                pytest.fail(f"{error}\n{(folder / 'log').read_text()[-3000:]}")
        else:
            return
        await asyncio.sleep(0.5)


def test_texts_are_embedded_with_tokens_that_are_read_and_renewed(tmp_path: Path) -> None:
    async def use(settings: Settings) -> None:
        backend = TorchServe("custom_emb", settings)
        try:
            await ready(backend, tmp_path)
            texts = ["x" * (n % 7) for n in range(200)]
            found = await backend.embed(texts)
            assert found.vectors == [[float(len(text)), 1.0] for text in texts]

            # The token in the file expires, and is another one than TorchServe accepts.
            key_file = tmp_path / "key_file.json"
            keys = json.loads(key_file.read_text())
            keys["inference"] = {"key": "expired", "expiration time": "2020-01-01T00:00:00.000000001Z"}
            key_file.write_text(json.dumps(keys))
            later = TorchServe("custom_emb", settings)
            try:
                assert (await later.embed(["abc"])).vectors == [[3.0, 1.0]]
            finally:
                await later.close()
            assert json.loads(key_file.read_text())["inference"]["key"] != "expired"
            # The first client still has the token from before the renewal.
            assert (await backend.embed(["abcd"])).vectors == [[4.0, 1.0]]

            absent = TorchServe("other_model", settings)
            try:
                with pytest.raises(BackendError, match="not loaded") as caught:
                    await absent.embed(["a"])
            finally:
                await absent.close()
            assert caught.value.status == 503
        finally:
            await backend.close()

    with torchserve(tmp_path) as settings:
        asyncio.run(use(settings))


def test_nothing_answers_without_a_token_or_beyond_the_loopback(tmp_path: Path) -> None:
    text = Path(serving.torchserve.__path__[0], "config.properties").read_text()
    addresses = re.findall(r"^(?:\w+_)?(?:inference|management|metrics)_address=(.*)$", text, re.MULTILINE)

    assert len(addresses) == 5
    assert all(re.fullmatch(r"(http://)?127\.0\.0\.1(:\d+)?", address) for address in addresses)
    with torchserve(tmp_path) as settings:

        async def start() -> None:
            backend = TorchServe("custom_emb", settings)
            try:
                await ready(backend, tmp_path)
            finally:
                await backend.close()

        asyncio.run(start())
        with httpx.Client(trust_env=False) as client:
            for url in (f"{settings.inference}/predictions/custom_emb", f"{settings.management}/models"):
                assert client.get(url).status_code == 400
