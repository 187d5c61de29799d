"""The service on a real OpenSearch, with TLS, the service's own user and role, and the stack's index layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from infra.resources import index_mapping
from serving.recommendation.app import application
from serving.recommendation.settings import Settings
from tests.embeddings import DIMENSION, FakeGateway, fake_gateway, vector
from tests.opensearch import Node, opensearch  # noqa: F401 - the fixture
from tests.serving.recommendation.artifacts import write_artifacts
from tests.serving.recommendation.world import INSTANCE, PREFIX, RELEASE, TITLES, Folder, authorised, settings
from tests.serving.server import running

pytestmark = [pytest.mark.opensearch, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
BASE = f"/v1/instances/{INSTANCE}"
VERSION = "a" * 12


@dataclass(frozen=True)
class Live:
    """A service with its surroundings."""

    client: httpx.Client
    gateway: FakeGateway
    admin: Any  # a requests session of the administrator
    url: str  # of OpenSearch


@pytest.fixture(scope="module")
def live(opensearch: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:  # noqa: F811 - the fixture
    folder = tmp_path_factory.mktemp("service")
    admin = opensearch.session()
    fill(admin, opensearch.url)
    write_artifacts(folder / "objects" / PREFIX, sorted(TITLES), VERSION)
    assert opensearch.authority
    with fake_gateway(opensearch.authority) as gateway:
        gateway.version = VERSION
        content = json.loads(settings(folder, opensearch.url, gateway.url).model_dump_json())
        content["opensearch"] |= {
            "username": "service",
            "password": opensearch.passwords["service"],
            "ca_file": str(opensearch.ca_file),
            "timeout": 10.0,
        }
        content["embeddings"] |= {"token": gateway.token, "ca_file": str(opensearch.ca_file), "timeout": 10.0}
        app = application(Settings.model_validate_json(json.dumps(content)), Folder(folder / "objects"))
        with (
            running(app) as url,
            httpx.Client(base_url=url, headers=authorised("all"), trust_env=False, timeout=30) as client,
        ):
            answer = client.post(
                f"{BASE}/deploy",
                json={
                    "service_type": "recommendation",
                    "model_version": "custom_v1",
                    "release": {"id": RELEASE, "artifacts": PREFIX, "version": VERSION},
                },
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["release"]["index"] == "items-000000000001"
            yield Live(client, gateway, admin, opensearch.url)


def fill(admin: Any, url: str) -> None:
    """Indices, aliases, pipeline and documents as the stack makes them."""

    def put(path: str, body: Any) -> None:
        answer = admin.put(f"{url}/{path}", json=body)
        assert answer.status_code in {200, 201}, answer.text

    common = {"data_digest": "d", "model": "custom-emb-v1", "version": VERSION}
    items = {"kind": "items", "dimension": DIMENSION, "engine": "lucene", **common}
    layout = index_mapping.layout(items)
    layout["mappings"]["_meta"] = index_mapping.meta(items)
    put("items-000000000001", {**layout, "aliases": {"items": {}}})
    put("users-000000000001", {**index_mapping.layout({"kind": "users", **common}), "aliases": {"users": {}}})
    weights = {"technique": "arithmetic_mean", "parameters": {"weights": [0.3, 0.7]}}
    processor = {"normalization": {"technique": "min_max"}, "combination": weights}
    put("_search/pipeline/ragrec-hybrid", {"phase_results_processors": [{"normalization-processor": processor}]})
    for item_id, title in TITLES.items():
        body = {"item_id": item_id, "title": title, "text": f"All about {title.lower()}.", "tags": [], "fields": {}}
        created = {"created_at": "2026-01-01T00:00:00Z", "vector": vector(title)}
        put(f"items-000000000001/_doc/{item_id}", {**body, **created})
    admin.post(f"{url}/items/_refresh")


def recommend(live: Live, **parameters: Any) -> dict[str, Any]:
    answer = live.client.get(f"{BASE}/recommend", params={"explain": True, **parameters})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body["degraded"] == []
    return body


def event(live: Live, user_id: str, item_id: str, second: int = 0) -> httpx.Response:
    body = {"user_id": user_id, "item_id": item_id, "event": "click", "timestamp": 1_767_225_600 + second}
    return live.client.post(f"{BASE}/events", json=body)


def test_hybrid_scores_are_normalised_and_weighted(live: Live) -> None:
    items = recommend(live, query="storm sail", k=8)["items"]

    scores = {item["item_id"]: item["explain"]["recalls"].get("hybrid") for item in items}
    assert items[0]["item_id"] == "d2"
    assert scores["d2"] == pytest.approx(1.0)
    assert all(0 < score <= 1 for score in scores.values() if score is not None)


def test_stemming_and_possessives_are_the_indexs(live: Live) -> None:
    found = live.client.get(f"{BASE}/search", params={"query": "the anchor's", "k": 2}).json()

    assert {item["item_id"] for item in found["items"]} == {"d5", "d6"}


def test_history_leads_recall_and_the_seen_is_filtered_inside_every_search(live: Live) -> None:
    assert event(live, "sailor", "d1").status_code == 201

    items = recommend(live, user_id="sailor", query="sail", k=8)["items"]

    assert "d1" not in [item["item_id"] for item in items]
    assert {"hybrid", "semantic_recall", "collaborative"} <= set(items[0]["explain"]["recalls"])
    assert items[0]["item_id"] == "d2"
    assert items[0]["explain"]["features"]["history"]["value"] == pytest.approx(
        sum(a * b for a, b in zip(vector(TITLES["d1"]), vector(TITLES["d2"]), strict=True)), abs=1e-4
    )


def test_an_item_leads_to_its_like(live: Live) -> None:
    items = recommend(live, item_id="d1")["items"]

    assert items[0]["item_id"] == "d2"
    assert "item_to_item" in items[0]["explain"]["recalls"]


def test_ids_with_reserved_characters_are_users_too(live: Live) -> None:
    user = "Jörg/ö?#%20&x=1 +"

    assert event(live, user, "d3").status_code == 201
    assert event(live, user, "d3").json()["recorded"] is False
    assert "d3" not in [item["item_id"] for item in recommend(live, user_id=user, k=8)["items"]]


def test_a_query_in_any_form_is_only_text(live: Live) -> None:
    for query in ('"', "a AND (", "*:*", "{}", "sail\u0000", "🛶" * 50, "\\"):
        recommend(live, query=query)


def test_events_of_one_user_that_come_at_once_are_all_kept(live: Live) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: event(live, "busy", f"d{n % 8 + 1}", second=n), range(24)))

    assert {answer.status_code for answer in answers} == {201}
    document = live.admin.get(f"{live.url}/users/_doc/busy").json()["_source"]
    assert len(document["history"]) == 24
    assert document["history"] == sorted(document["history"], key=lambda entry: entry["timestamp"])


def test_an_index_that_is_not_there_cannot_be_deployed(live: Live) -> None:
    answer = live.client.post(
        f"{BASE}/deploy",
        json={
            "service_type": "recommendation",
            "model_version": "custom_v1",
            "release": {"id": RELEASE, "artifacts": PREFIX, "index": "items-absent"},
        },
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_index")
