"""Reader of a BEIR folder: https://github.com/beir-cellar/beir ."""

from collections.abc import Iterator
from pathlib import Path

from model.data.dataset import DataSet, Located
from model.data.errors import Place, Problems
from model.data.folder import json_lines, lines, parsed
from model.data.records import (
    Document,
    FieldError,
    Interaction,
    Judgment,
    Query,
    parse_document,
    parse_judgment,
    parse_query,
)


class BeirFolder(DataSet):
    """`corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`.

    Only judged queries are read, each with the tag `split:<split>` of every file that judges it. Negative grades,
    which some collections use for spam, count as 0.
    """

    format = "beir"

    def files(self) -> list[Path]:
        """The files that are there."""
        names = (self.path / "corpus.jsonl", self.path / "queries.jsonl")
        return [path for path in names if path.is_file()] + self._qrels()

    def read_documents(self, problems: Problems) -> Located[Document]:
        """Yields the corpus; a document without text has its title as text."""
        return parsed(self._documents_json(problems), parse_document, problems)

    def read_interactions(self, problems: Problems) -> Located[Interaction]:
        """BEIR has no interactions."""
        del problems
        return iter(())

    def read_queries(self, problems: Problems) -> Located[Query]:
        """Yields judged queries."""
        splits: dict[str, list[str]] = {}
        for split, judgment in self._split_judgments():
            tags = splits.setdefault(judgment.query_id, [])
            if split not in tags:
                tags.append(split)
        records: Iterator[tuple[Place, dict[str, object]]] = (
            (place, {"id": row.get("_id"), "text": row.get("text"), "tags": splits.get(str(row.get("_id")), [])})
            for place, row in json_lines(self.path / "queries.jsonl", problems)
            if "_id" not in row or str(row["_id"]) in splits
        )
        return parsed(records, parse_query, problems)

    def read_judgments(self, problems: Problems) -> Located[Judgment]:
        """Yields the judgments of every split."""
        for path in self._qrels():
            for place, line in lines(path, problems):
                place = Place(f"qrels/{path.name}", place.line)
                columns = line.split("\t")
                if place.line == 1 and columns[-1].strip().lower() in {"score", "grade"}:
                    continue
                if len(columns) == 3 and columns[2].strip().startswith("-"):
                    line = f"{columns[0]}\t{columns[1]}\t0"
                try:
                    yield place, parse_judgment(line)
                except FieldError as error:
                    problems.error(place, str(error))

    def _split_judgments(self) -> Iterator[tuple[str, Judgment]]:
        for place, judgment in self.read_judgments(Problems()):
            yield f"split:{Path(place.file).stem}", judgment

    def _qrels(self) -> list[Path]:
        return sorted((self.path / "qrels").glob("*.tsv"))

    def _documents_json(self, problems: Problems) -> Iterator[tuple[Place, dict[str, object]]]:
        for place, row in json_lines(self.path / "corpus.jsonl", problems):
            title, text = row.get("title") or "", row.get("text")
            if text == "" and title:
                problems.warning(place, "document without text has its title as text")
                text = title
            if text == "" and not title:
                problems.warning(place, "document without title and text, dropped")
                continue
            record: dict[str, object] = {"title": title, "text": text}
            if "_id" in row:
                record["id"] = row["_id"]
            if isinstance(row.get("metadata"), dict) and row["metadata"]:
                record["fields"] = row["metadata"]
            yield place, record
