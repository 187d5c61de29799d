"""The service as a server, with stand-ins around it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.recommendation.search import PHYSICAL
from tests.serving.recommendation.world import INSTANCE, PREFIX, RELEASE, TITLES, World, authorised, world
from tests.serving.server import closed_port

BASE = f"/v1/instances/{INSTANCE}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def around(shared: World, tmp_path: Path) -> World:
    return shared.fresh(tmp_path)


@pytest.fixture
def client(around: World) -> Iterator[httpx.Client]:
    """A service with the release deployed."""
    with around.service() as client:
        assert around.deploy(client).status_code == 200
        yield client


def recommend(client: httpx.Client, **parameters: Any) -> dict[str, Any]:
    answer = client.get(f"{BASE}/recommend", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids(body: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in body["items"]]


def event(client: httpx.Client, item_id: str, user_id: str = "u1", **more: Any) -> httpx.Response:
    body = {"user_id": user_id, "item_id": item_id, "event": "click", "timestamp": "2026-01-01T10:00:00Z", **more}
    return client.post(f"{BASE}/events", json=body)


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# -- what is recommended --


def test_without_any_signal_the_popular_items_come(client: httpx.Client) -> None:
    body = recommend(client, user_id="nobody-knows", explain=True)

    assert ids(body) == ["d1", "d2", "d3"]
    assert body["degraded"] == []
    assert body["release"] == RELEASE
    assert body["model_version"] == "custom_v1"
    assert list(body["items"][0]["explain"]["recalls"]) == ["popularity"]
    assert body["items"][0] | {"explain": None, "score": None} == {
        "item_id": "d1",
        "title": "Mending a sail",
        "url": "https://example.org/d1",
        "score": None,
        "explain": None,
    }


def test_a_query_is_answered_by_hybrid_search_through_the_pipeline(client: httpx.Client, around: World) -> None:
    body = recommend(client, query="engine", k=2, explain=True)

    assert set(ids(body)) == {"d7", "d8"}
    assert "hybrid" in body["items"][0]["explain"]["recalls"]
    assert around.search.searches[-1]["parameters"]["search_pipeline"] == "ragrec-hybrid"


def test_the_history_leads_to_what_is_near_and_the_seen_stays_out(client: httpx.Client) -> None:
    assert event(client, "d1").status_code == 201

    body = recommend(client, user_id="u1", explain=True)

    assert ids(body)[0] == "d2"
    assert "d1" not in ids(recommend(client, user_id="u1", k=100))
    assert {"semantic_recall", "collaborative"} <= set(body["items"][0]["explain"]["recalls"])


def test_an_item_leads_to_its_like_and_is_not_among_them(client: httpx.Client) -> None:
    body = recommend(client, item_id="d5", explain=True)

    assert ids(body)[0] == "d6"
    assert "d5" not in ids(body)
    assert {"item_to_item", "collaborative"} <= set(body["items"][0]["explain"]["recalls"])


def test_contributions_sum_to_the_score(client: httpx.Client) -> None:
    for item in recommend(client, query="rope", item_id="d1", explain=True)["items"]:
        total = sum(feature["contribution"] for feature in item["explain"]["features"].values())
        assert total == pytest.approx(item["score"], abs=1e-4)


def test_explanations_come_only_when_asked_for(client: httpx.Client) -> None:
    assert "explain" not in recommend(client, query="rope")["items"][0]


def test_search_finds_without_ranking_for_a_user(client: httpx.Client) -> None:
    answer = client.get(f"{BASE}/search", params={"query": "anchor", "k": 2}).json()

    assert set(ids(answer)) == {"d5", "d6"}
    assert answer["degraded"] == []
    assert answer["items"][0]["score"] == pytest.approx(1.0, abs=0.35)


def test_items_that_left_the_index_are_not_recommended(client: httpx.Client, around: World) -> None:
    del around.search.items["d1"]

    assert ids(recommend(client)) == ["d2", "d3", "d4"]


# -- what is refused --


@pytest.mark.parametrize(
    ("path", "parameters", "status", "code", "message"),
    [
        ("recommend", {"k": "0"}, 400, "invalid_parameter", "k must be a whole number from 1 to 100, not 0"),
        ("recommend", {"k": "101"}, 400, "invalid_parameter", "k must be a whole number from 1 to 100, not 101"),
        ("recommend", {"k": "ten"}, 400, "invalid_parameter", "k must be a whole number, not 'ten'"),
        ("recommend", {"query": "x" * 101}, 400, "query_too_long", "query has 101 characters; at most 100"),
        ("recommend", {"user": "u1"}, 400, "unknown_parameter", "Unknown parameter 'user'"),
        ("recommend", {"user_id": "ü" * 257}, 400, "invalid_parameter", "user_id is longer than 512 bytes"),
        ("recommend", {"explain": "perhaps"}, 400, "invalid_parameter", "explain: "),
        ("search", {}, 400, "missing_parameter", "query is missing"),
        ("search", {"query": " "}, 400, "invalid_parameter", "query is empty"),
        ("answer", {}, 404, "not_found", f"GET {BASE}/answer: Not Found"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    client: httpx.Client, path: str, parameters: dict[str, str], status: int, code: str, message: str
) -> None:
    answer = client.get(f"{BASE}/{path}", params=parameters)

    assert error(answer) == (status, code)
    assert answer.json()["error"]["message"].startswith(message)
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("path", ["", "/recommend", "/search?query=a"])
def test_another_instance_is_unknown(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/instances/other{path}")

    assert error(answer) == (404, "unknown_instance")
    assert INSTANCE in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("token", "method", "path", "expected"),
    [
        ("", "POST", f"{BASE}/deploy", 401),
        ("wrong", "POST", f"{BASE}/deploy", 401),
        ("reader", "POST", f"{BASE}/deploy", 403),
        ("", "POST", f"{BASE}/events", 401),
        ("deployer", "POST", f"{BASE}/events", 403),
        ("", "GET", f"{BASE}/recommend", 200),
        ("", "GET", "/metrics", 200),
    ],
)
def test_writing_needs_a_token_with_the_scope(
    client: httpx.Client, token: str, method: str, path: str, expected: int
) -> None:
    del client.headers["Authorization"]

    answer = client.request(method, path, headers=authorised(token) if token else {})

    assert answer.status_code == expected


@pytest.mark.parametrize(
    ("token", "path", "expected"),
    [
        ("", f"{BASE}/recommend", 401),
        ("", BASE, 401),
        ("", "/metrics", 401),
        ("", "/", 200),
        ("", "/docs", 200),
        ("", "/openapi.json", 200),
        ("", "/healthz", 200),
        ("reader", f"{BASE}/recommend", 503),
        ("reader", "/metrics", 403),
        ("deployer", BASE, 200),
        ("deployer", f"{BASE}/recommend", 403),
    ],
)
def test_reads_can_need_a_token_too(around: World, token: str, path: str, expected: int) -> None:
    authentication = around.settings.authentication.model_copy(update={"reads": "token"})
    with around.service(authentication=authentication) as client:
        del client.headers["Authorization"]

        assert client.get(path, headers=authorised(token) if token else {}).status_code == expected


# -- events --


def test_an_event_is_recorded_once(client: httpx.Client, around: World) -> None:
    first, again = event(client, "d1"), event(client, "d1")

    assert (first.status_code, first.json()["recorded"]) == (201, True)
    assert (again.status_code, again.json()["recorded"]) == (200, False)
    assert around.search.users["u1"][1] == {
        "user_id": "u1",
        "history": [{"item_id": "d1", "event": "click", "timestamp": "2026-01-01T10:00:00Z"}],
    }


def test_an_event_without_a_time_is_now_and_one_in_seconds_is_understood(client: httpx.Client) -> None:
    assert event(client, "d1", timestamp=None).json()["timestamp"] > "2026"
    assert event(client, "d1", timestamp=86400).json()["timestamp"] == "1970-01-02T00:00:00Z"


def test_a_writer_that_was_overtaken_reads_again(client: httpx.Client, around: World) -> None:
    event(client, "d1")
    around.search.conflicts = 3

    assert event(client, "d2").status_code == 201
    assert len(around.search.users["u1"][1]["history"]) == 2


def test_events_that_come_at_once_are_all_kept(client: httpx.Client, around: World) -> None:
    threads = [threading.Thread(target=event, args=(client, item)) for item in TITLES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {entry["item_id"] for entry in around.search.users["u1"][1]["history"]} == set(TITLES)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"item_id": "d1", "event": "click"}, "missing_field", "user_id is missing"),
        ({"user_id": "u", "item_id": "", "event": "click"}, "invalid_event", "field 'item_id': is empty"),
        (
            {"user_id": "u", "item_id": "d1", "event": "click", "timestamp": "soon"},
            "invalid_event",
            "field 'timestamp'",
        ),
        (
            {"user_id": "u", "item_id": "d1", "event": "click", "timestamp": "2099-01-01T00:00:00Z"},
            "invalid_event",
            "",
        ),
        ({"user_id": "u", "item_id": "d1", "event": "click", "weight": 3}, "unknown_field", "Unknown field 'weight'"),
        ({"user_id": 7, "item_id": "d1", "event": "click"}, "invalid_field", "user_id: "),
    ],
)
def test_malformed_events_are_refused(client: httpx.Client, body: dict[str, Any], code: str, message: str) -> None:
    answer = client.post(f"{BASE}/events", json=body)

    assert error(answer) == (400, code)
    assert answer.json()["error"]["message"].startswith(message)


def test_bodies_that_are_no_json_or_too_large_are_refused(client: httpx.Client) -> None:
    json = {"Content-Type": "application/json"}
    assert error(client.post(f"{BASE}/events", content="{", headers=json)) == (400, "invalid_body")
    assert error(client.post(f"{BASE}/events", content="x" * 70_000)) == (413, "body_too_large")


# -- degradation --


def test_without_the_embeddings_endpoint_bm25_stands_in(client: httpx.Client, around: World) -> None:
    around.endpoint.status = 503

    body = recommend(client, query="engine", explain=True)

    assert body["degraded"] == ["embeddings"]
    assert "lexical" in body["items"][0]["explain"]["recalls"]
    assert set(ids(body)[:2]) == {"d7", "d8"}
    assert client.get(f"{BASE}/search", params={"query": "engine"}).json()["degraded"] == ["embeddings"]


def test_vectors_of_another_model_version_are_not_used(client: httpx.Client, around: World) -> None:
    around.endpoint.version = "m2"

    body = recommend(client, query="engine", explain=True)

    assert body["degraded"] == ["embeddings"]
    assert "hybrid" not in body["items"][0]["explain"]["recalls"]


def test_without_opensearch_items_come_with_the_titles_seen_lately(client: httpx.Client, around: World) -> None:
    recommend(client)
    around.search.status = 503

    body = recommend(client, user_id="u1", query="engine")

    assert body["degraded"] == ["opensearch"]
    assert {item["item_id"]: item["title"] for item in body["items"]}["d1"] == "Mending a sail"


def test_a_slow_opensearch_is_left_out_after_its_time(client: httpx.Client, around: World) -> None:
    around.search.delay = 3.0

    body = recommend(client, user_id="u1")

    assert body["degraded"] == ["opensearch"]
    assert ids(body) == ["d1", "d2", "d3"]


def test_search_without_opensearch_is_unavailable(client: httpx.Client, around: World) -> None:
    around.search.status = 503

    answer = client.get(f"{BASE}/search", params={"query": "engine"})

    assert error(answer) == (503, "unavailable")
    assert answer.json()["degraded"] == ["opensearch"]
    assert answer.headers["retry-after"] == "5"


def test_a_dependency_that_keeps_failing_is_left_alone(client: httpx.Client, around: World) -> None:
    around.endpoint.status = 503
    for _ in range(5):
        recommend(client, query="engine")
    calls = around.endpoint.calls

    assert recommend(client, query="engine")["degraded"] == ["embeddings"]
    assert around.endpoint.calls == calls
    assert client.get(BASE).json()["dependencies"] == {"opensearch": "up", "embeddings": "down"}
    metrics = client.get("/metrics").text
    assert 'ragrec_dependency_circuit_open{dependency="embeddings"} 1.0' in metrics
    assert 'ragrec_degraded_answers_total{dependency="embeddings"} 6.0' in metrics


def test_events_without_opensearch_are_not_lost_silently(client: httpx.Client, around: World) -> None:
    around.search.status = 503

    assert error(event(client, "d1")) == (503, "dependency_unavailable")


# -- deployment --


def test_before_the_first_deployment_the_service_is_alive_but_not_ready(around: World) -> None:
    with around.service() as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/readyz", f"{BASE}/recommend"):
            answer = client.get(path)
            assert error(answer) == (503, "not_deployed")
            assert "retry-after" in answer.headers
        assert client.get(BASE).json()["status"] == "empty"


def test_a_deployment_pins_what_it_found(client: httpx.Client) -> None:
    described = client.get(BASE).json()

    assert described["status"] == "serving"
    assert described["model_version"] == "custom_v1"
    assert described["release"] == {
        "id": RELEASE,
        "artifacts": PREFIX,
        "index": PHYSICAL,
        "pipeline": "ragrec-hybrid",
        "model": "custom-emb-v1",
        "version": "m1",
        "dimension": 4,
    }
    assert client.get("/readyz").json()["release"] == RELEASE


def test_the_same_release_again_changes_nothing(client: httpx.Client, around: World) -> None:
    before = client.get(BASE).json()

    again = around.deploy(client).json()

    assert again["changed"] is False
    assert client.get(BASE).json() == before


def test_a_model_version_is_known_once_deployed(around: World) -> None:
    body = {"service_type": "recommendation", "model_version": "custom_v1"}
    with around.service() as client:
        unknown = client.post(f"{BASE}/deploy", json=body)
        around.deploy(client)
        known = client.post(f"{BASE}/deploy", json=body)
        other = client.post(f"{BASE}/deploy", json={**body, "model_version": "custom_v2"})

    assert error(unknown) == (404, "unknown_model_version")
    assert (known.status_code, known.json()["changed"]) == (200, False)
    assert "known: custom_v1" in other.json()["error"]["message"]


def test_one_goes_back_by_the_release_id(client: httpx.Client, around: World) -> None:
    (around.objects / "artifacts/two").mkdir()
    for source in (around.objects / PREFIX).iterdir():
        (around.objects / "artifacts/two" / source.name).write_bytes(source.read_bytes())
    newer = around.deploy(client, id="ba9876543210", artifacts="artifacts/two/").json()
    assert newer["previous"][0]["release"] == RELEASE

    back = client.post(
        f"{BASE}/deploy",
        json={"service_type": "recommendation", "model_version": "custom_v1", "release": {"id": RELEASE}},
    )

    assert back.json()["release"]["artifacts"] == PREFIX
    assert recommend(client)["release"] == RELEASE


def test_a_restart_serves_the_same_release_without_the_bucket_or_any_dependency(around: World) -> None:
    with around.service() as client:
        around.deploy(client)
    around.search.status = around.endpoint.status = 503
    for source in (around.objects / PREFIX).iterdir():
        source.unlink()

    with around.service() as client:
        for _ in range(100):
            if client.get("/readyz").status_code == 200:
                break
        assert recommend(client)["release"] == RELEASE


@pytest.mark.parametrize(
    ("change", "status", "code", "message"),
    [
        ({"service_type": "ranking"}, 400, "unknown_service_type", "known: recommendation"),
        ({"model_version": "v 1"}, 400, "invalid_field", "model_version"),
        ({"release": {"id": "xyz"}}, 400, "invalid_field", "release.id"),
        ({"release": {"id": "ffffffffffff"}}, 400, "incomplete_release", "release.artifacts"),
        ({"release": {"id": RELEASE, "artifacts": "nowhere/"}}, 404, "artifact_unavailable", "nowhere/ranker.json"),
        ({"release": {"id": RELEASE, "index": "books"}}, 404, "unknown_index", "'books'"),
        ({"release": {"id": RELEASE, "pipeline": "other"}}, 404, "unknown_pipeline", "'other'"),
        ({"release": {"id": RELEASE, "version": "m9"}}, 409, "release_mismatch", "names model version m9"),
        ({"region": "x"}, 400, "unknown_field", "'region'"),
    ],
)
def test_what_cannot_be_deployed_is_refused_and_the_old_goes_on(
    client: httpx.Client, change: dict[str, Any], status: int, code: str, message: str
) -> None:
    before = client.get(BASE).json()

    answer = client.post(
        f"{BASE}/deploy", json={"service_type": "recommendation", "model_version": "custom_v1", **change}
    )

    assert error(answer) == (status, code)
    assert message in answer.json()["error"]["message"]
    assert client.get(BASE).json() == before


@pytest.mark.parametrize("trouble", ["index", "dimension", "pipeline", "endpoint", "opensearch", "artifact"])
def test_parts_that_do_not_agree_are_not_deployed(client: httpx.Client, around: World, trouble: str) -> None:
    if trouble == "index":
        around.search.meta = {"model_version": "m0"}
    elif trouble == "dimension":
        around.search.dimension = 384
    elif trouble == "pipeline":
        around.search.pipeline = {}
    elif trouble == "endpoint":
        around.endpoint.status = 401
    elif trouble == "opensearch":
        around.search.status = 500
    else:
        (around.objects / "artifacts/broken").mkdir()
        (around.objects / "artifacts/broken/ranker.json").write_text("{}")
        (around.objects / "artifacts/broken/collaborative.npz").write_bytes(b"no archive")

    answer = around.deploy(
        client, id="ba9876543210", artifacts="artifacts/broken/" if trouble == "artifact" else PREFIX
    )

    expected = {"endpoint": 503, "opensearch": 503, "artifact": 422}.get(trouble, 409)
    assert answer.status_code == expected
    assert recommend(client)["release"] == RELEASE


def test_a_damaged_state_folder_is_said_and_a_new_deployment_repairs_it(around: World) -> None:
    around.settings.state.mkdir()
    (around.settings.state / "deployments.json").write_text("{")
    with around.service() as client:
        for _ in range(100):
            described = client.get(BASE).json()
            if described["status"] == "failed":
                break
        assert "deployments.json" in described["reason"]
        assert around.deploy(client).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_while_everything_outside_is_unreachable_a_deployment_says_so(around: World) -> None:
    nowhere = f"http://127.0.0.1:{closed_port()}"
    search = around.settings.opensearch.model_copy(update={"url": nowhere})
    with around.service(opensearch=search) as client:
        answer = around.deploy(client)

    assert error(answer) == (503, "dependency_unavailable")
    assert answer.json()["error"]["message"].startswith("opensearch: ")


# -- pages and metrics --


def test_the_pages_need_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert INSTANCE in page.text
        assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page.text)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "{{" not in page.text


def test_the_description_names_every_path(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    assert set(paths) == {
        "/v1/instances/{instance_id}",
        *(f"/v1/instances/{{instance_id}}/{name}" for name in ("deploy", "recommend", "search", "events")),
        "/healthz",
        "/readyz",
        "/metrics",
    }


def test_metrics_tell_recalls_apart(client: httpx.Client) -> None:
    recommend(client, query="rope", item_id="d1")

    text = client.get("/metrics").text

    assert 'ragrec_recall_seconds_count{recall="hybrid"} 1.0' in text
    assert 'ragrec_recall_seconds_count{recall="item_to_item"} 1.0' in text
    route = 'route="/v1/instances/{instance_id}/recommend"'
    assert f'ragrec_http_request_seconds_count{{method="GET",{route},status="200"}} 1.0' in text
