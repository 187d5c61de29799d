import json
import zipfile
from pathlib import Path

import pytest

from model import packaging
from model.embedding.base import BaseModel
from model.packaging import PackagingError, package


def test_the_archive_holds_what_the_handler_needs(tiny_base: BaseModel, tmp_path: Path) -> None:
    with zipfile.ZipFile(package(tiny_base.path, "0123456789ab", tmp_path)) as archive:
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        names = set(archive.namelist())
        version = archive.read("version.txt").decode().strip()
    assert manifest["model"] == {
        "modelName": "custom_emb",
        "handler": "handler.py",
        "modelVersion": "0123456789ab",
        "configFile": "model-config.yaml",
    }
    assert version == "0123456789ab"
    assert {"custom_emb/model.safetensors", "model/embedding/encoder.py", "model/embedding/request.py"} <= names
    assert [path.name for path in tmp_path.iterdir()] == ["custom_emb.mar"]


def test_equal_inputs_make_equal_bytes(tiny_base: BaseModel, tmp_path: Path) -> None:
    first = package(tiny_base.path, "0123456789ab", tmp_path).read_bytes()
    assert package(tiny_base.path, "0123456789ab", tmp_path).read_bytes() == first


def test_a_failure_of_the_archiver_is_told(
    tiny_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaging, "HANDLER", tmp_path / "no_handler.py")
    with pytest.raises(PackagingError, match=r"torch-model-archiver failed: .*no_handler\.py"):
        package(tiny_base.path, "0123456789ab", tmp_path)
