from pathlib import Path

import pytest

from model.data import DataError, open_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n1,"Heat, The (1995)",Action|Crime\n2,X,(no genres listed)\n'
    )
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.5,964982703\n")
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,2,dark,964982704\n")
    return tmp_path


def test_movies_ratings_and_tags_are_read(folder: Path) -> None:
    dataset = open_dataset(folder)
    heat, other = dataset.documents()
    assert (heat.text, heat.tags, heat.fields) == (
        "Heat, The (1995). Action, Crime.",
        ("Action", "Crime"),
        {"year": 1995},
    )
    assert (other.text, other.tags) == ("X", ())
    rating, tag = dataset.interactions()
    assert (rating.event, rating.value, tag.event, tag.query) == ("rate", 4.5, "tag", "dark")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("userId,movieId,timestamp\n", r"ratings\.csv:1: has no column 'rating'"),
        ("userId,movieId,rating,timestamp\n1,1,good,1\n", r"ratings\.csv:2: field 'rating': 'good' is no number"),
        ("userId,movieId,rating,timestamp\n1,1,4\n", r"ratings\.csv:2: has 3 columns, the header 4"),
        ("userId,movieId,rating,timestamp\n1,1,4,soon\n", r"ratings\.csv:2: field 'timestamp'"),
    ],
)
def test_errors_name_file_and_line(folder: Path, content: str, message: str) -> None:
    (folder / "ratings.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        _ = open_dataset(folder).summary


def test_the_real_data(shared_data: Path) -> None:
    summary = open_dataset(shared_data / "movielens-small").summary
    assert summary.count("documents.jsonl") == 9_742
    assert summary.count("interactions.jsonl") == 100_836 + 3_683
