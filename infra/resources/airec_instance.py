"""An AIRec instance: one that was bought already, or, with dated consent, one that is bought by this stack."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from infra.resources.cloud import CloudProvider, airec_client, changed, failures, is_unknown, known
from serving.clients.airec import AirecClient
from serving.clients.openapi import ApiError

Properties = dict[str, Any]

INDUSTRY = "content"  # whose tables the data connection fills
EDITIONS = ("Algorithm Configuration Edition", "Industry Operation Edition")
RUNNING = "Running"

_OUTPUTS = ("status", "expires", "bought")
_POLL_S = 2.0
_WAIT_S = 3600.0  # a start imports the instance's data first


class AirecInstanceError(Exception):
    """The instance can't be used; the message says what to do."""


@dataclass(frozen=True)
class AirecInstanceArgs:
    """Inputs of `AirecInstance`: either `instance_id` or `purchase_until`.

    Attributes:
        instance_id: an instance that exists; it is started when it isn't, and otherwise left as it is.
        purchase_until: ISO date until which this stack may buy an instance, for at least a month of subscription fee.
        name: of an instance that is bought; a second update finds it by this name instead of buying again.
        edition: of an instance that is bought.
        months: for how long it is bought: 1 to 10, or 12. It isn't renewed by itself.
        scene: kind of page that a bought instance is for: ``gul`` (guess you like), ``rr``, ``hot`` or ``focus``.
    """

    instance_id: str | None = None
    purchase_until: str | None = None
    name: str = "ragrec"
    edition: str = EDITIONS[0]
    months: int = 1
    scene: str = "gul"


_INPUTS = tuple(AirecInstanceArgs.__dataclass_fields__)


def validate(properties: Mapping[str, Any], today: dt.date, *, exists: bool = False) -> dict[str, str]:
    """Problems by property; what isn't known yet is no problem.

    Args:
        properties: the inputs.
        today: what consent is compared with.
        exists: the resource is there already; consent may then have ended.
    """
    problems = {}
    until = properties.get("purchase_until")
    if not properties.get("instance_id") and not until:
        problems["instance_id"] = (
            "AIRec instances are bought by the month and can't be deleted by API: adopt one with"
            " ragrec:airec: {instanceId: airec-cn-...}, or consent to buying one with"
            f" ragrec:airec: {{purchase: {{until: {today + dt.timedelta(days=7)}}}}}"
        )
    elif properties.get("instance_id") and until:
        problems["purchase_until"] = "is given together with instance_id: adopt or buy, not both"
    if until:
        try:
            last = dt.date.fromisoformat(str(until))
        except ValueError:
            problems["purchase_until"] = f"is {until!r}, has to be a date like {today}"
        else:
            if last < today and not exists:
                problems["purchase_until"] = (
                    f"consent to buy an AIRec instance ended on {last}; to renew it:"
                    f" ragrec:airec: {{purchase: {{until: {today + dt.timedelta(days=7)}}}}}"
                )
    if properties.get("edition", EDITIONS[0]) not in EDITIONS:
        problems["edition"] = f"is {properties['edition']!r}, allowed are {', '.join(EDITIONS)}"
    if properties.get("months", 1) not in (*range(1, 11), 12):
        problems["months"] = f"is {properties['months']!r}, allowed are 1 to 10, and 12"
    return problems


def plan(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What an update does, in words; empty when nothing changes."""
    if not old:
        if new.get("instance_id"):
            return [f"adopt AIRec instance {new['instance_id']} and start it if it isn't running"]
        terms = f"{new['edition']}, {new['months']:.0f} month(s), the fee is due at once"
        return [f"buy an AIRec instance ({terms}; consent until {new['purchase_until']})", "start it"]
    steps = []
    if old.get("status") != RUNNING:
        steps.append(f"start the AIRec instance, which is {old.get('status')}")
    names = changed(old, new, _INPUTS)
    if names:
        steps.append(f"note {', '.join(names)}: nothing changes in AIRec")
    return steps


def purchase(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The body of CreateInstance."""
    months = int(properties["months"])
    return {
        "type": properties["edition"],
        "chargeType": "PrePaid",
        "quota": {"userCount": 1_000_000, "itemCount": 1_000_000, "qps": 10},
        "paymentInfo": {"duration": months, "pricingCycle": "Month", "autoRenew": False},
    }


class AirecInstanceProvider(CloudProvider):
    """Adopts or buys, starts, and leaves: AIRec has no operation that deletes."""

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """Refuses a purchase without valid consent."""
        return CheckResult(news, failures(validate(known(news), _today(), exists=bool(olds))))

    def diff(self, id_: str, olds: Properties, news: Properties) -> DiffResult:
        """Another instance to adopt is another resource; one that doesn't run is started."""
        if is_unknown(news):
            return DiffResult(changes=True)
        steps = plan(olds, news)
        other = news.get("instance_id") not in (None, id_)
        for step in [] if other else steps:
            pulumi.log.info(f"AIRec {id_}: {step}")
        return DiffResult(changes=bool(steps) or other, replaces=["instance_id"] if other else [])

    def create(self, props: Properties) -> CreateResult:
        """Finds or buys the instance and returns when it runs."""
        client = airec_client(self.cloud())
        if props.get("instance_id"):
            instance_id = str(props["instance_id"])
            self._adopt(client, instance_id)
        else:
            instance_id = self._buy(client, props)
        return CreateResult(instance_id, self._started(client, instance_id, props))

    def update(self, id_: str, olds: Properties, news: Properties) -> UpdateResult:
        """Starts an instance that doesn't run."""
        outs = self._started(airec_client(self.cloud()), id_, news)
        return UpdateResult({**outs, "bought": bool(olds.get("bought"))})

    def read(self, id_: str, props: Properties) -> ReadResult:
        """The instance as it is; an empty id when the subscription has lapsed and it is gone."""
        try:
            found = airec_client(self.cloud()).instance(id_)
        except ApiError as error:
            if error.not_found:
                return ReadResult("", {})
            raise
        inputs = {name: props[name] for name in _INPUTS if props.get(name) is not None}
        return ReadResult(id_, {**inputs, **_observed(found), "bought": bool(props.get("bought"))}, inputs)

    def delete(self, id_: str, props: Properties) -> None:
        """Leaves the instance, and says so."""
        if props.get("bought"):
            pulumi.log.warn(
                f"AIRec instance {id_} stays: the API can't delete it. Its subscription ends on"
                f" {props.get('expires')} and isn't renewed by itself; a refund is possible in the console."
            )
        else:
            pulumi.log.info(f"AIRec instance {id_} was adopted and stays")

    @staticmethod
    def _adopt(client: AirecClient, instance_id: str) -> None:
        try:
            found = client.instance(instance_id)
        except ApiError as error:
            if not error.not_found:
                raise
            there = ", ".join(str(row["instanceId"]) for row in client.instances()) or "none"
            raise AirecInstanceError(
                f"ragrec:airec: instanceId is {instance_id!r}, which isn't in this account and region; there: {there}"
            ) from error
        if found.get("industry") not in (INDUSTRY, "", None):
            raise AirecInstanceError(
                f"AIRec instance {instance_id} is of the industry {found['industry']!r}; ragrec fills the tables of"
                f" {INDUSTRY!r}, and the industry of a started instance can't change: take another instance"
            )

    @staticmethod
    def _buy(client: AirecClient, props: Properties) -> str:
        """Buys at most once: an earlier purchase is found by its name, a half-made one by having none."""
        for row in client.instances():
            unnamed = not row.get("name") and row.get("status") == "Initializing"
            if row.get("name") == props["name"] or unnamed:
                pulumi.log.info(f"AIRec instance {row['instanceId']} was bought before and is taken up")
                return str(row["instanceId"])
        if problems := validate(known(props), _today()):
            raise AirecInstanceError("; ".join(problems.values()))
        instance_id = client.create_instance(purchase(props))
        pulumi.log.info(f"AIRec instance {instance_id} bought for {props['months']:.0f} month(s)")
        return instance_id

    @staticmethod
    def _started(client: AirecClient, instance_id: str, props: Properties) -> Properties:
        """Configures, starts and waits, from whatever state the instance is in."""
        deadline = time.monotonic() + _WAIT_S
        said = ""
        while (found := client.instance(instance_id))["status"] != RUNNING:
            status = str(found["status"])
            if status != said:
                pulumi.log.info(f"AIRec instance {instance_id} is {status}")
                said = status
            if not found.get("industry"):
                client.modify_instance(
                    instance_id, {"name": props["name"], "industry": INDUSTRY, "scene": props["scene"]}
                )
            elif status == "Ready":
                try:
                    client.run_instance(instance_id)
                except ApiError as error:
                    # A concurrent update may have started it in between.
                    if error.transient or client.instance(instance_id)["status"] == "Ready":
                        raise
            if time.monotonic() > deadline:
                raise AirecInstanceError(f"AIRec instance {instance_id} is still {status} after {_WAIT_S:.0f} s")
            time.sleep(_POLL_S)
        inputs = {name: props[name] for name in _INPUTS if props.get(name) is not None}
        return {**inputs, **_observed(found), "bought": not props.get("instance_id")}


def _observed(found: Mapping[str, Any]) -> Properties:
    return {"status": str(found["status"]), "expires": str(found.get("expiredTime") or "")}


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


class AirecInstance(Resource, module="ragrec", name="AirecInstance"):
    """An AIRec instance that runs; its `id` is the instance id.

    Attributes:
        status: ``Running``.
        expires: when the subscription ends, ISO 8601.
        bought: whether this stack bought it.
    """

    status: pulumi.Output[str]
    expires: pulumi.Output[str]
    bought: pulumi.Output[bool]

    def __init__(self, name: str, args: AirecInstanceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(AirecInstanceProvider(), name, {**asdict(args), **dict.fromkeys(_OUTPUTS)}, opts)
