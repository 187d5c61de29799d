"""The operations of AIRec that this cloud implements."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from infra.localcloud.service import ApiError, ApiService, Call, Cloud, Reply, operation
from infra.localcloud.services.airec import instance as instances
from infra.localcloud.services.airec.filters import Fields, parse_filter
from infra.localcloud.services.airec.instance import Record
from infra.localcloud.services.airec.learner import Model, learn
from infra.localcloud.services.airec.tables import TABLES, Command, parse_push

_ROOT = "/v2/openapi/instances"
_ONE = _ROOT + "/{instanceId}"
_REGIONS = {
    "cn-beijing": "China (Beijing)",
    "cn-hangzhou": "China (Hangzhou)",
    "cn-shanghai": "China (Shanghai)",
    "cn-shenzhen": "China (Shenzhen)",
    "ap-southeast-1": "Singapore",
    "us-east-1": "US (Virginia)",
}
_RELEARN_PAUSE = 5  # times the duration of the last learning: how long pushes may wait to be learnt from


class Airec(ApiService):
    """Recommendation instances, one of which the account owns from the start."""

    name = "airec"
    versions = ("2020-11-26",)
    hosts = (r"airec\.[a-z0-9-]+\.aliyuncs\.com",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self._instances = cloud.store.collection("airec.instance")
        self._scenes = cloud.store.collection("airec.scene")
        self._tables = {name: cloud.store.collection(f"airec.{name}") for name in TABLES}
        self._learnt = _Learnt(self._learn)

    def start(self) -> None:
        """Puts the bought instance into a new account."""
        if self._instances.get(instances.BOUGHT) is None:
            self._instances.put(instances.BOUGHT, instances.bought_instance(self.cloud.region))

    def inventory(self) -> list[str]:
        """Instances that somebody bought here; the API can't delete them."""
        return [
            f"airec:instance {record['instanceId']}"
            for record in self._instances.values()
            if record["instanceId"] != instances.BOUGHT
        ]

    def envelope(self, call: Call) -> Reply:
        """AIRec spells the request id in lower case."""
        return {"requestId": call.request_id}

    @operation("CreateInstance", method="POST", path=_ROOT)
    def create_instance(self, call: Call) -> Reply:
        """Buys an instance."""
        record = instances.new_instance(call.body, self.cloud.region)
        self._instances.put(record["instanceId"], record)
        return {"result": {"instanceId": record["instanceId"]}}

    @operation("ListInstance", method="GET", path=_ROOT,
               optional=("instanceId", "name", "status", "page", "size"))  # fmt: skip
    def list_instances(self, call: Call) -> Reply:
        """The account's instances."""
        found = [instances.document(record) for record in self._instances.values()]
        for name in ("instanceId", "name", "status"):
            if name in call.parameters:
                found = [row for row in found if row[name] == call.parameters[name]]
        return {"result": _page(found, call.parameters)}

    @operation("DescribeInstance", method="GET", path=_ONE)
    def describe_instance(self, call: Call) -> Reply:
        """One instance."""
        return {"result": instances.document(self._instance(call))}

    @operation("ModifyInstance", method="PUT", path=_ONE, note="the vendor documents no body: name, industry, scene")
    def modify_instance(self, call: Call) -> Reply:
        """Names and configures an instance."""
        record = self._instance(call)
        instances.modify(record, call.body)
        self._instances.put(record["instanceId"], record)
        return {"result": instances.document(record)}

    @operation("RunInstance", method="POST", path=_ONE + "/actions/import", note="starts without MaxCompute tables")
    def run_instance(self, call: Call) -> Reply:
        """Starts an instance."""
        record = self._instance(call)
        instances.start(record)
        self._instances.put(record["instanceId"], record)
        return {"result": True}

    @operation("DescribeQuota", method="GET", path=_ONE + "/quota")
    def describe_quota(self, call: Call) -> Reply:
        """What the instance may hold, and holds."""
        record = self._instance(call)
        used = {f"{name}CountUsed": len(self._keys(name, record["instanceId"])) for name in ("item", "user")}
        return {"result": {**record["quota"], **used, "currentQps": 0}}

    @operation("DescribeRegions", method="GET", path="/v2/openapi/configurations/regions")
    def describe_regions(self, _call: Call) -> Reply:
        """Where AIRec is offered."""
        return {
            "result": [
                {
                    "regionId": region,
                    "localName": name,
                    "endpoint": f"airec.{region}.aliyuncs.com",
                    "status": "Running" if region == self.cloud.region else "NotOpen",
                }
                for region, name in _REGIONS.items()
            ]
        }

    @operation("ListDataSource", method="GET", path=_ONE + "/dataSources", note="no MaxCompute tables: always empty")
    def list_data_sources(self, call: Call) -> Reply:
        """The MaxCompute tables that the instance imports."""
        self._instance(call)
        return {"result": []}

    @operation("PushDocument", method="POST", path=_ONE + "/tables/{tableName}/actions/bulk",
               note="refuses unknown fields and updates of missing documents")  # fmt: skip
    def push_document(self, call: Call) -> Reply:
        """Adds, changes and deletes documents; all of a request or none."""
        record = self._running(call)
        name = call.path_parameters["tableName"]
        commands = parse_push(name, call.body)
        with self.cloud.store.transaction():
            for index, command in enumerate(commands):
                self._apply(record["instanceId"], name, index, command)
            self._check_quota(record, name)
        self._learnt.outdate(record["instanceId"])
        return {"code": "0", "message": "", "result": True}

    def _apply(self, instance_id: str, table_name: str, index: int, command: Command) -> None:
        rows = self._tables[table_name]
        key = f"{instance_id}\n{TABLES[table_name].identify(command.fields)}"
        if command.verb == "delete":
            rows.delete(key)
        elif command.verb == "add":
            rows.put(key, command.fields)
        else:
            stored = rows.get(key)
            if stored is None:
                raise ApiError(400, "InvalidDocument", f"Document {index} of {table_name} to update doesn't exist.")
            rows.put(key, {**stored, **command.fields})

    def _check_quota(self, record: Record, table_name: str) -> None:
        limit = record["quota"].get(f"{table_name}Count")
        if limit is not None and len(self._keys(table_name, record["instanceId"])) > limit:
            raise ApiError(400, "ExceedQuota", f"The table {table_name} may hold {limit} documents.")

    def _keys(self, table_name: str, instance_id: str) -> list[str]:
        return self._tables[table_name].keys(f"{instance_id}\n")

    @operation("Recommend", method="GET", path=_ONE + "/actions/recommend",
               optional=("sceneId", "userId", "imei", "ip", "returnCount", "items", "filter"),
               note="by a learner of this project")  # fmt: skip
    def recommend(self, call: Call) -> Reply:
        """Items for a user."""
        record = self._running(call)
        query = call.parameters
        user = query.get("userId") or query.get("imei")
        if not user:
            raise ApiError(400, "MissinguserId", "userId or imei is mandatory for this action.")
        count = query.get("returnCount", "10")
        if not count.isdecimal() or int(count) > 50:
            raise ApiError(400, "InvalidParameter", f"returnCount: {count!r} is not a number from 0 to 50.")
        related = [item.split(":")[0] for item in query.get("items", "").split(",") if item]
        picks = self._learnt.model(record["instanceId"]).recommend(
            user, int(count), related_to=related, allowed=_allowed(query)
        )
        model_version = record["dataSetVersion"]
        return {
            "result": [
                {
                    "itemId": pick.item,
                    "itemType": pick.item_type,
                    "position": position,
                    "weight": pick.weight,
                    "flowWeight": 0.0,
                    "matchInfo": pick.recall,
                    "traceId": "ali",
                    "traceInfo": f"{model_version}.{pick.recall}.{position}.{call.request_id}",
                }
                for position, pick in enumerate(picks, start=1)
            ]
        }

    def _learn(self, instance_id: str) -> Model:
        rows = self._tables["item"].values(f"{instance_id}\n")
        return learn({row["item_id"]: row for row in rows}, self._tables["behavior"].values(f"{instance_id}\n"))

    @operation("CreateScene", method="POST", path=_ONE + "/scenes", optional=("dryRun",), note="body: sceneId")
    def create_scene(self, call: Call) -> Reply:
        """Adds a scene."""
        record = self._instance(call)
        members = instances.json_object(call.body)
        scene_id = members.get("sceneId")
        if set(members) != {"sceneId"} or not isinstance(scene_id, str) or not scene_id.isalnum():
            raise ApiError(400, "InvalidParameter", "The body has to be a sceneId of letters and digits.")
        if self._scenes.get(f"{record['instanceId']}\n{scene_id}") is not None:
            raise ApiError(409, "SceneAlreadyExist", f"The scene {scene_id} exists.")
        scene = {"sceneId": scene_id, "status": "Init", "gmtCreate": instances.now(), "gmtModified": instances.now()}
        if call.parameters.get("dryRun", "false").lower() != "true":
            self._scenes.put(f"{record['instanceId']}\n{scene_id}", scene)
        return {"result": scene}

    @operation("ListScenes", method="GET", path=_ONE + "/scenes", optional=("page", "size", "sceneId", "status"))
    def list_scenes(self, call: Call) -> Reply:
        """The instance's scenes."""
        found = self._scenes.values(f"{self._instance(call)['instanceId']}\n")
        for name in ("sceneId", "status"):
            if name in call.parameters:
                found = [row for row in found if row[name] == call.parameters[name]]
        return {"result": _page(found, call.parameters)}

    @operation("DescribeScene", method="GET", path=_ONE + "/scenes/{sceneId}")
    def describe_scene(self, call: Call) -> Reply:
        """One scene."""
        return {"result": self._scene(call)}

    @operation("DeleteScene", method="DELETE", path=_ONE + "/scenes/{sceneId}")
    def delete_scene(self, call: Call) -> Reply:
        """Removes a scene."""
        scene = self._scene(call)
        self._scenes.delete(f"{call.path_parameters['instanceId']}\n{scene['sceneId']}")
        return {"result": {"sceneId": scene["sceneId"]}}

    def _instance(self, call: Call) -> Record:
        instance_id = call.path_parameters["instanceId"]
        record = self._instances.get(instance_id)
        if record is None:
            raise ApiError(404, "InstanceNotExist", f"The instance {instance_id} does not exist.")
        return record

    def _running(self, call: Call) -> Record:
        record = self._instance(call)
        if (state := instances.status(record)) != "Running":
            message = f"The instance {record['instanceId']} is {state}, not Running."
            raise ApiError(400, "InvalidInstanceStatus", message)
        return record

    def _scene(self, call: Call) -> Record:
        instance_id, scene_id = call.path_parameters["instanceId"], call.path_parameters["sceneId"]
        scene = self._scenes.get(f"{instance_id}\n{scene_id}")
        if scene is None:
            raise ApiError(404, "SceneNotExist", f"The scene {scene_id} does not exist.")
        return scene


class _Learnt:
    """Models by instance, learnt again when data came and enough time has passed since the last time."""

    def __init__(self, learn_instance: Callable[[str], Model]) -> None:
        self._learn_instance = learn_instance
        self._lock = threading.Lock()
        self._models: dict[str, Model] = {}
        self._outdated: set[str] = set()
        self._next: dict[str, float] = {}

    def outdate(self, instance_id: str) -> None:
        """New data came."""
        with self._lock:
            self._outdated.add(instance_id)

    def model(self, instance_id: str) -> Model:
        """The newest model that may be had without learning all the time."""
        with self._lock:
            known = self._models.get(instance_id)
            if known is not None and (
                instance_id not in self._outdated or time.monotonic() < self._next[instance_id]
            ):
                return known
            self._outdated.discard(instance_id)
            began = time.monotonic()
            made = self._models[instance_id] = self._learn_instance(instance_id)
            ended = time.monotonic()
            self._next[instance_id] = ended + _RELEARN_PAUSE * (ended - began)
            return made


def _allowed(query: Mapping[str, str]) -> Callable[[Fields], bool]:
    wanted = parse_filter(query["filter"]) if query.get("filter") else lambda _: True
    scene = query.get("sceneId")

    def test(fields: Fields) -> bool:
        if str(fields.get("status")) != "1":
            return False
        if scene and scene not in str(fields.get("scene_id", "")).split(","):
            return False
        return wanted(fields)

    return test


def _page(rows: list[Any], query: Mapping[str, str]) -> list[Any]:
    page, size = query.get("page", "1"), query.get("size", "10")
    if not (page.isdecimal() and size.isdecimal() and int(page) >= 1 and 1 <= int(size) <= 100):
        raise ApiError(400, "InvalidParameter", "page has to be 1 or more, size 1 to 100.")
    return rows[(int(page) - 1) * int(size) : int(page) * int(size)]
