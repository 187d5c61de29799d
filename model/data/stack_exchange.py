"""Reader of a Stack Exchange dump: https://archive.org/details/stackexchange ; schema: https://meta.stackexchange.com/q/2677."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree as ET

from model.data.dataset import DataSet, Located
from model.data.errors import Place, Problems
from model.data.folder import parsed
from model.data.records import Document, Interaction, Judgment, Query, parse_document, parse_interaction, parse_query
from model.data.text import headline, plain_text

QUESTION, ANSWER = "1", "2"
FAVOURITE = "5"
DUPLICATE, RELATED = "3", "1"


class StackExchangeDump(DataSet):
    """`Posts.xml` and, optionally, `Comments.xml`, `Votes.xml`, `PostLinks.xml`.

    Documents are questions and answers, each with its post id. An answer has no title in the dump; its headline is
    its first sentence. Links are in `fields`: `kind`, `question_id` of an answer, `accepted_answer_id` and
    `related_ids` of a question.

    Interactions are ask, answer (with the question answered), comment and favourite; posts without owner have none.

    Each question with an answer is a query by its title, whose answers are judged 2 (accepted) or 1, and of which the
    questions it is a duplicate of are judged 2. Times in the dump are UTC without saying so.
    """

    format = "stack-exchange"

    def files(self) -> list[Path]:
        """The dump's files that are there."""
        names = ("Posts.xml", "Comments.xml", "Votes.xml", "PostLinks.xml")
        return [self.path / name for name in names if (self.path / name).is_file()]

    def read_documents(self, problems: Problems) -> Located[Document]:
        """Yields questions and answers."""
        return parsed(self._documents_json(problems), parse_document, problems)

    def read_interactions(self, problems: Problems) -> Located[Interaction]:
        """Yields who asked, answered, commented on and bookmarked what."""
        return parsed(self._interactions_json(problems), parse_interaction, problems)

    def read_queries(self, problems: Problems) -> Located[Query]:
        """Yields questions that have something judged."""
        judged = {judgment.query_id for _, judgment in self.read_judgments(Problems())}
        records: Iterator[tuple[Place, dict[str, object]]] = (
            (place, {"id": row["Id"], "text": row.get("Title", ""), "created_at": _utc(row)})
            for place, row in rows(self.path / "Posts.xml", problems)
            if row.get("PostTypeId") == QUESTION and row.get("Id") in judged
        )
        return parsed(records, parse_query, problems)

    def read_judgments(self, problems: Problems) -> Located[Judgment]:
        """Yields accepted answers and duplicates with grade 2, other answers with grade 1."""
        accepted = self._accepted
        for place, row in rows(self.path / "Posts.xml", problems):
            if row.get("PostTypeId") == ANSWER and "ParentId" in row and "Id" in row:
                grade = 2 if accepted.get(row["ParentId"]) == row["Id"] else 1
                yield place, Judgment(row["ParentId"], row["Id"], grade)
        seen = set()
        for place, row in rows(self.path / "PostLinks.xml", problems):
            link = (row.get("PostId", ""), row.get("RelatedPostId", ""))
            if row.get("LinkTypeId") == DUPLICATE and link not in seen and link[0] in self._questions >= {link[1]}:
                seen.add(link)
                yield place, Judgment(*link, 2)

    @cached_property
    def _questions(self) -> frozenset[str]:
        posts = rows(self.path / "Posts.xml", Problems())
        return frozenset(row["Id"] for _, row in posts if row.get("PostTypeId") == QUESTION and "Id" in row)

    @cached_property
    def _accepted(self) -> dict[str, str]:
        posts = rows(self.path / "Posts.xml", Problems())
        return {row["Id"]: row["AcceptedAnswerId"] for _, row in posts if "AcceptedAnswerId" in row and "Id" in row}

    @cached_property
    def _related(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for _, row in rows(self.path / "PostLinks.xml", Problems()):
            if row.get("LinkTypeId") in {RELATED, DUPLICATE} and "PostId" in row and "RelatedPostId" in row:
                found.setdefault(row["PostId"], []).append(row["RelatedPostId"])
        return found

    def _documents_json(self, problems: Problems) -> Iterator[tuple[Place, dict[str, object]]]:
        for place, row in rows(self.path / "Posts.xml", problems):
            kind = row.get("PostTypeId")
            if kind not in {QUESTION, ANSWER}:
                continue
            text = plain_text(row.get("Body", ""))
            record: dict[str, object] = {key: row[name] for key, name in [("id", "Id")] if name in row}
            if "CreationDate" in row:
                record["created_at"] = _utc(row)
            fields: dict[str, object] = {"score": int(row.get("Score", 0))}
            if kind == QUESTION:
                title = row.get("Title", "")
                # A question that is all picture still has its title.
                record |= {"title": title, "text": text or title, "tags": _tags(row.get("Tags", ""))}
                fields["kind"] = "question"
                if "AcceptedAnswerId" in row:
                    fields["accepted_answer_id"] = row["AcceptedAnswerId"]
                if related := self._related.get(row.get("Id", "")):
                    fields["related_ids"] = sorted(set(related))
            else:
                if not text:
                    problems.warning(place, "answer without text, dropped")
                    continue
                record |= {"title": headline(text), "text": text}
                fields["kind"] = "answer"
                if "ParentId" in row:
                    fields["question_id"] = row["ParentId"]
            yield place, record | {"fields": fields}

    def _interactions_json(self, problems: Problems) -> Iterator[tuple[Place, dict[str, object]]]:
        for place, row in rows(self.path / "Posts.xml", problems):
            if row.get("PostTypeId") == QUESTION and "OwnerUserId" in row:
                yield place, _interaction(row, row["OwnerUserId"], row.get("Id"), "ask")
            elif row.get("PostTypeId") == ANSWER and "OwnerUserId" in row and "ParentId" in row:
                yield place, _interaction(row, row["OwnerUserId"], row["ParentId"], "answer")
        for place, row in rows(self.path / "Comments.xml", problems):
            if "UserId" in row:
                yield place, _interaction(row, row["UserId"], row.get("PostId"), "comment")
        for place, row in rows(self.path / "Votes.xml", problems):
            if row.get("VoteTypeId") == FAVOURITE and "UserId" in row:
                yield place, _interaction(row, row["UserId"], row.get("PostId"), "favourite")


def rows(path: Path, problems: Problems) -> Iterator[tuple[Place, dict[str, str]]]:
    """Yields the attributes of each `row` element, in constant memory; a file that isn't there has none.

    The line of a place is the row's number: dumps put one row on a line, after two lines of preamble.
    """
    if not path.is_file():
        return
    number = 0
    with path.open("rb") as file:
        try:
            # Entity expansion is bounded by expat itself since 2.4.1.
            events = ET.iterparse(file, events=("start", "end"))  # noqa: S314  # see the line above
            _, root = next(events)
            for event, element in events:
                if event == "end" and element.tag == "row":
                    number += 1
                    yield Place(path.name, number + 2), dict(element.attrib)
                    root.clear()
        except ET.ParseError as error:
            problems.error(Place(path.name, error.position[0]), f"is not well-formed XML: {error}")


def _interaction(row: dict[str, str], user: str, item: str | None, event: str) -> dict[str, object]:
    return {"user_id": user, "item_id": item, "event": event, "timestamp": _utc(row)}


def _utc(row: dict[str, str]) -> str:
    time = row.get("CreationDate", "")
    return time + "Z" if time and "Z" not in time and "+" not in time else time


def _tags(tags: str) -> list[str]:
    # "<a><b>" until 2024, "|a|b|" since.
    return [tag for tag in tags.replace("><", "|").strip("<>|").split("|") if tag]
