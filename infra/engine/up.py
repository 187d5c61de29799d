"""``scripts/up``: the stack up, and recommendations asked from its live API."""

from __future__ import annotations

import argparse
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

from infra.engine import pulumi_cli
from infra.engine.environment import DEV, environment
from infra.engine.errors import SetupError
from infra.engine.paths import Paths
from infra.engine.progress import Progress
from infra.engine.stack import config_file, select_or_init
from model.data import DataError, DataSet, open_dataset
from serving.clients.recommendation import RecommendationClient, RecommendationError

INTERRUPTED = 130
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


def use_data(paths: Paths, stack: str, source: Path) -> None:
    """Makes a folder the stack's data set, in its configuration file, and leaves the rest of the file as it is.

    Raises:
        SetupError: the file has no ``ragrec:data``.
    """
    file = config_file(paths, stack)
    old = file.read_text()
    text, count = re.subn(
        r"^(\s*ragrec:data:\s*\n\s+source:)[^\n]*$",
        lambda match: f"{match[1]} {json.dumps(str(source)) if source.is_absolute() else source}",
        old,
        flags=re.MULTILINE,
    )
    if not count:
        raise SetupError(f"{file}: has no ragrec:data with a source; add\n  ragrec:data:\n    source: {source}")
    if text != old:
        file.write_text(text)


def main(arguments: list[str] | None = None) -> int:
    """Runs ``scripts/up``."""
    parser = argparse.ArgumentParser(
        prog="scripts/up",
        description="Set up what is missing, start the local cloud, run pulumi up on the dev stack, then print "
        "recommendations of the live API for two users and one query.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="use this data set from now on (written into the stack's configuration): a Stack Exchange dump, "
        "MovieLens, BEIR or the data contract's folder; 'sample' goes back to the one that comes with the project",
    )
    parser.add_argument("--stack", default=DEV, help="stack to bring up (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end; all else to stderr")
    options = parser.parse_args(arguments)
    paths, progress = Paths.of_environment(), Progress()
    try:
        document = bring_up(paths, progress, options.stack, options.data)
    except (SetupError, DataError, RecommendationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run scripts/up again to go on", file=sys.stderr)
        return INTERRUPTED
    if options.json:
        print(json.dumps(document))
    else:
        show(document)
    return 0


def bring_up(paths: Paths, progress: Progress, stack: str, source: Path | None) -> dict[str, Any]:
    """Everything after setup.

    Returns:
        What ``--json`` prints.

    Raises:
        SetupError: the local cloud or Pulumi failed.
        DataError: the data set is missing or malformed.
        RecommendationError: the API doesn't answer.
    """
    if source is not None and str(source) != "sample":
        source = source.expanduser().absolute()
        with progress.step("Data set") as step:
            data = open_dataset(source)
            step.result = f"{source}, digest {data.digest[:12]}"
    if source is not None:
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
    setup = json.loads(os.environ.get("RAGREC_SETUP") or "{}")
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
