"""The data connection against the local cloud's OSS and AIRec; the index is read from a real OpenSearch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pulumi.runtime import rpc

from infra.localcloud.services.airec.instance import BOUGHT
from infra.resources import airec_data_connection, airec_sync
from infra.resources.airec_data_connection import (
    AirecDataConnectionProvider,
    content_digest,
    plan,
    validate,
)
from infra.resources.airec_ledger import Ledger, LedgerFile
from infra.resources.airec_sync import SyncError, compare, read_documents
from infra.resources.cloud import airec_client
from infra.resources.opensearch import Cluster
from serving.clients.airec import AirecClient, add, from_airec_id
from serving.clients.openapi import ApiError
from tests.infra.resources.local_cloud import BUCKET, SETTINGS, Local
from tests.opensearch import Node

UNKNOWN = rpc.deserialize_property(rpc.UNKNOWN, True)
LOG = "raw/interactions.jsonl"
LEDGER = f"airec/{BOUGHT}/ledger.json.gz"
START = 1_700_000_000
Index = dict[str, dict[str, Any]]


def properties(**changes: Any) -> dict[str, Any]:
    return {
        "url": "https://127.0.0.1:1",
        "authority": "",
        "user": "loader",
        "password": "secret",
        "instance_id": BOUGHT,
        "bucket": BUCKET,
        "data_digest": "d" * 64,
        "index_digest": "",
        "scene_id": "1",
        "prefix": "raw/",
        "items": "items",
        "users": "users",
        "patience": 1,
        **changes,
    }


def document(item_id: str, **fields: Any) -> dict[str, Any]:
    return {"item_id": item_id, "title": f"About {item_id}", "tags": ["a, b", "c"], **fields}


def log(*events: tuple[str, str, str]) -> bytes:
    """Interactions of (user, item, event), a second apart."""
    rows = [
        {"user_id": user, "item_id": item, "event": event, "timestamp": START + number}
        for number, (user, item, event) in enumerate(events)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


EVENTS = [
    *((f"u{user}", f"doc-{number}", "click") for user in range(4) for number in range(1, 4)),
    ("u9", "doc-1", "view"),
    ("u9", "doc-2", "rate"),
]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    """What OpenSearch holds; reading from a real one is tested below."""
    content: Index = {
        "items": {name: document(name) for name in ("doc-1", "doc-2", "doc-3", "x" * 60)},
        "users": {f"u{user}": {"user_id": f"u{user}"} for user in (0, 1, 2, 3, 9)},
    }

    class Unreached:
        def __init__(self, _properties: Mapping[str, Any]) -> None:
            pass

        def wait(self, _seconds: float, _report: object) -> None:
            pass

    def read(_cluster: object, alias: str, _key: str, _fields: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        return list(content[alias].items())

    monkeypatch.setattr(airec_data_connection, "Cluster", Unreached)
    monkeypatch.setattr(airec_data_connection, "read_documents", read)
    return content


@pytest.fixture
def client(local: Local) -> AirecClient:
    client = airec_client(SETTINGS)
    client.run_instance(BOUGHT)
    local.put(LOG, log(*EVENTS))
    return client


@pytest.fixture
def provider(client: AirecClient, monkeypatch: pytest.MonkeyPatch) -> AirecDataConnectionProvider:
    monkeypatch.setattr(AirecDataConnectionProvider, "settings", SETTINGS)
    return AirecDataConnectionProvider()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    for level in ("info", "warn"):
        monkeypatch.setattr(f"pulumi.log.{level}", lambda line, *_: lines.append(line))
    return lines


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Table, command and id of everything that is pushed."""
    commands: list[tuple[str, str, str]] = []
    push = AirecClient.push

    def note(self: AirecClient, instance_id: str, table: Any, batch: Sequence[dict[str, Any]]) -> None:
        push(self, instance_id, table, batch)
        for command in batch:
            fields = command["fields"]
            identifier = fields["user_id"] if table == "user" else from_airec_id(fields["item_id"])
            commands.append((table, command["cmd"], identifier))

    monkeypatch.setattr(AirecClient, "push", note)
    return commands


def outs_of(result: Any) -> dict[str, Any]:
    outs: dict[str, Any] = result.outs
    return outs


def test_everything_reaches_airec_and_is_recommended(
    provider: AirecDataConnectionProvider, client: AirecClient, index: Index, said: list[str]
) -> None:
    result = provider.create(properties())
    assert result.id == f"{BOUGHT}/{BUCKET}"
    assert outs_of(result)["pushed"] == {"items": 3, "users": 5, "behaviors": 14, "skipped": 1}
    assert outs_of(result)["content"] == content_digest(properties())
    assert [pick.item_id for pick in client.recommend(BOUGHT, "u9")] == ["doc-3"]
    assert (client.quota(BOUGHT)["itemCountUsed"], client.quota(BOUGHT)["userCountUsed"]) == (3, 5)
    assert any(line.startswith("1 items are left out of AIRec") for line in said)


def test_only_what_differs_is_pushed_again(
    provider: AirecDataConnectionProvider, index: Index, local: Local, pushed: list[tuple[str, str, str]]
) -> None:
    olds = outs_of(provider.create(properties()))
    pushed.clear()
    index["items"]["doc-2"] = document("doc-2", title="New title")
    index["items"]["doc-4"] = document("doc-4")
    del index["items"]["doc-3"], index["users"]["u0"]
    local.put(LOG, log(*EVENTS, ("u1", "doc-4", "buy")))
    news = properties(data_digest="e" * 64)
    outs = outs_of(provider.update("id", olds, news))
    assert pushed == [
        ("item", "add", "doc-2"),
        ("item", "add", "doc-4"),
        ("item", "delete", "doc-3"),
        ("user", "delete", "u0"),
        ("behavior", "add", "doc-4"),
    ]
    assert outs["pushed"] == {"items": 3, "users": 4, "behaviors": 15, "skipped": 1}
    pushed.clear()
    again = provider.update("id", outs, properties(data_digest="e" * 64, password="other"))
    assert pushed == []
    assert outs_of(again)["password"] == "other"


def test_a_rewritten_log_adds_newer_behaviours_only(
    provider: AirecDataConnectionProvider,
    index: Index,
    local: Local,
    pushed: list[tuple[str, str, str]],
    said: list[str],
) -> None:
    olds = outs_of(provider.create(properties()))
    pushed.clear()
    changed = [("u0", "doc-3", "click"), *EVENTS[1:], ("u2", "doc-1", "click")]
    local.put(LOG, log(*changed))
    provider.update("id", olds, properties(data_digest="e" * 64))
    assert pushed == [("behavior", "add", "doc-1")]
    assert any("were rewritten" in line for line in said)


def test_a_push_that_was_cut_off_is_finished(
    provider: AirecDataConnectionProvider,
    client: AirecClient,
    index: Index,
    local: Local,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push = AirecClient.push

    def fail(self: AirecClient, instance_id: str, table: Any, batch: Sequence[dict[str, Any]]) -> None:
        if table == "user":
            raise ApiError("AIRec PushDocument", 500, "InternalError", "down")
        push(self, instance_id, table, batch)

    monkeypatch.setattr(AirecClient, "push", fail)
    with pytest.raises(ApiError, match="InternalError"):
        provider.create(properties())
    monkeypatch.setattr(AirecClient, "push", push)
    del index["users"]["u9"]
    outs = outs_of(provider.create(properties()))
    assert outs["pushed"]["users"] == 4
    assert client.quota(BOUGHT)["userCountUsed"] == 4


def test_delete_leaves_neither_items_nor_users_nor_a_ledger(
    provider: AirecDataConnectionProvider, client: AirecClient, index: Index, local: Local, said: list[str]
) -> None:
    outs = outs_of(provider.create(properties()))
    stored = local.keys()
    assert LEDGER in stored
    provider.delete("id", outs)
    assert (client.quota(BOUGHT)["itemCountUsed"], client.quota(BOUGHT)["userCountUsed"]) == (0, 0)
    assert client.recommend(BOUGHT, "u9") == []
    assert local.keys() == [LOG]
    assert said[-1] == f"AIRec {BOUGHT}: 14 behaviours stay, none can be deleted"
    provider.delete("id", outs)


def test_read_tells_what_the_ledger_knows(provider: AirecDataConnectionProvider, index: Index, local: Local) -> None:
    outs = outs_of(provider.create(properties()))
    read = provider.read("id", dict(outs))
    assert (read.id, read.outs, read.inputs) == ("id", outs, properties())
    assert provider.diff("id", outs, properties()).changes is False
    local.remove(LEDGER)
    assert provider.read("id", outs).id == ""


def test_a_damaged_ledger_says_what_to_do(provider: AirecDataConnectionProvider, index: Index, local: Local) -> None:
    local.put(LEDGER, b"not gzip")
    with pytest.raises(ApiError, match=r"is damaged .* delete it"):
        provider.create(properties())


def test_a_malformed_log_names_the_line(provider: AirecDataConnectionProvider, index: Index, local: Local) -> None:
    local.put(LOG, log(*EVENTS[:2]) + b'{"user_id": "u"}\n')
    with pytest.raises(SyncError, match=r"interactions\.jsonl, line 3: field 'timestamp'"):
        provider.create(properties())


def test_an_instance_that_does_not_run_takes_no_data(
    provider: AirecDataConnectionProvider, client: AirecClient, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AirecClient, "instance", lambda *_: {"status": "Ready"})
    with pytest.raises(SyncError, match="is Ready, data can't be pushed"):
        provider.create(properties())


def test_a_large_log_is_pushed_in_parts(
    provider: AirecDataConnectionProvider, index: Index, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    save = LedgerFile.save

    def note(self: LedgerFile, ledger: Ledger) -> None:
        saved.append(ledger.behaviors)
        save(self, ledger)

    monkeypatch.setattr(LedgerFile, "save", note)
    monkeypatch.setattr(airec_sync, "_CHUNK", 6)
    outs = outs_of(provider.create(properties()))
    assert outs["pushed"]["behaviors"] == 14
    assert [count for count in saved if count] == [6, 12, 14, 14]
    assert outs_of(provider.create(properties()))["pushed"] == outs["pushed"]


def test_a_comparison_finds_new_changed_and_gone_rows() -> None:
    def row(source: Mapping[str, Any]) -> dict[str, Any]:
        return {"user_id": source["name"]}

    first = compare({}, {"a": {"name": "a"}, "b": {"name": "b"}}, row, lambda key: {"user_id": key})
    assert first.upserts == [add({"user_id": "a"}), add({"user_id": "b"})]
    second = compare(first.fingerprints, {"b": {"name": "B"}}, row, lambda key: {"user_id": key})
    assert second.upserts == [add({"user_id": "B"})]
    assert [command["fields"] for command in second.deletions] == [{"user_id": "a"}]


def test_steps_are_told_in_words() -> None:
    new = properties()
    assert plan({}, new) == [f"push items, users and behaviours into AIRec instance {BOUGHT}"]
    old = {**new, "content": content_digest(new)}
    assert plan(old, new) == []
    assert plan(old, properties(data_digest="e" * 64))[0].endswith(": data_digest")
    assert plan({**old, "content": ""}, new)[0].endswith("an earlier push was not finished")


def test_wrong_inputs_are_named_and_unknown_ones_are_no_problem(provider: AirecDataConnectionProvider) -> None:
    assert list(validate(properties(scene_id="a:b", prefix="raw"))) == ["scene_id", "prefix"]
    unknown = properties(data_digest=UNKNOWN)
    assert provider.check({}, unknown).failures == []
    assert provider.diff("id", properties(), unknown).changes is True
    assert provider.diff("id", properties(), properties(instance_id="airec-cn-b")).replaces == ["instance_id"]


@pytest.mark.opensearch
def test_an_index_is_read_completely_by_the_loader(opensearch: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airec_sync, "_PAGE", 7)
    assert opensearch.authority is not None
    cluster = Cluster(
        {
            "url": opensearch.url,
            "authority": opensearch.authority.certificate,
            "user": "loader",
            "password": opensearch.passwords["loader"],
        }
    )
    cluster.call("PUT", "/items-airec", {"mappings": {"properties": {"item_id": {"type": "keyword"}}}})
    cluster.call("POST", "/_aliases", {"actions": [{"add": {"index": "items-airec", "alias": "items"}}]})
    rows: list[Any] = []
    for number in range(20):
        rows += [{"index": {"_index": "items-airec", "_id": f"d-{number:02}"}}, document(f"d-{number:02}", text="x")]
    cluster.bulk(rows)
    cluster.call("POST", "/items-airec/_refresh")
    try:
        found = dict(read_documents(cluster, "items", "item_id", ("item_id", "title")))
    finally:
        cluster.remove("/items-airec")
    assert sorted(found) == [f"d-{number:02}" for number in range(20)]
    assert found["d-03"] == {"item_id": "d-03", "title": "About d-03"}
