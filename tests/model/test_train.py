import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from model.data import open_dataset, write_contract
from model.data.corpus import Corpus
from model.embedding.base import BaseModel
from model.embedding.encoder import Encoder
from model.evaluation.report import evaluate, table
from model.lineage import file_digest
from model.parameters import TrainingParameters
from model.ranking import Collaborative, Ranker
from model.sample import Sample
from model.train import main, run

ROOT = Path(__file__).parents[2]
FAST = TrainingParameters(epochs=3, learning_rate=5e-3, max_length=64, batch_size=64)


@pytest.fixture(scope="module")
def artifact(tiny_base: BaseModel, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    run(sample, tiny_base, FAST, folder, report=lambda line: None)
    return folder


def test_the_artifact_is_complete(artifact: Path) -> None:
    manifest = json.loads((artifact / "MANIFEST.json").read_text())
    assert {"metrics.json", "ranker.json", "collaborative.npz", "custom_emb.mar"} <= manifest["files"].keys()
    for name, file in manifest["files"].items():
        assert file_digest(artifact / name) == file["sha256"]
    assert {path.name for path in artifact.iterdir()} == {name.split("/")[0] for name in manifest["files"]} | {
        "MANIFEST.json"
    }


def test_what_was_trained_is_better(artifact: Path) -> None:
    metrics = json.loads((artifact / "metrics.json").read_text())
    quality = metrics["embedding"]["validation_ndcg@10"]
    assert quality["trained"] > quality["base"] + 0.15
    assert metrics["ranking"]["next_item"]["gain"]["low"] > 0


def test_its_parts_load(artifact: Path) -> None:
    version = json.loads((artifact / "MANIFEST.json").read_text())["version"]
    assert Ranker.load(artifact / "ranker.json").version == version[:12]
    assert len(Collaborative.load(artifact / "collaborative.npz").items) > 500
    assert Encoder.load(artifact / "model").encode(["vask"]).shape == (1, 64)


def test_equal_inputs_are_not_trained_twice(artifact: Path, tiny_base: BaseModel, sample: Sample) -> None:
    lines: list[str] = []
    run(sample, tiny_base, FAST, artifact, report=lines.append)
    assert len(lines) == 1
    assert "already trained" in lines[0]


def test_equal_inputs_make_equal_files(artifact: Path, tiny_base: BaseModel, sample: Sample, tmp_path: Path) -> None:
    run(sample, tiny_base, FAST, tmp_path, report=lambda line: None)
    for name in ("custom_emb.mar", "ranker.json", "collaborative.npz", "model/model.safetensors"):
        assert (tmp_path / name).read_bytes() == (artifact / name).read_bytes(), name


def test_the_report_shows_the_gain(artifact: Path, tiny_base: BaseModel, sample: Sample) -> None:
    encoders = Encoder.load(tiny_base.path), Encoder.load(artifact / "model")
    report = evaluate(Corpus.read(sample), *encoders, Ranker.load(artifact / "ranker.json"), 30.0)
    gains = {(value.system, value.split): value for value in report.gains}
    assert gains["trained - base", "test:domain"].low > 0
    assert gains["ranker - popularity", "test"].low > 0
    assert {value.system for value in report.retrieval} == {
        "bm25",
        "base",
        "hybrid base",
        "trained",
        "hybrid trained",
    }
    assert all(value.low <= value.value <= value.high for value in report.retrieval)
    assert "trained - base" in table(report)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "model.train", *arguments]


def test_too_few_pairs_are_one_line(
    tmp_path: Path, tiny_base: BaseModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "documents.jsonl").write_text('{"id": "a", "title": "A", "text": "about"}\n')
    given = ["--data", str(tmp_path), "--output", str(tmp_path / "out"), "--base-model", str(tiny_base.path)]
    monkeypatch.setattr(sys, "argv", ["train", *given])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the data has 1 training pairs, at least 32 are needed")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parameters", '{"epoch": 1}'], "unknown key 'epoch'"),
        (["--data", "/nonexistent"], "/nonexistent: there is no such folder"),
        (["--base-model", "/nonexistent"], "base model '/nonexistent'"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    write_contract(sample, tmp_path / "data")
    given = ["--data", str(tmp_path / "data"), "--output", str(tmp_path / "out"), *arguments]
    monkeypatch.setattr(sys, "argv", ["train", *given])
    assert main() == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line(tmp_path: Path, sample: Sample, tiny_base: BaseModel) -> None:
    """A limit on the size of files stands for a full disk."""
    write_contract(sample, tmp_path / "data")
    given = ["--data", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--base-model", str(tiny_base.path)]
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", *command(*given, "--parameters", '{"max_steps": 2}')]
    result = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "File too large" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "MANIFEST.json").exists()


def test_a_killed_job_goes_on(tmp_path: Path, sample: Sample, tiny_base: BaseModel) -> None:
    """The process is killed after its first checkpoint; the second start makes what an undisturbed run makes."""
    write_contract(sample, tmp_path / "data")
    parameters = '{"max_steps": 15, "learning_rate": 0.003, "max_length": 64, "evaluations": 1}'
    given = ["--data", str(tmp_path / "data"), "--base-model", str(tiny_base.path), "--parameters", parameters]
    given += ["--threads", "1"]
    environment = {**os.environ, "RAGREC_CHECKPOINT_SECONDS": "0"}
    killed = [*given, "--output", str(tmp_path / "killed")]
    process = subprocess.Popen(command(*killed), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    state = tmp_path / "killed" / "checkpoint" / "state.pt"
    deadline = time.monotonic() + 120
    while not state.is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "MANIFEST.json").exists()
    again = subprocess.run(command(*killed), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "continuing at step" in again.stdout
    subprocess.run(command(*given, "--output", str(tmp_path / "whole")), cwd=ROOT, check=True, capture_output=True)
    vectors = [Encoder.load(tmp_path / name / "model").encode(["vask", "kneed"]) for name in ("killed", "whole")]
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_real_data_can_be_trained_on(shared_data: Path, tiny_base: BaseModel, tmp_path: Path) -> None:
    parameters = TrainingParameters(max_steps=2, evaluations=1, max_length=32)
    run(open_dataset(shared_data / "quantum"), tiny_base, parameters, tmp_path, report=lambda line: None)
    assert (tmp_path / "MANIFEST.json").is_file()
