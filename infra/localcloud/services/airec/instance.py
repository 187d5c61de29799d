"""An AIRec instance's record: bought, configured, started, and its form on the wire."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.localcloud.service import ApiError

Record = dict[str, Any]

BOUGHT = "airec-cn-local0001"  # what the account has from the start
EDITIONS = {"Algorithm Configuration Edition": "Standard", "Industry Operation Edition": "Operation"}
INDUSTRIES = frozenset({"content", "item", "news", "video", "sns"})
SCENES = frozenset({"gul", "rr", "hot", "focus"})
STARTING_S = 1.5
_DAYS = {"Month": 30, "Year": 365}


def now() -> str:
    """The time in AIRec's form."""
    return _text(datetime.now(UTC))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def bought_instance(region: str) -> Record:
    """The instance that the account owns already: configured, not started."""
    record = _new(BOUGHT, region, "Algorithm Configuration Edition", 365, {})
    record.update(name="local", industry="content", scene="gul")
    return record


def new_instance(body: bytes, region: str) -> Record:
    """An instance from the body of CreateInstance; both languages' documentation is accepted.

    Raises:
        ApiError: 400, naming the member.
    """
    members = json_object(body)
    _only(members, {"type", "chargeType", "quota", "paymentInfo"})
    if members.get("type") not in EDITIONS:
        raise _invalid("type", f"has to be one of {', '.join(EDITIONS)}")
    if str(members.get("chargeType")).upper() not in ("PREPAID", "PREPAY"):
        raise ApiError(400, "InvalidPayMethod", "chargeType: only PrePaid is supported.")
    payment = members.get("paymentInfo") or {}
    cycle, duration = payment.get("pricingCycle"), payment.get("duration")
    if cycle not in _DAYS:
        raise _invalid("paymentInfo.pricingCycle", "has to be Month or Year")
    if not isinstance(duration, int) or not (1 <= duration <= 10 or duration == 12):
        raise _invalid("paymentInfo.duration", "has to be 1 to 10, or 12")
    quota = {str(k).removesuffix("PerUnit"): v for k, v in (members.get("quota") or {}).items()}
    _only(quota, {"userCount", "itemCount", "qps"})
    for name, low, high in (
        ("userCount", 1_000_000, 10_000_000),
        ("itemCount", 1_000_000, 10_000_000),
        ("qps", 10, 500),
    ):
        if name in quota and (not isinstance(quota[name], int) or not low <= quota[name] <= high):
            raise _invalid(f"quota.{name}", f"has to be {low} to {high}")
    return _new(f"airec-cn-{secrets.token_hex(5)}", region, members["type"], _DAYS[cycle] * duration, quota)


def _new(instance_id: str, region: str, edition: str, days: int, quota: dict[str, int]) -> Record:
    return {
        "instanceId": instance_id,
        "regionId": region,
        "type": EDITIONS[edition],
        "chargeType": "PrePaid",
        "commodityCode": "airecpre",
        "lockMode": "Unlock",
        "name": "",
        "industry": "",
        "scene": "",
        "dataSetVersion": "",
        "expiredTime": _text(datetime.now(UTC) + timedelta(days=days)),
        "gmtCreate": now(),
        "gmtModified": now(),
        "startedAt": 0.0,
        "quota": {"userCount": 1_000_000, "itemCount": 1_000_000, "qps": 10, **quota},
    }


def modify(record: Record, body: bytes) -> None:
    """Applies the body of ModifyInstance.

    Raises:
        ApiError: 400, naming the member; the industry can't change after the start.
    """
    members = json_object(body)
    _only(members, {"name", "industry", "scene"})
    if "industry" in members:
        if members["industry"] not in INDUSTRIES:
            raise _invalid("industry", f"has to be one of {', '.join(sorted(INDUSTRIES))}")
        if record["startedAt"] and members["industry"] != record["industry"]:
            raise ApiError(400, "InvalidInstanceStatus", "The industry can't change after the instance was started.")
    if "scene" in members and members["scene"] not in SCENES:
        raise _invalid("scene", f"has to be one of {', '.join(sorted(SCENES))}")
    record.update(members, gmtModified=now())


def status(record: Record) -> str:
    """Initializing until it is configured, then Ready; Starting for a moment after RunInstance, then Running."""
    if record["startedAt"]:
        return "Running" if time.time() - record["startedAt"] >= STARTING_S else "Starting"
    return "Ready" if record["industry"] else "Initializing"


def start(record: Record) -> None:
    """Starts a Ready instance.

    Raises:
        ApiError: 400, it is in another state.
    """
    if status(record) != "Ready":
        message = f"The instance {record['instanceId']} is {status(record)}, only a Ready one can be started."
        raise ApiError(400, "InvalidInstanceStatus", message)
    record.update(startedAt=time.time(), dataSetVersion=f"v{int(time.time())}", gmtModified=now())


def document(record: Record) -> Record:
    """The instance as DescribeInstance gives it."""
    shown = {name: value for name, value in record.items() if name not in ("startedAt", "quota")}
    return {**shown, "status": status(record)}


def json_object(body: bytes) -> dict[str, Any]:
    """A request body that has to be a JSON object.

    Raises:
        ApiError: 400, it isn't.
    """
    try:
        members = json.loads(body or b"{}")
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise ApiError(400, "InvalidParameter", "The request body has to be a JSON object.")
    return members


def _only(members: dict[str, Any], names: set[str]) -> None:
    if unknown := sorted(set(members) - names):
        raise ApiError(400, "InvalidParameter", f"The parameter {unknown[0]} is not supported.")


def _invalid(member: str, reason: str) -> ApiError:
    return ApiError(400, "InvalidParameter", f"{member} {reason}.")
