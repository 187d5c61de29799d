"""Building an index beside the one that is served, verifying it, and switching the alias: each a step of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from infra.resources import index_mapping
from infra.resources.gateway import Gateway, cosine
from infra.resources.opensearch import Cluster, OpenSearchError, Report
from model.data import DataSet, Document, document_text
from model.data.records import format_time, parse_time
from serving.recommendation.history import LIMIT, Event, read

BATCH = 64  # texts a call: enough to fill a GPU, cheap to repeat
USERS_BATCH = 200
IN_FLIGHT = 3  # calls of the gateway at a time
SAMPLES = 5
TOLERANCE = 0.999  # least cosine between a stored vector and the same text embedded again
Properties = Mapping[str, Any]
T = TypeVar("T")


class BuildError(Exception):
    """An index can't be built, or isn't what it should be; the message names it."""


class Progress:
    """Says every few seconds how many of `total` are done, how fast, and how long it will take."""

    def __init__(self, name: str, unit: str, total: int, report: Report, interval: float = 5) -> None:
        self._name, self._unit, self._total = name, unit, total
        self._report, self._interval = report, interval
        self._done = 0
        self._started = self._told = time.monotonic()

    def add(self, count: int) -> None:
        """Counts `count` more."""
        self._done += count
        now = time.monotonic()
        if now - self._told < self._interval and self._done < self._total:
            return
        self._told = now
        rate = self._done / max(now - self._started, 1e-3)
        left = f", {(self._total - self._done) / rate:.0f} s left" if self._done < self._total else ""
        self._report(f"{self._name}: {self._done:,} of {self._total:,} {self._unit}, {rate:.0f}/s{left}")


def build(cluster: Cluster, properties: Properties, data: DataSet, name: str, report: Report) -> int:
    """Creates the index `name` and fills it; returns how many documents it must hold.

    Until `flip` nobody reads it. On any failure it is removed.

    Args:
        cluster: where.
        properties: inputs of a `SearchIndex`.
        data: what goes in.
        name: of the physical index; one of that name that is there is an interrupted build, and goes.
        report: receives progress.

    Raises:
        BuildError: the data doesn't fit.
        OpenSearchError: refused, or the cluster went away.
        EmbeddingsError: the gateway refused, or went away.
    """
    cluster.remove(f"/{name}")
    layout = index_mapping.layout(properties)
    # Without a refresh and without replicas a bulk load costs half.
    layout["settings"]["index"] |= {"refresh_interval": "-1", "number_of_replicas": 0}
    layout["mappings"]["_meta"] = {"managed_by": index_mapping.OWNER}  # the rest is said when it is full
    cluster.call("PUT", f"/{name}", layout)
    try:
        load = _load_items if properties["kind"] == "items" else _load_users
        count, facts = load(cluster, properties, data, name, report)
        described = {"_meta": {**index_mapping.meta(properties), "documents": count, **facts}}
        cluster.call("PUT", f"/{name}/_mapping", described)
        cluster.call("PUT", f"/{name}/_settings", {"index": {"refresh_interval": None, **in_place(properties)}})
        cluster.call("POST", f"/{name}/_refresh")
    except BaseException:
        cluster.remove(f"/{name}")
        raise
    return count


def built(cluster: Cluster, properties: Properties, name: str) -> int | None:
    """How many documents `name` holds if it is a complete index of this content, else None."""
    entry = cluster.find(f"/{name}")
    if entry is None:
        return None
    described = entry[name]["mappings"].get("_meta", {})
    count: int | None = described.get("documents")
    if described.get("digest") != index_mapping.digest(properties) or count is None:
        return None
    return count if cluster.call("GET", f"/{name}/_count")["count"] == count else None


def in_place(properties: Properties) -> dict[str, Any]:
    """The settings that change without a new index."""
    settings: dict[str, Any] = {"number_of_replicas": int(properties["replicas"])}
    if properties["kind"] == "items":
        # A hybrid query outside of a pipeline answers nonsense without an error: never without one.
        settings["search.default_pipeline"] = properties["pipeline"]
    return settings


def verify(cluster: Cluster, properties: Properties, data: DataSet, name: str, count: int) -> None:
    """Counts the documents; of items, compares stored vectors with texts that are embedded again.

    Raises:
        BuildError: something is missing or differs.
    """
    found = cluster.call("GET", f"/{name}/_count")["count"]
    if found != count:
        raise BuildError(f"{name} holds {found:,} documents instead of {count:,}")
    if properties["kind"] != "items":
        return
    step = max(1, count // SAMPLES)
    samples = list(islice(data.documents(), 0, None, step))[:SAMPLES]
    body = {"ids": [document.id for document in samples]}
    answer = cluster.call("POST", f"/{name}/_mget?_source_includes=vector", body)
    with Gateway(properties) as gateway:
        again = gateway.embed([_text(document) for document in samples]).vectors
    for document, entry, vector in zip(samples, answer["docs"], again, strict=True):
        stored = entry.get("_source", {}).get("vector", [])
        if (similarity := cosine(stored, vector)) < TOLERANCE:
            raise BuildError(
                f"{name}: the vector of {document.id!r} isn't that of its text (cosine {similarity:.4f})"
            )


def flip(cluster: Cluster, alias: str, name: str) -> list[str]:
    """Points the alias at `name` in one step; returns what it pointed at before.

    Raises:
        BuildError: there is an index, not an alias, of that name.
    """
    before = targets(cluster, alias)
    actions = [{"remove": {"index": index, "alias": alias}} for index in before if index != name]
    add = {"add": {"index": name, "alias": alias, "is_write_index": True}}
    cluster.call("POST", "/_aliases", {"actions": [*actions, add]})
    return [index for index in before if index != name]


def targets(cluster: Cluster, alias: str) -> list[str]:
    """The indices that an alias stands for; empty when there is no such alias.

    Raises:
        BuildError: there is an index, not an alias, of that name.
    """
    found = cluster.find(f"/{alias}/_settings") or {}
    if alias in found:
        raise BuildError(f"{alias} is an index and not an alias: delete it, or choose another alias")
    return sorted(found)


def prune(cluster: Cluster, alias: str, keep: Sequence[str]) -> list[str]:
    """Deletes the indices that were built for an alias, but for those of `keep`; returns their names."""
    found = cluster.find(f"/{alias}-*/_mapping") or {}
    ours = [
        name
        for name, entry in found.items()
        if entry["mappings"].get("_meta", {}).get("managed_by") == index_mapping.OWNER
    ]
    gone = [name for name in sorted(ours) if name not in keep]
    for name in gone:
        cluster.remove(f"/{name}")
    return gone


def _load_items(
    cluster: Cluster, properties: Properties, data: DataSet, name: str, report: Report
) -> tuple[int, dict[str, Any]]:
    total = data.summary.count("documents.jsonl")
    progress = Progress(name, "documents", total, report)
    version = ""
    count = 0
    with Gateway(properties) as gateway, ThreadPoolExecutor(IN_FLIGHT) as pool:

        def embed(batch: Sequence[Document]) -> tuple[Sequence[Document], list[list[float]], str]:
            answer = gateway.embed([_text(document) for document in batch])
            return batch, answer.vectors, answer.version

        for batch, vectors, made_by in _ahead(pool, embed, _batches(data.documents(), BATCH)):
            version = version or made_by
            if made_by != version or (properties["version"] and made_by != properties["version"]):
                raise BuildError(f"{name}: the gateway changed to model version {made_by}; run `pulumi up` again")
            if len(vectors[0]) != properties["dimension"]:
                raise BuildError(
                    f"{name}: the model makes {len(vectors[0])} dimensions, not {properties['dimension']}"
                )
            lines: list[Any] = []
            for document, vector in zip(batch, vectors, strict=True):
                lines += [{"index": {"_index": name, "_id": document.id}}, item(document, vector)]
            cluster.bulk(lines)
            count += len(batch)
            progress.add(len(batch))
    return count, {"model_version": version}


def _ahead(pool: ThreadPoolExecutor, work: Any, inputs: Iterable[T]) -> Iterator[Any]:
    """Results of `work` in the order of `inputs`, computed at most `IN_FLIGHT` ahead: memory stays bounded."""
    pending: deque[Future[Any]] = deque()
    try:
        for value in inputs:
            pending.append(pool.submit(work, value))
            if len(pending) >= IN_FLIGHT:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def item(document: Document, vector: Sequence[float]) -> dict[str, Any]:
    """An item as the index holds it (docs/architecture.md, 2)."""
    found: dict[str, Any] = {"item_id": document.id, "title": document.title, "text": document.text}
    if document.url:
        found["url"] = document.url
    found |= {"tags": list(document.tags), "fields": dict(document.fields)}
    if document.created_at:
        found["created_at"] = format_time(document.created_at)
    return {**found, "vector": vector}


def _load_users(
    cluster: Cluster, properties: Properties, data: DataSet, name: str, report: Report
) -> tuple[int, dict[str, Any]]:
    histories, newest = from_log(data)
    carried = _carry_over(cluster, properties, data, histories)
    if carried:
        report(f"{name}: {carried:,} events that arrived since the log was written are kept")
    progress = Progress(name, "users", len(histories), report)
    for users in _batches(sorted(histories), USERS_BATCH):
        lines: list[Any] = []
        for user_id in users:
            events = [event.to_json() for event in sorted(set(histories[user_id]))[-LIMIT:]]
            lines += [{"index": {"_index": name, "_id": user_id}}, {"user_id": user_id, "history": events}]
        cluster.bulk(lines)
        progress.add(len(users))
    return len(histories), {"newest": format_time(newest) if newest else None}


def from_log(data: DataSet) -> tuple[dict[str, list[Event]], datetime | None]:
    """Every user's events (at least the newest `LIMIT`) and the time of the newest one of all."""
    histories: dict[str, list[Event]] = {}
    newest: datetime | None = None
    for entry in data.interactions():
        events = histories.setdefault(entry.user_id, [])
        events.append(Event(entry.timestamp, entry.item_id, entry.event))
        if len(events) > 4 * LIMIT:
            histories[entry.user_id] = sorted(set(events))[-LIMIT:]
        newest = entry.timestamp if newest is None or entry.timestamp > newest else newest
    return histories, newest


def _carry_over(cluster: Cluster, properties: Properties, data: DataSet, histories: dict[str, list[Event]]) -> int:
    """Adds to `histories` what the service recorded in the served index after the log that it was built from."""
    served = targets(cluster, properties["alias"])
    if not served:
        return 0
    mapping = cluster.call("GET", f"/{served[0]}/_mapping")[served[0]]["mappings"]
    text = mapping.get("_meta", {}).get("newest")
    since = parse_time(text, "newest") if text else None
    items = {document.id for document in data.documents()}
    carried = 0
    for source in _scroll(cluster, served[0]):
        for event in read(source.get("history", ())):
            if event.item_id in items and (since is None or event.timestamp > since):
                histories.setdefault(source["user_id"], []).append(event)
                carried += 1
    return carried


def _scroll(cluster: Cluster, index: str) -> Iterator[dict[str, Any]]:
    page = cluster.call("POST", f"/{index}/_search?scroll=2m", {"size": 500, "sort": ["_doc"]})
    try:
        while hits := page["hits"]["hits"]:
            for hit in hits:
                yield hit["_source"]
            page = cluster.call("POST", "/_search/scroll", {"scroll": "2m", "scroll_id": page["_scroll_id"]})
    finally:
        try:
            cluster.call("DELETE", "/_search/scroll", {"scroll_id": page["_scroll_id"]})
        except OpenSearchError as error:
            if error.status != 404:
                raise


def _text(document: Document) -> str:
    return document_text(document.title, document.text)


def _batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
