"""AIRec driven by the official SDK's generic call, through our client, and by the generated client where it can."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_airec20201126 import models
from alibabacloud_airec20201126.client import Client as GeneratedClient
from alibabacloud_tea_openapi.utils_models import Config

from infra.localcloud.services.airec import instance
from infra.localcloud.services.airec.service import Airec
from serving.clients.airec import AirecClient, add, delete, to_airec_id
from serving.clients.openapi import ApiError
from tests.infra.localcloud.services.roa import REGION

NOW = 1_700_000_000


def item(item_id: str, **fields: Any) -> dict[str, Any]:
    return add({"item_id": to_airec_id(item_id), "item_type": "article", "status": "1", "scene_id": "1", **fields})


def click(user_id: str, item_id: str, age: int = 0, **fields: Any) -> dict[str, Any]:
    return add(
        {
            "user_id": user_id,
            "item_id": to_airec_id(item_id),
            "item_type": "article",
            "bhv_type": "click",
            "bhv_time": str(NOW - age),
            "trace_id": "selfhold",
            "scene_id": "1",
            **fields,
        }
    )


def two_tastes(client: AirecClient, instance_id: str) -> None:
    """Users a* like a-1 to a-4, users b* like b-1 to b-4; nobody has seen n-1."""
    names = [f"{taste}-{number}" for taste in "ab" for number in range(1, 5)]
    client.push(instance_id, "item", [item(name, title=name) for name in [*names, "n-1"]])
    client.push(
        instance_id,
        "behavior",
        [
            click(f"{taste}{user}", f"{taste}-{number}", age=user)
            for taste in "ab"
            for user in range(5)
            for number in range(1, 5)
            if number != 1 + user % 4
        ],
    )


def picked(client: AirecClient, instance_id: str, user: str, **options: Any) -> list[str]:
    return [pick.item_id for pick in client.recommend(instance_id, user, **options)]


def test_the_account_owns_an_instance(client: AirecClient, service: Airec) -> None:
    [found] = client.instances()
    assert (found["instanceId"], found["status"], found["industry"]) == (instance.BOUGHT, "Ready", "content")
    client.run_instance(instance.BOUGHT)
    assert client.instance(instance.BOUGHT)["status"] == "Running"
    assert service.inventory() == []


def test_an_instance_is_bought_configured_and_started(client: AirecClient, service: Airec) -> None:
    instance_id = client.create_instance(
        {
            "type": "Algorithm Configuration Edition",
            "chargeType": "PrePaid",
            "quota": {"userCount": 1_000_000, "itemCount": 1_000_000, "qps": 10},
            "paymentInfo": {"duration": 1, "pricingCycle": "Month", "autoRenew": False},
        }
    )
    assert client.instance(instance_id)["status"] == "Initializing"
    with pytest.raises(ApiError, match="InvalidInstanceStatus"):
        client.run_instance(instance_id)
    client.modify_instance(instance_id, {"name": "ragrec", "industry": "content", "scene": "gul"})
    assert client.instance(instance_id)["status"] == "Ready"
    client.run_instance(instance_id)
    assert client.instance(instance_id)["status"] == "Running"
    with pytest.raises(ApiError, match="The industry can't change"):
        client.modify_instance(instance_id, {"industry": "news"})
    assert service.inventory() == [f"airec:instance {instance_id}"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chargeType": "PostPaid"}, "InvalidPayMethod"),
        ({"type": "Other"}, "InvalidParameter"),
        ({"paymentInfo": {"duration": 11, "pricingCycle": "Month"}}, "InvalidParameter"),
        ({"quota": {"qps": 5}}, "InvalidParameter"),
        ({"surprise": 1}, "InvalidParameter"),
    ],
)
def test_a_wrong_purchase_is_refused(client: AirecClient, changes: dict[str, Any], code: str) -> None:
    body = {
        "type": "Industry Operation Edition",
        "chargeType": "PREPAY",
        "paymentInfo": {"duration": 1, "pricingCycle": "Month"},
        **changes,
    }
    with pytest.raises(ApiError) as caught:
        client.create_instance(body)
    assert (caught.value.status, caught.value.code) == (400, code)


def test_an_unknown_instance_is_not_found(client: AirecClient) -> None:
    with pytest.raises(ApiError, match="InstanceNotExist") as caught:
        client.instance("airec-cn-other")
    assert caught.value.not_found


def test_users_get_what_their_kind_likes_without_what_they_have_seen(client: AirecClient, running: str) -> None:
    two_tastes(client, running)
    first = client.recommend(running, "a0", count=3)
    assert first[0].item_id == "a-1"
    assert (first[0].match_info, first[0].trace_id, first[0].position) == ("i2i", "ali", 1)
    assert [pick.weight for pick in first] == sorted((pick.weight for pick in first), reverse=True)
    assert picked(client, running, "b2")[0] == "b-3"
    assert not {"a-2", "a-3", "a-4"} & set(picked(client, running, "a0", count=50))


def test_an_unknown_user_gets_what_is_popular_then_what_is_new(client: AirecClient, running: str) -> None:
    two_tastes(client, running)
    found = client.recommend(running, "stranger", count=50)
    assert len(found) == 9
    assert {pick.match_info for pick in found[:8]} == {"hot"}
    assert (found[-1].item_id, found[-1].match_info) == ("n-1", "new")


def test_related_items_scenes_and_filters_narrow_the_answer(client: AirecClient, running: str) -> None:
    two_tastes(client, running)
    assert picked(client, running, "stranger", items=["b-2"])[0].startswith("b-")
    client.push(
        running, "item", [item("s-1", scene_id="1,side", tags="x,y"), item("off", status="0", scene_id="side")]
    )
    assert picked(client, running, "stranger", scene_id="side") == ["s-1"]
    tagged = {"join": "and", "filters": [{"cond": "contain", "field": "tags", "value": "y"}]}
    assert picked(client, running, "stranger", conditions=tagged) == ["s-1"]
    with pytest.raises(ApiError, match="a condition has"):
        client.recommend(running, "stranger", conditions={"filters": [{"cond": "like"}]})


def test_deleted_items_are_not_recommended_and_quotas_count(client: AirecClient, running: str) -> None:
    two_tastes(client, running)
    client.push(running, "user", [add({"user_id": "a0"}), add({"user_id": "a1"}), add({"user_id": "a0"})])
    quota = client.quota(running)
    assert (quota["itemCountUsed"], quota["userCountUsed"], quota["itemCount"]) == (9, 2, 1_000_000)
    assert picked(client, running, "a0")[0] == "a-1"
    client.push(running, "item", [delete({"item_id": to_airec_id("a-1"), "item_type": "article"})])
    assert "a-1" not in picked(client, running, "a0", count=50)
    assert client.quota(running)["itemCountUsed"] == 8


def test_a_repeated_push_of_behaviours_changes_nothing(client: AirecClient, running: str) -> None:
    two_tastes(client, running)
    before = client.recommend(running, "a0")
    two_tastes(client, running)
    assert [(pick.item_id, pick.weight) for pick in client.recommend(running, "a0")] == [
        (pick.item_id, pick.weight) for pick in before
    ]


def test_data_is_taken_by_running_instances_only(client: AirecClient) -> None:
    with pytest.raises(ApiError, match="is Ready, not Running"):
        client.push(instance.BOUGHT, "item", [item("a")])


@pytest.mark.parametrize(
    ("table", "command", "message"),
    [
        (
            "item",
            add({"item_id": "a-b", "item_type": "article", "status": "1", "scene_id": "1"}),
            "letters and digits",
        ),
        ("item", add({"item_id": "a", "item_type": "article", "status": "1"}), "scene_id is required"),
        ("item", add({"item_id": "a", "item_type": "book", "status": "1", "scene_id": "1"}), "item_type has to be"),
        ("item", item("a", scene_id="x:y"), "without colons"),
        ("item", item("a", surprise="x"), "the field surprise is not one"),
        ("item", item("a", title="t" * 5001), "title is larger than 5000"),
        ("item", {"cmd": "update", "fields": {"item_id": "a", "item_type": "article"}}, "to update doesn't exist"),
        ("item", {"cmd": "upsert", "fields": {}}, "cmd has to be"),
        ("item", {"fields": {}}, "it has to be"),
        ("user", add({"gender": "x"}), "user_id or imei"),
        ("behavior", delete({"item_id": "a"}), "behaviours can't be changed"),
        ("behavior", click("u", "a", bhv_type="glance"), "bhv_type has to be"),
        ("behavior", click("u", "a", bhv_time="1700000000000"), "ten digits"),
    ],
)
def test_wrong_documents_are_refused_by_name(
    client: AirecClient, running: str, table: Any, command: dict[str, Any], message: str
) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        client.push(running, table, [command])
    assert (caught.value.status, caught.value.code) == (400, "InvalidDocument")


def test_a_request_is_taken_as_a_whole_or_not_at_all(client: AirecClient, running: str) -> None:
    with pytest.raises(ApiError, match="Document 1 of item to update"):
        client.push(running, "item", [item("a"), {"cmd": "update", "fields": item("b")["fields"]}])
    assert client.quota(running)["itemCountUsed"] == 0


def test_the_limits_of_a_request_hold(client: AirecClient, running: str) -> None:
    with pytest.raises(ApiError, match="801 documents"):
        client.push(running, "item", [item(str(number)) for number in range(801)])
    with pytest.raises(ApiError, match="RequestTooLarge"):
        client.push(running, "item", [item(str(number), title="t" * 4000) for number in range(300)])
    with pytest.raises(ApiError, match="returnCount"):
        client.request(
            "Recommend", "GET", f"instances/{running}/actions/recommend", query={"userId": "a", "returnCount": "51"}
        )
    with pytest.raises(ApiError, match="userId or imei"):
        client.request("Recommend", "GET", f"instances/{running}/actions/recommend")


def test_scenes_come_and_go(client: AirecClient, running: str) -> None:
    path = f"instances/{running}/scenes"
    client.request("CreateScene", "POST", path, body={"sceneId": "home"})
    with pytest.raises(ApiError, match="SceneAlreadyExist"):
        client.request("CreateScene", "POST", path, body={"sceneId": "home"})
    assert [scene["sceneId"] for scene in client.request("ListScenes", "GET", path)] == ["home"]
    assert client.request("DescribeScene", "GET", f"{path}/home")["status"] == "Init"
    client.request("DeleteScene", "DELETE", f"{path}/home")
    with pytest.raises(ApiError, match="SceneNotExist"):
        client.request("DescribeScene", "GET", f"{path}/home")


def test_the_generated_client_reads_what_ours_wrote(client: AirecClient, running: str) -> None:
    two_tastes(client, running)
    generated = GeneratedClient(
        Config(
            access_key_id="key",
            access_key_secret="secret",
            endpoint=f"airec.{REGION}.aliyuncs.com",
            protocol="HTTP",
        )
    )
    assert generated.describe_instance(running).body.result.status == "Running"
    answer = generated.recommend(running, models.RecommendRequest(user_id="a0", return_count=2)).body
    assert [row.item_id for row in answer.result] == [to_airec_id("a-1"), answer.result[1].item_id]
    regions = generated.describe_regions(models.DescribeRegionsRequest()).body.result
    assert {row.region_id for row in regions} >= {REGION, "us-east-1"}
    assert generated.list_data_source(running).body.result == []
