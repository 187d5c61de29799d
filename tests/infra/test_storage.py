"""The code archive: same files, same bytes."""

import os
import tarfile
from pathlib import Path

import pytest

from infra.storage import archive_code


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "model/__pycache__").mkdir(parents=True)
    (root / "model/train.py").write_text("print('train')\n")
    (root / "model/__pycache__/train.pyc").write_bytes(b"\0")
    (root / "requirements.lock").write_text("torch==1\n")
    (root / "unrelated.txt").write_text("no\n")
    return root


def test_holds_the_named_parts_without_caches(tree: Path, tmp_path: Path) -> None:
    code = archive_code("training", tree, ("model", "requirements.lock"), tmp_path / "out")
    with tarfile.open(code.path) as archive:
        assert archive.getnames() == ["model/train.py", "requirements.lock"]
    assert code.key == f"code/training-{code.digest[:12]}.tar.gz"


def test_times_and_modes_of_files_do_not_matter(tree: Path, tmp_path: Path) -> None:
    first = archive_code("training", tree, ("model",), tmp_path / "a")
    os.utime(tree / "model/train.py", (1, 1))
    (tree / "model/train.py").chmod(0o600)
    second = archive_code("training", tree, ("model",), tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_changed_file_is_another_archive(tree: Path, tmp_path: Path) -> None:
    first = archive_code("training", tree, ("model",), tmp_path / "out")
    (tree / "model/train.py").write_text("print('changed')\n")
    assert archive_code("training", tree, ("model",), tmp_path / "out").digest != first.digest
