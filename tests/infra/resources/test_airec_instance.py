"""The AIRec instance against the local cloud's AIRec."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
from pulumi.runtime import rpc

from infra.localcloud.services.airec.instance import BOUGHT
from infra.resources import airec_instance
from infra.resources.airec_instance import (
    AirecInstanceArgs,
    AirecInstanceError,
    AirecInstanceProvider,
    plan,
    purchase,
    validate,
)
from infra.resources.cloud import CloudSettings
from serving.clients.airec import AirecClient
from serving.clients.openapi import ApiError
from tests.infra.localcloud.services.airec.conftest import client_fixture, service_fixture  # noqa: F401 - fixtures
from tests.infra.localcloud.services.roa import REGION

UNKNOWN = rpc.deserialize_property(rpc.UNKNOWN, True)
TODAY = dt.date(2026, 3, 1)
TOMORROW = (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)).isoformat()


def adopting(instance_id: str = BOUGHT) -> dict[str, Any]:
    return asdict(AirecInstanceArgs(instance_id=instance_id))


def buying() -> dict[str, Any]:
    return asdict(AirecInstanceArgs(purchase_until=TOMORROW, name="ragrec-dev"))


@pytest.fixture
def provider(client: AirecClient, monkeypatch: pytest.MonkeyPatch) -> AirecInstanceProvider:
    monkeypatch.setattr(airec_instance, "_POLL_S", 0.01)
    monkeypatch.setattr(AirecInstanceProvider, "settings", CloudSettings(REGION, "HTTP"))
    return AirecInstanceProvider()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    for level in ("info", "warn"):
        monkeypatch.setattr(f"pulumi.log.{level}", lambda line, *_: lines.append(line))
    return lines


def outs_of(result: Any) -> Mapping[str, Any]:
    outs: Mapping[str, Any] = result.outs
    return outs


def test_an_instance_is_adopted_and_started(provider: AirecInstanceProvider, client: AirecClient) -> None:
    result = provider.create(adopting())
    assert result.id == BOUGHT
    assert (outs_of(result)["status"], outs_of(result)["bought"]) == ("Running", False)
    assert client.instance(BOUGHT)["name"] == "local"
    assert outs_of(provider.create(adopting())) == outs_of(result)


def test_an_instance_is_bought_once(provider: AirecInstanceProvider, client: AirecClient) -> None:
    first = provider.create(buying())
    assert (outs_of(first)["status"], outs_of(first)["bought"]) == ("Running", True)
    assert client.instance(first.id)["name"] == "ragrec-dev"
    assert provider.create(buying()).id == first.id
    assert len(client.instances()) == 2


def test_a_purchase_that_was_cut_off_is_taken_up(provider: AirecInstanceProvider, client: AirecClient) -> None:
    half_made = client.create_instance(purchase(buying()))
    assert provider.create(buying()).id == half_made


def test_consent_is_asked_for_again_at_the_moment_of_the_purchase(provider: AirecInstanceProvider) -> None:
    with pytest.raises(AirecInstanceError, match="consent to buy an AIRec instance ended on 2020-01-01"):
        provider.create({**buying(), "purchase_until": "2020-01-01"})


def test_an_unknown_instance_names_those_that_exist(provider: AirecInstanceProvider) -> None:
    with pytest.raises(AirecInstanceError, match=rf"'airec-cn-other', which isn't .* there: {BOUGHT}"):
        provider.create(adopting("airec-cn-other"))


def test_an_instance_of_another_industry_is_refused(provider: AirecInstanceProvider, client: AirecClient) -> None:
    client.modify_instance(BOUGHT, {"industry": "news"})
    with pytest.raises(AirecInstanceError, match="is of the industry 'news'"):
        provider.create(adopting())


def test_read_tells_the_truth(provider: AirecInstanceProvider) -> None:
    created = provider.create(adopting())
    read = provider.read(created.id, {**outs_of(created)})
    assert (read.id, read.outs) == (created.id, outs_of(created))
    assert provider.read("airec-cn-lapsed", dict(outs_of(created))).id == ""


def test_read_does_not_take_an_outage_for_a_lapse(
    provider: AirecInstanceProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ApiError("AIRec DescribeInstance", 403, "NoPermission", "no")

    monkeypatch.setattr(AirecClient, "instance", refuse)
    with pytest.raises(ApiError, match="NoPermission"):
        provider.read(BOUGHT, adopting())


def test_an_instance_that_stopped_is_started_again(provider: AirecInstanceProvider, said: list[str]) -> None:
    stopped = {**adopting(), "status": "Ready", "expires": "", "bought": False}
    assert provider.diff(BOUGHT, stopped, adopting()).changes is True
    assert said == [f"AIRec {BOUGHT}: start the AIRec instance, which is Ready"]
    assert outs_of(provider.update(BOUGHT, stopped, adopting()))["status"] == "Running"


def test_nothing_to_do_is_no_change(provider: AirecInstanceProvider) -> None:
    created = provider.create(adopting())
    assert provider.diff(created.id, dict(outs_of(created)), adopting()).changes is False
    other = provider.diff(created.id, dict(outs_of(created)), adopting("airec-cn-other"))
    assert (other.changes, other.replaces) == (True, ["instance_id"])


def test_delete_leaves_the_instance_and_says_so(
    provider: AirecInstanceProvider, client: AirecClient, said: list[str]
) -> None:
    bought = provider.create(buying())
    said.clear()
    provider.delete(bought.id, dict(outs_of(bought)))
    assert "stays: the API can't delete it" in said[0]
    assert client.instance(bought.id)["status"] == "Running"
    provider.delete(BOUGHT, {**adopting(), "bought": False})
    assert said[1] == f"AIRec instance {BOUGHT} was adopted and stays"


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({"instance_id": None}, "instance_id", "purchase: {until: 2026-03-08}"),
        ({"purchase_until": "2026-04-01"}, "purchase_until", "not both"),
        ({"instance_id": None, "purchase_until": "soon"}, "purchase_until", "a date like 2026-03-01"),
        ({"instance_id": None, "purchase_until": "2026-02-28"}, "purchase_until", "ended on 2026-02-28"),
        ({"edition": "Cheap"}, "edition", "allowed are Algorithm"),
        ({"months": 11}, "months", "1 to 10, and 12"),
    ],
)
def test_wrong_inputs_say_what_to_write(changes: dict[str, Any], name: str, reason: str) -> None:
    problems = validate({**adopting(), **changes}, TODAY)
    assert list(problems) == [name]
    assert reason in problems[name]


def test_consent_may_end_after_the_purchase() -> None:
    bought = {**buying(), "purchase_until": "2026-02-28"}
    assert validate(bought, TODAY, exists=True) == {}


def test_check_bears_unknown_values(provider: AirecInstanceProvider) -> None:
    assert provider.check({}, adopting()).failures == []
    [failure] = provider.check({}, asdict(AirecInstanceArgs())).failures
    assert failure.property == "instance_id"
    assert provider.diff(BOUGHT, adopting(), {**adopting(), "name": UNKNOWN}).changes is True


def test_steps_are_told_in_words() -> None:
    assert plan({}, adopting()) == [f"adopt AIRec instance {BOUGHT} and start it if it isn't running"]
    assert "the fee is due at once" in plan({}, buying())[0]
    old = {**buying(), "status": "Running"}
    assert plan(old, buying()) == []
    assert plan(old, {**buying(), "months": 2}) == ["note months: nothing changes in AIRec"]
