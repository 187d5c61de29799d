"""Feeds AIRec from OpenSearch: items and users from the indices, behaviours from the interactions' log.

AIRec itself knows MaxCompute tables and pushes only; this connection is what makes OpenSearch its source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from infra.resources.airec_ledger import Ledger, LedgerFile
from infra.resources.airec_sync import SyncError, Synchronisation, read_documents
from infra.resources.cloud import (
    CloudProvider,
    airec_client,
    changed,
    failures,
    is_unknown,
    known,
    oss_client,
    read_object,
)
from infra.resources.opensearch import CONNECTION, Cluster, ConnectionArgs
from serving.clients.openapi import ApiError

Properties = dict[str, Any]

INTERACTIONS = "interactions.jsonl"

_CONTENT = ("instance_id", "scene_id", "data_digest", "index_digest", "prefix")
_INPUTS = (*CONNECTION, *_CONTENT, "bucket", "items", "users", "patience")
_OUTPUTS = ("pushed", "content")


@dataclass(frozen=True)
class AirecDataConnectionArgs:
    """Inputs of `AirecDataConnection`.

    Attributes:
        connection: the OpenSearch cluster that holds the indices.
        instance_id: the AIRec instance; it has to run.
        bucket: the data bucket, with the interactions, and with the ledger of what was pushed.
        data_digest: of the staged data set; a new one makes the connection look again.
        index_digest: of the indices, where they may change without the data; a new one makes it look again, too.
        scene_id: AIRec's scene that items and behaviours belong to.
        prefix: of the staged data's keys.
        items: alias of the item index.
        users: alias of the user index.
        patience: seconds to wait for an OpenSearch that still boots.
    """

    connection: ConnectionArgs
    instance_id: pulumi.Input[str]
    bucket: pulumi.Input[str]
    data_digest: pulumi.Input[str]
    index_digest: pulumi.Input[str] = ""
    scene_id: str = "1"
    prefix: str = "raw/"
    items: str = "items"
    users: str = "users"
    patience: int = 300


def validate(properties: Mapping[str, Any]) -> dict[str, str]:
    """Problems by property; what isn't known yet is no problem."""
    problems = {}
    scene = str(properties.get("scene_id", "1"))
    if not (scene.isascii() and scene.isalnum()):
        problems["scene_id"] = f"is {scene!r}; AIRec takes letters and digits"
    prefix = str(properties.get("prefix", "raw/"))
    if not prefix.endswith("/") or prefix.startswith("/"):
        problems["prefix"] = f"is {prefix!r}; it has to end with a slash and start without one"
    return problems


def plan(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What an update does, in words; empty when nothing changes in AIRec."""
    if not old:
        return [f"push items, users and behaviours into AIRec instance {new['instance_id']}"]
    if old.get("content") == content_digest(new):
        return []
    why = ", ".join(changed(old, new, _CONTENT)) or "an earlier push was not finished"
    return [f"compare and push what differs into AIRec instance {new['instance_id']}: {why}"]


def content_digest(properties: Mapping[str, Any]) -> str:
    """Names what a finished synchronisation has brought into AIRec."""
    wanted = [properties.get(name) for name in _CONTENT]
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


class AirecDataConnectionProvider(CloudProvider):
    """Synchronises; the ledger in the data bucket says what AIRec holds, since AIRec can't be asked."""

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Refuses a scene or a prefix that can't be."""
        return CheckResult(news, failures(validate(known(news))))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Another instance or bucket is another connection; otherwise digests decide."""
        names = changed(olds, news, _INPUTS)
        if is_unknown(news):
            return DiffResult(changes=True)
        steps = plan(olds, news)
        for step in steps:
            pulumi.log.info(step)
        replaces = [name for name in names if name in ("instance_id", "bucket")]
        return DiffResult(changes=bool(names or steps), replaces=replaces)

    def create(self, props: Properties) -> CreateResult:
        """Pushes everything that AIRec doesn't have yet."""
        return CreateResult(f"{props['instance_id']}/{props['bucket']}", self._synchronise(props))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """Pushes what differs."""
        if not plan(olds, news):
            return UpdateResult({**_inputs(news), **{name: olds[name] for name in _OUTPUTS}})
        return UpdateResult(self._synchronise(news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """What the ledger says; an empty id when it is gone, or the instance is."""
        ledger = self._file(props).load()
        if ledger is None or self._status(props) is None:
            return ReadResult("", {})
        return ReadResult(id_, {**_inputs(props), **_observed(ledger)}, _inputs(props))

    def delete(self, _id: str, props: Properties) -> None:
        """Deletes the items and users that were pushed, and the ledger; behaviours stay, AIRec can't delete them."""
        file = self._file(props)
        ledger = file.load()
        if ledger is None:
            return
        status = self._status(props)
        if status == "Running":
            self._synchronisation(props, file, ledger).clear()
            pulumi.log.info(
                f"AIRec {props['instance_id']}: {ledger.behaviors:,} behaviours stay, none can be deleted"
            )
        else:
            pulumi.log.warn(f"AIRec {props['instance_id']} is {status or 'gone'}: nothing was deleted from it")
        file.remove()

    def _synchronise(self, props: Properties) -> Properties:
        file = self._file(props)
        ledger = file.load() or Ledger()
        if (status := self._status(props)) != "Running":
            raise SyncError(f"AIRec instance {props['instance_id']} is {status or 'gone'}, data can't be pushed")
        ledger.skipped, ledger.content = 0, ""
        run = self._synchronisation(props, file, ledger)
        cluster = Cluster(props)
        cluster.wait(float(props["patience"]), pulumi.log.info)
        fields = ("item_id", "title", "tags", "created_at")
        run.items(dict(read_documents(cluster, props["items"], "item_id", fields)))
        run.users(dict(read_documents(cluster, props["users"], "user_id", ("user_id",))))
        run.behaviors(read_object(oss_client(self.cloud()), props["bucket"], props["prefix"] + INTERACTIONS) or b"")
        ledger.content = content_digest(props)
        file.save(ledger)
        self._compare_counts(props, ledger)
        return {**_inputs(props), **_observed(ledger)}

    def _compare_counts(self, props: Properties, ledger: Ledger) -> None:
        """AIRec counts with a delay, and others may have pushed too, so a difference is told and no error."""
        quota = airec_client(self.cloud()).quota(props["instance_id"])
        for name, pushed in (("item", len(ledger.items)), ("user", len(ledger.users))):
            used = int(quota.get(f"{name}CountUsed") or 0)
            if used < pushed:
                pulumi.log.warn(f"AIRec {props['instance_id']} counts {used:,} {name}s, {pushed:,} were pushed")

    def _status(self, props: Properties) -> str | None:
        try:
            return str(airec_client(self.cloud()).instance(props["instance_id"])["status"])
        except ApiError as error:
            if error.not_found:
                return None
            raise

    def _file(self, props: Properties) -> LedgerFile:
        return LedgerFile(oss_client(self.cloud()), props["bucket"], props["instance_id"])

    def _synchronisation(self, props: Properties, file: LedgerFile, ledger: Ledger) -> Synchronisation:
        client = airec_client(self.cloud())
        return Synchronisation(client, props["instance_id"], props["scene_id"], file, ledger, pulumi.log.info)


def _inputs(props: Mapping[str, Any]) -> Properties:
    return {name: props[name] for name in _INPUTS if name in props}


def _observed(ledger: Ledger) -> Properties:
    pushed = {
        "items": len(ledger.items),
        "users": len(ledger.users),
        "behaviors": ledger.behaviors,
        "skipped": ledger.skipped,
    }
    return {"pushed": pushed, "content": ledger.content}


class AirecDataConnection(Resource, module="ragrec", name="AirecDataConnection"):
    """Items, users and behaviours in an AIRec instance.

    Attributes:
        pushed: how many ``items``, ``users`` and lines of the log (``behaviors``) AIRec has, and how many rows were
            ``skipped`` because their ids don't fit.
        content: digest of what was pushed; empty while a push is unfinished.
    """

    pushed: pulumi.Output[dict[str, int]]
    content: pulumi.Output[str]

    def __init__(self, name: str, args: AirecDataConnectionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        settings = {key: value for key, value in vars(args).items() if key != "connection"}
        props = {**args.connection.properties(), **settings, **dict.fromkeys(_OUTPUTS)}
        super().__init__(AirecDataConnectionProvider(), name, props, opts)
