"""Injected faults, as clients meet them."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_ram20150501 import models
from darabonba.exceptions import DaraException, UnretryableException

from infra.localcloud.faults import Fault, Faults
from infra.localcloud.store import Store
from tests.infra.localcloud import clients

TRUST = (
    '{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",'
    '"Principal":{"Service":["ecs.aliyuncs.com"]}}]}'
)


@pytest.fixture
def faults(led: Any) -> Any:
    yield led.cloud.faults
    led.cloud.faults.clear()


def test_faults_are_counted_down(faults: Faults, led: Any) -> None:
    faults.add(Fault("sts", "Get*", "throttle", count=2))
    for _ in range(2):
        with pytest.raises(DaraException, match=r"Throttling\.User"):
            clients.call(led, "sts.aliyuncs.com", "2015-04-01", "GetCallerIdentity")
    assert clients.call(led, "sts.aliyuncs.com", "2015-04-01", "GetCallerIdentity")["IdentityType"] == "Account"
    assert faults.list() == []


def test_an_error_happens_before_the_operation_and_a_drop_after_it(faults: Faults, led: Any) -> None:
    def create() -> None:
        clients.call(
            led,
            "ram.aliyuncs.com",
            "2015-05-01",
            "CreateRole",
            {"RoleName": "faulty", "AssumeRolePolicyDocument": TRUST},
        )

    faults.add(Fault("ram", "CreateRole", "error"))
    with pytest.raises(DaraException, match="InternalError"):
        create()
    assert "ram-role faulty" not in led.cloud.inventory()
    faults.add(Fault("*", "CreateRole", "drop"))
    with pytest.raises(UnretryableException, match="without response"):
        create()
    assert "ram-role faulty" in led.cloud.inventory()
    clients.ram(led).delete_role(models.DeleteRoleRequest(role_name="faulty"))


def test_a_timeout_is_silence(tmp_path: Any) -> None:
    store = Store(tmp_path / "db")
    faults = Faults(store, silence=0.01)
    faults.add(Fault("oss", "PutObject", "timeout"))
    assert faults.take("oss", "GetObject") is None
    assert not faults.before(faults.take("oss", "PutObject"))
    store.close()


@pytest.mark.parametrize(("kind", "count"), [("explode", 1), ("drop", 0)])
def test_what_is_no_fault(kind: Any, count: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Fault("oss", "*", kind, count)
