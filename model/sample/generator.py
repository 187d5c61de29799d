"""Documents, users, searches and judgments of the sample domain, from one seed.

Why an off-the-shelf model does worse here, and what that does and doesn't prove, is in docs/data.md.
"""

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from model.data.records import Document, Interaction, Judgment, Query
from model.sample.jargon import COMPONENTS, FAULTS, LINES, Thing

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 360
USERS = 120
SESSIONS = 14
QUERIES = 480
DOMAIN_SHARE = 0.8

_FIX = (
    "how to clear {fault} on the {component}",
    "{component} {fault} what to do",
    "fix {component} that is {fault}",
    "{fault} {component} repair steps",
)
_CASES = (
    "earlier cases of {fault} {component}",
    "{component} {fault} what happened before",
    "report about {component} being {fault}",
)
_TITLES = (
    (
        "Remedy for {fault} at the {component}",
        "{fault} on a {component}: working instruction",
        "Treating {component} {fault}",
    ),
    (
        "Shift report: {fault} at the {component}",
        "{component} out of service, {fault}",
        "What we learnt from {fault} on the {component}",
    ),
)
_CHECKS = (
    "Lock the {line} out and wait until it is cold.",
    "Take a photograph before anything is moved.",
    "Tell the shift lead of the {line} first.",
    "Wear gloves and a face shield throughout.",
)
_ACTIONS = (
    "Remove the guard and brush the mating faces clean.",
    "Loosen the four bolts crosswise, a quarter turn at a time.",
    "Measure the gap at three points and note the largest.",
    "Replace the part when the mark can be felt with a nail.",
    "Coat the seat thinly and let it dry for an hour.",
    "Turn it by hand once around and listen.",
)
_CLOSINGS = (
    "Run empty for ten minutes and look again.",
    "Enter the reading in the log of the {line}.",
    "Order a spare the same day.",
    "Repeat the check after one week.",
)
_EVENTS = (
    "The night shift of the {line} saw it first.",
    "It came up after the monthly wash of the {line}.",
    "Output fell by a tenth before anyone noticed.",
    "The alarm of the {line} stayed silent.",
    "A contractor pointed it out during the audit.",
)
_CAUSES = (
    "The cause was a part from the wrong batch.",
    "The cause was a bolt that had been left loose.",
    "We found no single cause, but the water was hard that month.",
    "The cause was a change of ash without a trial.",
)


@dataclass(frozen=True, slots=True)
class _Item:
    document: Document
    component: int
    fault: int
    report: bool
    appeal: float


class SamplePlant:
    """Everything the sample holds. Equal seeds give equal records.

    Attributes:
        documents: An instruction and a shift report for each component and fault.
        interactions: In the order of time.
        queries: In the order of time; tagged `domain` (the floor's names) or `plain` (common words).
        judgments: The instruction 2 and the report 1 where a query asks for a repair, the reverse where it asks for
            earlier cases.
    """

    def __init__(self, seed: int) -> None:
        # One source of chance for each part, so that a change of one leaves the others as they are.
        self._items = sorted(_items(random.Random(f"documents {seed}")), key=lambda item: _created(item.document))
        self._times = [_created(item.document) for item in self._items]
        self.documents = [item.document for item in self._items]
        self.interactions = sorted(
            self._interactions(random.Random(f"users {seed}")), key=lambda i: (i.timestamp, i.user_id, i.item_id)
        )
        self.queries: list[Query] = []
        self.judgments: list[Judgment] = []
        self._judge(random.Random(f"queries {seed}"))

    def _interactions(self, chance: random.Random) -> Iterator[Interaction]:
        for number in range(USERS):
            user = f"u{number:03}"
            before, after = chance.sample(range(len(LINES)), 2)
            drift = chance.uniform(0.3, 0.8) * DAYS
            faults = chance.sample(range(len(FAULTS)), 4)
            parts = [chance.sample(range(5), 5) for _ in LINES]
            for _ in range(chance.randint(SESSIONS // 2, SESSIONS * 3 // 2)):
                day = chance.uniform(0, DAYS)
                line = before if day < drift else after
                if chance.random() < 0.15:
                    line = chance.randrange(len(LINES))
                time = (START + timedelta(days=day)).replace(microsecond=0)
                yield from self._session(chance, user, time, (line, parts[line], faults))

    def _session(
        self, chance: random.Random, user: str, time: datetime, taste: tuple[int, list[int], list[int]]
    ) -> Iterator[Interaction]:
        line, parts, faults = taste
        known = self._items[: bisect_right(self._times, time)]
        # The first two parts and faults of a user's order are the ones most looked at.
        component = line * 5 + parts[min(int(chance.expovariate(0.9)), 4)]
        fault = (
            faults[min(int(chance.expovariate(0.8)), 3)] if chance.random() < 0.85 else chance.randrange(len(FAULTS))
        )
        for step in range(chance.choice((1, 2, 2, 3, 3, 4))):
            found = [item for item in known if item.component == component and item.fault == fault]
            if not found:
                found = [item for item in known if item.component == component]
            item = chance.choices(found, [item.appeal for item in found])[0]
            if chance.random() < 0.6:
                text, _ = _query_text(chance, component, item.fault, domain=chance.random() < DOMAIN_SHARE)
                yield Interaction(user, item.document.id, "click", time, query=text)
            else:
                yield Interaction(user, item.document.id, "view", time)
            if chance.random() < 0.12:
                yield Interaction(user, item.document.id, "bookmark", time + timedelta(seconds=40))
            time += timedelta(seconds=chance.randint(60, 900))
            # What people look at next: the same part with another fault, or the same fault next door.
            if step % 2:
                component = line * 5 + parts[min(int(chance.expovariate(0.9)), 4)]
            else:
                fault = faults[min(int(chance.expovariate(0.8)), 3)]

    def _judge(self, chance: random.Random) -> None:
        by_place: dict[tuple[int, int], list[_Item]] = {}
        for item in self._items:
            by_place.setdefault((item.component, item.fault), []).append(item)
        days = sorted(chance.uniform(DAYS * 0.1, DAYS) for _ in range(QUERIES))
        asked: set[str] = set()
        for number, day in enumerate(days):
            domain = chance.random() < DOMAIN_SHARE
            while True:
                component, fault = chance.randrange(len(COMPONENTS)), chance.randrange(len(FAULTS))
                text, cases = _query_text(chance, component, fault, domain=domain)
                if text not in asked:
                    break
            asked.add(text)
            time = (START + timedelta(days=day)).replace(microsecond=0)
            query = Query(f"s{number:03}", text, time, ("domain" if domain else "plain",))
            self.queries.append(query)
            for item in by_place[component, fault]:
                self.judgments.append(Judgment(query.id, item.document.id, 2 if item.report == cases else 1))


def _items(chance: random.Random) -> Iterator[_Item]:
    for component, part in enumerate(COMPONENTS):
        line = LINES[component // 5]
        for fault, trouble in enumerate(FAULTS):
            for report in (False, True):
                # Most documents are older than the logs; the rest keep coming, so that some are unseen in training.
                day = -chance.uniform(1, 300) if chance.random() < 0.65 else chance.uniform(0, DAYS * 0.97)
                place = f"{component:02}{fault}"
                document = Document(
                    id=f"{'R' if report else 'I'}{place}",
                    title=_sentence(chance.choice(_TITLES[report]).format(fault=trouble.bench, component=part.bench)),
                    text=_text(chance, part, trouble, line, report=report),
                    url=f"https://docs.kelpglass.example/{'reports' if report else 'instructions'}/{place}",
                    tags=(line, "shift report" if report else "instruction"),
                    fields={"line": line, "kind": "report" if report else "instruction"},
                    created_at=(START + timedelta(days=day)).replace(microsecond=0),
                )
                yield _Item(document, component, fault, report, chance.paretovariate(1.6))


def _text(chance: random.Random, part: Thing, trouble: Thing, line: str, *, report: bool) -> str:
    # Only every other text explains its terms: the rest must be understood by their likeness to those that do.
    explain = chance.random() < 0.5
    component = f"{part.catalogue}, the {part.plain}," if explain else part.catalogue
    fault = f"{trouble.catalogue}, a {trouble.plain}," if explain else trouble.catalogue
    if report:
        sentences = [
            chance.choice((f"The {component} showed {fault} on {chance.choice(('Monday', 'Thursday', 'Saturday'))}.",
                           f"We lost {chance.randint(2, 30)} hours because {fault} had set in at the {component}.")),
            chance.choice(_EVENTS),
            chance.choice(_CAUSES),
        ]  # fmt: skip
    else:
        sentences = [
            chance.choice((f"This instruction is about {fault} of the {component}.",
                           f"When the {component} shows {fault} proceed as follows.")),
            chance.choice(_CHECKS),
            chance.choice(_ACTIONS),
            chance.choice(_CLOSINGS),
        ]  # fmt: skip
    return " ".join(sentence.replace(",.", ".").format(line=line) for sentence in sentences)


def _query_text(chance: random.Random, component: int, fault: int, *, domain: bool) -> tuple[str, bool]:
    cases = chance.random() < 0.4
    template = chance.choice(_CASES if cases else _FIX)
    part, trouble = COMPONENTS[component], FAULTS[fault]
    if domain:
        return template.format(component=chance.choice(part.floor), fault=chance.choice(trouble.floor)), cases
    return template.format(component=part.plain, fault=trouble.plain), cases


def _created(document: Document) -> datetime:
    assert document.created_at is not None
    return document.created_at


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
