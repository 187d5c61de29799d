from pathlib import Path

import pytest

from model.parameters import ParameterError, TrainingParameters, read_parameters


def test_defaults() -> None:
    assert read_parameters(None) == TrainingParameters() == read_parameters("{}")


def test_text_and_file(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"seed": 1}')
    assert read_parameters(str(tmp_path / "p.json")) == read_parameters('{"seed": 1}')


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"sed": 1}', r"unknown key 'sed' \(known: batch_size, "),
        ('{"batch_size": 1}', "'batch_size': Input should be greater than or equal to 2"),
        ('{"epochs": "two"}', "'epochs': Input should be a valid integer"),
        ("{", "Invalid JSON"),
        ("no/such.json", r"no/such\.json: No such file or directory"),
    ],
)
def test_errors_name_the_parameter(given: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        read_parameters(given)
    assert "\n" not in str(caught.value)


def test_the_canonical_form_is_that_of_the_values() -> None:
    first, second = read_parameters('{"epochs": 3, "seed": 1}'), read_parameters('{"seed": 1, "epochs": 3}')
    assert first.canonical() == second.canonical() != TrainingParameters().canonical()
