"""SearchIndex: built from staged data in a real OpenSearch, with vectors of a gateway over TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime import rpc

from infra.resources import index_mapping
from infra.resources.hybrid_weights import HybridWeightsProvider
from infra.resources.index_build import BuildError, Progress, from_log, item
from infra.resources.search_index import SearchIndexProvider, plan, validate
from model.data import Document, open_dataset, write_contract
from tests.embeddings import DIMENSION, MODEL, FakeGateway, vector
from tests.infra.resources.local_cloud import BUCKET, SETTINGS, Local
from tests.opensearch import Node

PIPELINE = "test-index-hybrid"
USERS = {"kind": "users", "alias": "users-log"}
PURE = {
    "kind": "items",
    "alias": "items",
    "data_digest": "d" * 64,
    "model": MODEL,
    "version": "v1",
    "dimension": 8,
    "engine": "lucene",
    "replicas": 0,
    "pipeline": PIPELINE,
}


@pytest.fixture(scope="module", autouse=True)
def pipeline(request: pytest.FixtureRequest) -> Iterator[None]:
    if not any(item.get_closest_marker("opensearch") for item in request.session.items):
        yield
        return
    node: Node = request.getfixturevalue("opensearch")
    weights = {"bm25_weight": 0.3, "vector_weight": 0.7, "normalization": "min_max", "combination": "arithmetic_mean"}
    props = {**node.connection(), "pipeline": PIPELINE, **weights}
    HybridWeightsProvider().create(props)
    yield
    HybridWeightsProvider().delete(PIPELINE, props)


class Stage:
    """The staged data set, which tests replace, and the inputs that go with it."""

    def __init__(self, local: Local, folder: Path, node: Node, gateway: FakeGateway) -> None:
        self._local, self._folder, self._node, self._gateway = local, folder, node, gateway

    def put(self, documents: int, word: str = "sail", events: tuple[str, ...] = ()) -> dict[str, Any]:
        """Stages a data set; returns the inputs of an items index."""
        source, staged = self._folder / "source", self._folder / "staged"
        source.mkdir(exist_ok=True)
        records = [
            {
                "id": f"d{n}",
                "title": f"Title {n}",
                "text": f"The mariner's naïve {word} number {n}",
                "tags": ["boat"],
                "fields": {"n": n, "deep": {"list": [1, {"x": None}]}},
                "created_at": "2024-05-01T10:00:00Z",
            }
            for n in range(documents)
        ]
        log = [{"user_id": "u1", "item_id": "d1", "event": "click", "timestamp": time} for time in events]
        for name, lines in (("documents.jsonl", records), ("interactions.jsonl", log)):
            (source / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        write_contract(open_dataset(source), staged)
        for path in staged.iterdir():
            self._local.put(f"raw/{path.name}", path.read_bytes())
        return {
            **self._node.connection(),
            **PURE,
            "alias": "items-test",
            "bucket": BUCKET,
            "prefix": "raw/",
            "data_digest": open_dataset(source).digest,
            "endpoint": self._gateway.url,
            "token": self._gateway.token,
            "version": self._gateway.version,
            "dimension": DIMENSION,
            "patience": 2,
        }


@pytest.fixture
def stage(local: Local, tmp_path: Path, opensearch: Node, gateway: FakeGateway) -> Iterator[Stage]:
    yield Stage(local, tmp_path, opensearch, gateway)
    for alias in ("items-test", "users-log"):
        opensearch.session().delete(f"{opensearch.url}/{alias}-*")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> SearchIndexProvider:
    monkeypatch.setattr(SearchIndexProvider, "settings", SETTINGS)
    return SearchIndexProvider()


def indices(node: Node) -> list[str]:
    answer = node.session().get(f"{node.url}/items-test-*,users-log-*/_settings").json()
    return sorted(answer)


def search(node: Node, body: dict[str, Any]) -> list[str]:
    answer = node.session("service").post(f"{node.url}/items-test/_search", json=body).json()
    return [hit["_id"] for hit in answer["hits"]["hits"]]


@pytest.mark.opensearch
def test_build_search_adopt_delete(opensearch: Node, stage: Stage, provider: SearchIndexProvider) -> None:
    props = stage.put(150)

    made = provider.create(props)

    outs = made.outs or {}
    name = f"items-test-{index_mapping.digest(props)}"
    assert (outs["index"], outs["documents"], outs["count"], outs["previous"]) == (name, 150, 150, [])
    assert provider.read(made.id, outs).outs == outs
    assert provider.diff(made.id, outs, props).changes is False
    # Stemming, the possessive, accents: the words differ from the text's.
    lexical = {"match": {"text": "mariners naive"}}
    nearest = {"knn": {"vector": {"vector": vector("Title 7\nThe mariner's naïve sail number 7"), "k": 3}}}
    assert len(search(opensearch, {"query": lexical})) == 10
    assert search(opensearch, {"query": nearest})[0] == "d7"
    assert search(opensearch, {"query": {"hybrid": {"queries": [lexical, nearest]}}})[0] == "d7"
    source = opensearch.session().get(f"{opensearch.url}/items-test/_doc/d7").json()["_source"]
    assert source["fields"] == {"n": 7, "deep": {"list": [1, {"x": None}]}}
    # A second create, after a kill, takes the finished index over.
    assert (provider.create(props).outs or {})["index"] == name
    assert indices(opensearch) == [name]

    provider.delete(made.id, outs)
    assert provider.read(made.id, outs).id == ""
    assert indices(opensearch) == []


@pytest.mark.opensearch
def test_new_data_is_built_beside_and_the_old_index_is_the_way_back(
    opensearch: Node, gateway: FakeGateway, stage: Stage, provider: SearchIndexProvider
) -> None:
    first = stage.put(10)
    made = provider.create(first)
    second = stage.put(12, "anchor")

    newer = provider.update(made.id, made.outs or {}, second).outs or {}

    assert newer["documents"] == 12
    assert newer["previous"] == [(made.outs or {})["index"]]
    assert len(search(opensearch, {"query": {"match": {"text": "anchors"}}})) == 10
    third = stage.put(14, "rudder")
    newest = provider.update(made.id, newer, third).outs or {}
    assert indices(opensearch) == sorted([newest["index"], newer["index"]])
    # Back to the data before: its index is there, so nothing is embedded again but the samples.
    stage.put(12, "anchor")
    gateway.texts.clear()
    back = provider.update(made.id, newest, second).outs or {}
    assert back["index"] == newer["index"]
    assert len(gateway.texts) < 12


@pytest.mark.opensearch
def test_drift_is_seen_and_repaired(opensearch: Node, stage: Stage, provider: SearchIndexProvider) -> None:
    props = stage.put(10)
    made = provider.create(props)
    session, url = opensearch.session(), opensearch.url

    session.put(f"{url}/items-test/_settings", json={"index.search.default_pipeline": "_none"})
    read = provider.read(made.id, made.outs or {}).outs or {}
    assert plan(read, props) == [f"pipeline _none -> {PIPELINE}"]
    repaired = provider.update(made.id, read, props).outs or {}
    assert (provider.read(made.id, repaired).outs or {})["pipeline"] == PIPELINE

    session.delete(f"{url}/items-test/_doc/d3?refresh=true")
    read = provider.read(made.id, repaired).outs or {}
    assert plan(read, props)[0].endswith("it holds 9 documents instead of 10")
    rebuilt = provider.update(made.id, read, props).outs or {}
    assert (rebuilt["index"], rebuilt["count"]) == (f"{(made.outs or {})['index']}-2", 10)
    assert indices(opensearch) == [rebuilt["index"]]
    assert provider.diff(made.id, rebuilt, props).changes is False

    session.delete(f"{url}/items-test-*")
    assert provider.read(made.id, rebuilt).id == ""


@pytest.mark.opensearch
def test_a_failed_build_leaves_the_served_index_alone(
    opensearch: Node, gateway: FakeGateway, stage: Stage, provider: SearchIndexProvider
) -> None:
    made = provider.create(stage.put(10))
    wanted = stage.put(100, "anchor")

    with pytest.raises(BuildError, match=f"makes {DIMENSION} dimensions, not 16"):
        provider.update(made.id, made.outs or {}, {**wanted, "dimension": 16})
    with pytest.raises(ValueError, match="holds data set"):
        provider.update(made.id, made.outs or {}, {**wanted, "data_digest": "0" * 64})
    gateway.failures[:] = [400]  # not a fault that goes away
    with pytest.raises(Exception, match="answered 400"):
        provider.update(made.id, made.outs or {}, wanted)

    assert indices(opensearch) == [(made.outs or {})["index"]]
    assert len(search(opensearch, {"query": {"match_all": {}}})) == 10


@pytest.mark.opensearch
def test_an_overloaded_gateway_is_asked_again(
    gateway: FakeGateway, stage: Stage, provider: SearchIndexProvider
) -> None:
    props = {**stage.put(10), "patience": 20}
    gateway.failures[:] = [503, 429]

    assert (provider.create(props).outs or {})["count"] == 10


@pytest.mark.opensearch
def test_users_keep_what_the_service_recorded_since(
    opensearch: Node, stage: Stage, provider: SearchIndexProvider
) -> None:
    log = ("2024-05-01T10:00:00Z", "2024-05-01T09:00:00Z")
    props = {**stage.put(5, events=log), **USERS}
    made = provider.create(props)
    url = f"{opensearch.url}/users-log/_doc"
    service = opensearch.session("service")
    document = service.get(f"{url}/u1").json()["_source"]
    assert [entry["timestamp"] for entry in document["history"]] == sorted(log)
    event = {"item_id": "d2", "event": "view", "timestamp": "2024-06-01T00:00:00Z"}
    document["history"].append(event)
    assert service.put(f"{url}/u1?refresh=true", json=document).status_code == 200
    gone = {"item_id": "d99", "event": "view", "timestamp": "2024-06-01T00:00:00Z"}
    assert service.put(f"{url}/u2?refresh=true", json={"user_id": "u2", "history": [gone]}).status_code == 201
    assert provider.diff(made.id, made.outs or {}, props).changes is False

    later = {**stage.put(6, events=log), **USERS}
    newer = provider.update(made.id, made.outs or {}, later).outs or {}

    assert newer["documents"] == 1  # u2's only item is none of the new data set's
    assert service.get(f"{url}/u1").json()["_source"]["history"][-1] == event


@pytest.mark.opensearch
def test_an_index_in_the_place_of_the_alias_is_not_touched(
    opensearch: Node, stage: Stage, provider: SearchIndexProvider
) -> None:
    props = stage.put(5)
    opensearch.session().put(f"{opensearch.url}/items-test")
    try:
        with pytest.raises(BuildError, match="items-test is an index and not an alias"):
            provider.create(props)
    finally:
        opensearch.session().delete(f"{opensearch.url}/items-test")


def test_the_digest_follows_layout_data_and_model() -> None:
    base = index_mapping.digest(PURE)

    for name, value in (("data_digest", "e" * 64), ("version", "v2"), ("dimension", 9), ("engine", "faiss")):
        assert index_mapping.digest({**PURE, name: value}) != base
    for name, value in (("replicas", 2), ("alias", "other"), ("pipeline", "p")):
        assert index_mapping.digest({**PURE, name: value}) == base
    users = {**PURE, **USERS}
    assert index_mapping.digest(users) == index_mapping.digest({**users, "version": "v2"})


def test_item_has_what_the_contract_says() -> None:
    document = Document("d", "T", "text", tags=("a",), created_at=datetime(2024, 5, 1, tzinfo=UTC))

    assert item(document, [1.0]) == {
        "item_id": "d",
        "title": "T",
        "text": "text",
        "tags": ["a"],
        "fields": {},
        "created_at": "2024-05-01T00:00:00Z",
        "vector": [1.0],
    }


def test_long_histories_keep_the_newest_events(tmp_path: Path) -> None:
    (tmp_path / "documents.jsonl").write_text('{"id":"d","text":"t"}\n')
    lines = [{"user_id": "u", "item_id": "d", "event": "click", "timestamp": second} for second in range(2000)]
    (tmp_path / "interactions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))

    histories, newest = from_log(open_dataset(tmp_path))

    assert newest == datetime.fromtimestamp(1999, UTC)
    assert len(histories["u"]) <= 1000
    assert sorted(histories["u"])[-200:][0].timestamp == datetime.fromtimestamp(1800, UTC)


def test_progress_tells_rate_and_rest() -> None:
    told: list[str] = []
    progress = Progress("items-x", "documents", 100, told.append, interval=0)

    progress.add(50)
    progress.add(50)

    assert told[0].startswith("items-x: 50 of 100 documents, ")
    assert told[0].endswith(" s left")
    assert told[1].startswith("items-x: 100 of 100 documents, ")


def test_plan_says_what_happens_in_words() -> None:
    old = {**PURE, "index": "items-old", "digest": index_mapping.digest(PURE), "documents": 4412, "count": 4412}

    assert plan({}, PURE)[0] == f"build items-{index_mapping.digest(PURE)}"
    assert plan(old, PURE) == []
    assert plan(old, {**PURE, "replicas": 1}) == ["replicas 0 -> 1"]
    assert plan(old, {**PURE, "version": "v2"}) == [
        "build a new index beside items-old (4,412 documents now): version",
        "count and compare",
        "point items at it and keep items-old for the way back",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "things"),
        ("alias", "Items"),
        ("prefix", "raw"),
        ("data_digest", "abc"),
        ("replicas", 11),
        ("engine", "nmslib"),
        ("dimension", 0),
        ("endpoint", "http://10.0.0.1:8443"),
    ],
)
def test_validate_names_the_property(name: str, value: Any) -> None:
    assert list(validate({**PURE, name: value})) == [name]


def test_unknown_values_pass() -> None:
    unknown = rpc.deserialize_property(rpc.UNKNOWN, True)
    provider = SearchIndexProvider()

    assert provider.check({}, {**PURE, "version": unknown, "dimension": unknown}).failures == []
    assert provider.diff("items", dict(PURE), {**PURE, "version": unknown}).changes is True
