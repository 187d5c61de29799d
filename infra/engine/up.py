"""``scripts/up``: the stack up, and recommendations asked from its live API."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.engine import launch, pulumi_cli
from infra.engine.command import conclude
from infra.engine.environment import DEV, environment
from infra.engine.errors import SetupError
from infra.engine.paths import Paths
from infra.engine.progress import Progress
from infra.engine.stack import config_file, select_or_init
from model.data import DataError, DataSet, open_dataset
from model.data.corpus import Corpus
from model.embedding.pairs import TooFewPairsError, choose_pairs, mine_pairs
from model.parameters import TrainingParameters
from serving.clients.recommendation import RecommendationClient, RecommendationError

SHOWN = 5
"""Items of each answer in the table."""


@dataclass(frozen=True)
class Question:
    """What the live API is asked to show that it works."""

    user_id: str | None = None
    query: str | None = None

    @property
    def words(self) -> str:
        """For the table."""
        return f"user {self.user_id}" if self.user_id else f"query “{self.query}”"


def questions(data: DataSet) -> list[Question]:
    """Two users with much to go by, and one query: a given one, or the title of the newest document.

    Args:
        data: the staged data set.
    """
    events = Counter(interaction.user_id for interaction in data.interactions())
    asked = [Question(user_id=user) for user, _ in sorted(events.items(), key=lambda item: (-item[1], item[0]))[:2]]
    query = next((query.text for query in data.queries()), None)
    if query is None:
        query = next((document.title for document in data.documents() if document.title), None)
    return asked + ([Question(query=query)] if query else [])


def require_pairs(data: DataSet) -> None:
    """Makes sure, before anything is built, that the training job will find enough to learn from.

    Raises:
        DataError: the data set is malformed.
        TooFewPairsError: it has too few training pairs.
    """
    corpus = Corpus.read(data)
    pairs = mine_pairs(corpus.documents, corpus.interactions, corpus.queries, corpus.judgments, corpus.split)
    defaults = TrainingParameters()
    try:
        choose_pairs(pairs, defaults.max_pairs, defaults.co_interaction_share, defaults.seed)
    except TooFewPairsError as error:
        raise TooFewPairsError(f"{data.path}: {error}") from None


def use_data(paths: Paths, stack: str, source: Path | None) -> None:
    """Makes a folder the stack's data set, in its configuration file, and leaves the rest of the file as it is.

    Args:
        paths: the tree.
        stack: the stack's name.
        source: an absolute path; None goes back to the sample.

    Raises:
        SetupError: the file has no ``ragrec:data``.
    """
    file = config_file(paths, stack)
    old = file.read_text()
    text, count = re.subn(
        r"^(\s*ragrec:data:\s*\n\s+source:)[^\n]*$",
        lambda match: f"{match[1]} {json.dumps(str(source)) if source else launch.SAMPLE}",
        old,
        flags=re.MULTILINE,
    )
    if not count:
        raise SetupError(
            f"{file}: has no ragrec:data with a source; add\n  ragrec:data:\n    source: {source or launch.SAMPLE}"
        )
    if text != old:
        unfinished = file.with_name(f".{file.name}.{os.getpid()}")
        unfinished.write_text(text)
        unfinished.rename(file)


def main(arguments: list[str] | None = None) -> int:
    """Runs the second half of ``scripts/up``, after `infra.engine.launch`."""
    options = launch.parser().parse_args(arguments)

    def work() -> int:
        document = bring_up(Paths.of_environment(), Progress(), options.stack, options.data)
        if options.json:
            print(json.dumps(document))
        else:
            show(document)
        return 0

    return conclude("scripts/up", work, DataError, TooFewPairsError, RecommendationError)


def bring_up(paths: Paths, progress: Progress, stack: str, data: str | None) -> dict[str, Any]:
    """Everything after setup.

    Returns:
        What ``--json`` prints.

    Raises:
        SetupError: the local cloud or Pulumi failed.
        DataError: the data set is missing or malformed.
        TooFewPairsError: the data set has too little to train on.
        RecommendationError: the API doesn't answer.
    """
    if not config_file(paths, stack).exists():
        raise SetupError(f"there is no stack {stack}: {config_file(paths, stack)} does not exist")
    source = launch.folder(data)
    if source is not None:
        with progress.step("Data set") as step:
            found = open_dataset(source)
            require_pairs(found)
            step.result = f"{source}, digest {found.digest[:12]}"
    if data is not None:
        use_data(paths, stack, source)
    if stack == DEV:
        with progress.step("Local cloud") as step:
            pulumi_cli.control(paths, "start")
            step.result = "running"
        variables = environment(paths)
    else:
        variables = dict(os.environ)
    os.environ["PATH"] = variables["PATH"]
    with progress.step(f"Stack {stack}") as step:
        step.result = "made" if select_or_init(paths, stack, variables) else "there"
    event_log = paths.state / f"up-{stack}.events"
    event_log.unlink(missing_ok=True)
    started = time.monotonic()
    pulumi_cli.run(
        paths,
        ["up", "--yes", "--skip-preview", "--stack", stack, "--event-log", str(event_log)],
        # The flag for the event log is one of those that the engine shows to developers only.
        {**variables, "PULUMI_DEBUG_COMMANDS": "true"},
    )
    seconds = time.monotonic() - started
    outputs = pulumi_cli.outputs(paths, stack, variables)
    with progress.step("Recommendations"):
        recommendations = ask(outputs)
    setup = json.loads(os.environ.get(launch.SETUP) or "{}")
    return {
        "endpoint": outputs["endpoint"],
        "instance": outputs["instance"],
        "release": outputs["release"],
        "recommendations": recommendations,
        "timings": {
            "setup": {step["name"]: step["seconds"] for step in setup.get("steps", ())},
            "steps": {step.name: round(step.seconds, 3) for step in progress.steps},
            "up": round(seconds, 3),
            "resources": pulumi_cli.durations(event_log),
        },
    }


def ask(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """The live API's answers to `questions`.

    Raises:
        RecommendationError: refused, not reachable, or without any item.
    """
    answers = []
    with RecommendationClient(outputs["endpoint"], outputs["instance"], token=outputs["apiToken"]) as client:
        for question in questions(open_dataset(Path(outputs["source"]))):
            answer = client.recommend(user_id=question.user_id, query=question.query, k=SHOWN)
            if not answer["items"]:
                raise RecommendationError(f"{question.words}: the answer holds no item: {answer}")
            asked = {"user_id": question.user_id, "query": question.query}
            answers.append({**asked, "items": answer["items"], "degraded": answer["degraded"]})
    return answers


def show(document: dict[str, Any]) -> None:
    """The table, the endpoint, and what to do next."""
    console = Console()
    table = Table("for", "item", "title", "score", title=f"Recommendations of release {document['release']}")
    for answer in document["recommendations"]:
        words = Question(answer["user_id"], answer["query"]).words
        for item in answer["items"]:
            table.add_row(words, item["item_id"], item["title"], f"{item['score']:.3f}")
            words = ""
        table.add_section()
    console.print(table)
    endpoint, instance = document["endpoint"], document["instance"]
    console.print(f"\n[bold]{endpoint}[/bold] serves; its console is that address in a browser. Next:")
    user = next((a["user_id"] for a in document["recommendations"] if a["user_id"]), "USER")
    for words, command in (
        ("ask", f"curl '{endpoint}/v1/instances/{instance}/recommend?user_id={user}&k=5&explain=true'"),
        ("change", 'eval "$(scripts/env)"; pulumi preview -s dev'),
        ("own data", "scripts/up --data DIR"),
        ("take down", "scripts/down"),
    ):
        console.print(f"  {words:<10} {command}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
