"""Reader of a MovieLens folder in CSV form: https://grouplens.org/datasets/movielens/ ."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from model.data.dataset import DataSet, Located
from model.data.errors import Place, Problems
from model.data.folder import lines, parsed
from model.data.records import Document, Interaction, Judgment, Query, parse_document, parse_interaction


class MovieLens(DataSet):
    """`movies.csv`, `ratings.csv` and, optionally, `tags.csv`.

    A document's text is title and genres. Users' tags aren't part of it, since they are later than many ratings: each
    is an interaction `tag` whose query is the tag. Ratings are interactions `rate` with the rating as value.
    """

    format = "movielens"

    def files(self) -> list[Path]:
        """The files that are there."""
        names = ("movies.csv", "ratings.csv", "tags.csv")
        return [self.path / name for name in names if (self.path / name).is_file()]

    def read_documents(self, problems: Problems) -> Located[Document]:
        """Yields movies."""
        return parsed(self._documents_json(problems), parse_document, problems)

    def read_interactions(self, problems: Problems) -> Located[Interaction]:
        """Yields ratings, then tags."""
        return parsed(self._interactions_json(problems), parse_interaction, problems)

    def read_queries(self, problems: Problems) -> Located[Query]:
        """MovieLens has no searches."""
        del problems
        return iter(())

    def read_judgments(self, problems: Problems) -> Located[Judgment]:
        """MovieLens has no judgments."""
        del problems
        return iter(())

    def _documents_json(self, problems: Problems) -> Iterator[tuple[Place, dict[str, object]]]:
        for place, row in csv_rows(self.path / "movies.csv", ("movieId", "title", "genres"), problems):
            title = row["title"].strip()
            genres = [genre for genre in row["genres"].split("|") if genre and not genre.startswith("(")]
            fields: dict[str, object] = {}
            if year := re.search(r"\((\d{4})\)$", title):
                fields["year"] = int(year[1])
            text = f"{title}. {', '.join(genres)}." if genres else title
            yield place, {"id": row["movieId"], "title": title, "text": text, "tags": genres, "fields": fields}

    def _interactions_json(self, problems: Problems) -> Iterator[tuple[Place, dict[str, object]]]:
        columns = ("userId", "movieId", "rating", "timestamp")
        for place, row in csv_rows(self.path / "ratings.csv", columns, problems):
            try:
                value = float(row["rating"])
            except ValueError:
                problems.error(place, f"field 'rating': {row['rating'][:40]!r} is no number")
                continue
            yield place, _interaction(row, "rate") | {"value": value}
        for place, row in csv_rows(self.path / "tags.csv", ("userId", "movieId", "tag", "timestamp"), problems):
            yield place, _interaction(row, "tag") | {"query": row["tag"]}


def csv_rows(path: Path, columns: tuple[str, ...], problems: Problems) -> Iterator[tuple[Place, dict[str, str]]]:
    """Yields the rows of a CSV file with a header; a file that isn't there has none."""
    content = lines(path, problems)
    reader = csv.reader((line + "\n" for _, line in content), strict=True)
    header: list[str] | None = None
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            problems.error(Place(path.name, reader.line_num), f"is not CSV: {error}")
            return
        if row is None:
            return
        place = Place(path.name, reader.line_num)
        if header is None:
            header = row
            if missing := [column for column in columns if column not in header]:
                problems.error(place, f"has no column {missing[0]!r}")
                return
            continue
        if len(row) != len(header):
            problems.error(place, f"has {len(row)} columns, the header {len(header)}")
            continue
        yield place, dict(zip(header, row, strict=True))


def _interaction(row: dict[str, str], event: str) -> dict[str, object]:
    return {"user_id": row["userId"], "item_id": row["movieId"], "event": event, "timestamp": row["timestamp"]}
