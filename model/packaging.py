"""`custom_emb.mar`: weights, tokenizer, handler and encoder code in TorchServe's archive format."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MODEL_NAME = "custom_emb"
ROOT = Path(__file__).parent.parent
HANDLER = ROOT / "serving" / "torchserve" / "handler.py"
_CODE = tuple(
    f"model/{name}.py" for name in ("__init__", "embedding/__init__", "embedding/encoder", "embedding/request")
)
_SERVING = """\
# How TorchServe runs the model; in the archive, so that it holds for every version of it.
minWorkers: 1
maxWorkers: 1
# Requests that arrive within 10 ms are encoded together.
batchSize: 16
maxBatchDelay: 10
responseTimeout: 60
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class PackagingError(RuntimeError):
    """The archiver failed; the message has the last line of its output."""


def package(model: Path, version: str, output: Path) -> Path:
    """Builds the archive.

    Equal inputs give equal bytes: the archiver's own file is rewritten in order of names with fixed times, and its
    manifest without the time of creation.

    Args:
        model: Folder of the trained model.
        version: The artifact's version, as every answer will name it.
        output: Folder for the archive.

    Returns:
        Path of the archive.

    Raises:
        PackagingError: torch-model-archiver failed.
        OSError: The archive can't be written.
    """
    with tempfile.TemporaryDirectory(dir=output, prefix=".packaging-") as temporary:
        extra, work, built = (Path(temporary, name) for name in ("extra", "work", "built"))
        work.mkdir()
        built.mkdir()
        shutil.copytree(model, extra / MODEL_NAME)
        (extra / "version.txt").write_text(version + "\n", encoding="utf-8")
        for name in _CODE:
            (extra / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, extra / name)
        serving = Path(temporary, "model-config.yaml")
        serving.write_text(_SERVING, encoding="utf-8")
        command = [
            *(sys.executable, "-c", "from model_archiver.model_packaging import generate_model_archive as g; g()"),
            *("--model-name", MODEL_NAME, "--version", version, "--handler", str(HANDLER)),
            *("--extra-files", str(extra), "--export-path", str(built), "--archive-format", "no-archive"),
            *("--config-file", str(serving)),
        ]
        # The archiver works in a folder of the shared temporary folder, named after the model.
        environment = {**os.environ, "TMPDIR": str(work)}
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if result.returncode != 0:
            lines = (result.stderr or result.stdout).strip().splitlines()
            raise PackagingError(f"torch-model-archiver failed: {lines[-1] if lines else result.returncode}")
        archive = Path(temporary, f"{MODEL_NAME}.mar")
        _zip(built / MODEL_NAME, archive)
        return archive.replace(output / archive.name)


def _zip(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            content = path.read_bytes()
            if name == "MAR-INF/MANIFEST.json":
                content = b"\n".join(line for line in content.split(b"\n") if b'"createdOn"' not in line)
            # Weights don't compress; the rest is small.
            entry.compress_type = zipfile.ZIP_STORED if path.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
            file.writestr(entry, content)
