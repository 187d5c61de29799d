from pathlib import Path

import pytest

from model.data import DataError, open_dataset


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no/such: there is no such folder"):
        open_dataset(tmp_path / "no/such")


def test_a_file_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is not a folder"):
        open_dataset(tmp_path / "file")


def test_an_unknown_folder_names_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected one of: documents\.jsonl \(contract\)"):
        open_dataset(tmp_path)
