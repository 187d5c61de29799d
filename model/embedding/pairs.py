"""Training pairs from the data's own links, with nothing that validation or test will ask for."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Literal, TypeAlias

from model.data.records import Document, Interaction, Judgment, Query
from model.data.split import Split, normal
from model.data.text import body_text, document_text

PairKind: TypeAlias = Literal["title", "answer", "judgment", "click", "co-interaction"]
SITTING = timedelta(hours=1)
"""Two items that a user looks at within this time of each other belong together."""
FEWEST = 32
"""With fewer pairs a contrast between them teaches nothing."""


class TooFewPairsError(ValueError):
    """The data has not enough links to train on."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that belong together.

    Attributes:
        anchor: What is asked: a query, a title, a question.
        positive: What answers it.
        kind: The link that the pair comes from.
        anchor_id: Document of the anchor, when it is one.
        positive_id: Document of the positive.
    """

    anchor: str
    positive: str
    kind: PairKind
    anchor_id: str | None
    positive_id: str


def mine_pairs(
    documents: Sequence[Document],
    interactions: Sequence[Interaction],
    queries: Sequence[Query],
    judgments: Sequence[Judgment],
    split: Split,
) -> list[Pair]:
    """All pairs from before the validation's start, each once.

    - title: a document's title and its text; for an answer, whose headline is its first sentence, that and the rest
    - answer: a question (as title, and as title with text) and its answers, but for those voted down
    - judgment: a training query and the items judged above 0
    - click: the query and the item of an interaction that came from a search
    - co-interaction: two documents that at least two users looked at within an hour
    """
    known = {document.id: document for document in documents if split.known(document.created_at)}
    found: dict[tuple[str, str], Pair] = {}
    for pair in (
        *_answers(known),
        *_judgments(known, queries, judgments, split),
        *_clicks(known, interactions, split),
        *_titles(known),
        *_co_interactions(known, interactions, split),
    ):
        if normal(pair.anchor) not in split.held_out_texts:
            found.setdefault((pair.anchor, pair.positive), pair)
    return list(found.values())


def choose_pairs(pairs: Sequence[Pair], limit: int, co_interaction_share: float, seed: int) -> list[Pair]:
    """Draws at most `limit` pairs, from each kind in proportion, co-interactions up to their share.

    Raises:
        TooFewPairsError: There are fewer than `FEWEST`.
    """
    by_kind: dict[PairKind, list[Pair]] = {}
    for pair in pairs:
        by_kind.setdefault(pair.kind, []).append(pair)
    chance = random.Random(seed)
    for kind in sorted(by_kind):
        chance.shuffle(by_kind[kind])
    together = by_kind.pop("co-interaction", [])
    others = sum(map(len, by_kind.values()))
    if others:
        # With nothing else to learn from (a log without texts) co-interactions are all there is.
        together = together[: int(min(limit, len(pairs)) * co_interaction_share)]
    if others + len(together) < FEWEST:
        raise TooFewPairsError(
            f"the data has {others + len(together)} training pairs, at least {FEWEST} are needed: "
            "add documents with titles, interactions with queries, or judgments from before the validation period"
        )
    room = limit - len(together)
    share = min(1.0, room / others) if others else 0.0
    chosen = [pair for kind in sorted(by_kind) for pair in by_kind[kind][: round(len(by_kind[kind]) * share)]]
    return (chosen + together)[:limit]


def count_kinds(pairs: Iterable[Pair]) -> dict[str, int]:
    """How many pairs there are of each kind."""
    return dict(sorted(Counter(pair.kind for pair in pairs).items()))


def _titles(known: Mapping[str, Document]) -> Iterator[Pair]:
    for document in known.values():
        body = body_text(document.title, document.text)
        if document.title and body:
            yield Pair(document.title, body, "title", document.id, document.id)


def _answers(known: Mapping[str, Document]) -> Iterator[Pair]:
    for document in known.values():
        question = known.get(str(document.fields.get("question_id", "")))
        score = document.fields.get("score", 0)
        if question is None or (isinstance(score, int) and score < 0):
            continue
        answer = document_text(document.title, document.text)
        if question.title:
            yield Pair(question.title, answer, "answer", question.id, document.id)
        yield Pair(document_text(question.title, question.text), answer, "answer", question.id, document.id)


def _judgments(
    known: Mapping[str, Document], queries: Sequence[Query], judgments: Sequence[Judgment], split: Split
) -> Iterator[Pair]:
    training = {query.id: query for query in split.queries(queries, "train")}
    for judgment in judgments:
        query, document = training.get(judgment.query_id), known.get(judgment.item_id)
        if query and document and judgment.grade > 0:
            anchor_id = query.id if query.id in known else None
            yield Pair(query.text, document_text(document.title, document.text), "judgment", anchor_id, document.id)


def _clicks(known: Mapping[str, Document], interactions: Iterable[Interaction], split: Split) -> Iterator[Pair]:
    for interaction in interactions:
        document = known.get(interaction.item_id)
        if interaction.query and document and split.known(interaction.timestamp):
            yield Pair(interaction.query, document_text(document.title, document.text), "click", None, document.id)


def _co_interactions(
    known: Mapping[str, Document], interactions: Iterable[Interaction], split: Split
) -> Iterator[Pair]:
    histories: dict[str, list[Interaction]] = {}
    for interaction in interactions:
        if interaction.item_id in known and split.known(interaction.timestamp):
            histories.setdefault(interaction.user_id, []).append(interaction)
    counts: Counter[tuple[str, str]] = Counter()
    for history in histories.values():
        history.sort(key=lambda interaction: interaction.timestamp)
        steps = {
            (min(a.item_id, b.item_id), max(a.item_id, b.item_id))
            for a, b in pairwise(history)
            if a.item_id != b.item_id and b.timestamp - a.timestamp <= SITTING
        }
        counts.update(steps)
    for (first, second), users in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        if users >= 2:
            texts = [document_text(known[name].title, known[name].text) for name in (first, second)]
            yield Pair(texts[0], texts[1], "co-interaction", first, second)
