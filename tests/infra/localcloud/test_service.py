"""Operations: how calls find them, what they refuse, which resource they are about."""

from __future__ import annotations

from typing import ClassVar

import pytest

from infra.localcloud.registry import choose, choose_by_version, discover
from infra.localcloud.service import ApiError, ApiService, Call, Identity, Operation, Reply, operation


class Jobs(ApiService):
    """A service in both styles."""

    name: ClassVar[str] = "jobs"
    versions: ClassVar[tuple[str, ...]] = ("2020-01-01",)
    hosts: ClassVar[tuple[str, ...]] = (r"jobs\.aliyuncs\.com",)

    @operation("CreateJob", required=("Name", "Tag.*"), optional=("Size",))
    def create(self, call: Call) -> Reply:
        return {"Tags": call.structures("Tag"), "Name": call.parameters["Name"]}

    @operation("GetJob", method="GET", path="/jobs/{JobId}/pods/{Pod}", optional=("Detail",))
    def get(self, call: Call) -> Reply:
        return dict(call.path_parameters)


class Account:
    """As much of a cloud as resources need."""

    account_id = "1"


def call(method: str = "POST", path: str = "/", **parameters: str) -> Call:
    identity = Identity("1", "LTAI", "account")
    return Call("jobs", method, "h", path, parameters, {}, b"", identity, "cn-hangzhou", "R")


@pytest.fixture
def jobs() -> Jobs:
    return Jobs(Account())  # type: ignore[arg-type] # no more of the contract is reached


def test_rpc_by_action(jobs: Jobs) -> None:
    parameters = {"Action": "CreateJob", "Name": "n", "Tag.2.Key": "b", "Tag.1.Key": "a", "Tag.1.Value": "1"}
    assert jobs.handle(call(**parameters)) == {
        "RequestId": "R",
        "Name": "n",
        "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b"}],
    }


def test_roa_by_method_and_path(jobs: Jobs) -> None:
    assert jobs.handle(call("GET", "/jobs/j-1/pods/p")) == {"RequestId": "R", "JobId": "j-1", "Pod": "p"}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (call(Action="CreateJob", Name="n"), "MissingTag"),
        (call(**{"Action": "CreateJob", "Tag.1.Key": "a"}), "MissingName"),
        (call(**{"Action": "CreateJob", "Name": "n", "Tag.1.Key": "a", "Colour": "red"}), "InvalidParameter"),
        (call(Action="DropJob"), "InvalidAction.NotFound"),
        (call("PUT", "/jobs/j-1/pods/p"), "InvalidAPI.NotFound"),
        (call("GET", "/jobs/j-1/pods/p", Surprise="1"), "InvalidParameter"),
    ],
)
def test_what_is_refused(jobs: Jobs, asked: Call, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        jobs.handle(asked)
    assert caught.value.code == code
    assert 400 <= caught.value.status < 500


def test_resources_by_path(jobs: Jobs) -> None:
    assert jobs.resource(call("GET", "/api/v1/jobs/j-1/pods/p")) == "acs:jobs:cn-hangzhou:1:job/j-1"
    assert jobs.resource(call()) == "acs:jobs:cn-hangzhou:1:*"


def test_services_by_host_and_version(jobs: Jobs) -> None:
    assert choose([jobs], "jobs.aliyuncs.com", "2020-01-01") is jobs
    assert choose([jobs], "jobs.aliyuncs.com", "") is jobs
    assert choose_by_version([jobs], "2020-01-01") is jobs
    for host, version in (("other.aliyuncs.com", ""), ("jobs.aliyuncs.com", "1999-01-01")):
        with pytest.raises(ApiError):
            choose([jobs], host, version)
    with pytest.raises(ApiError):
        choose_by_version([jobs], "1999-01-01")


def test_every_service_of_the_tree_is_found_and_described() -> None:
    known = discover()
    assert {"oss", "ram", "sts", "location"} <= {service.name for service in known}
    for service in known:
        operations = service.operations()
        assert all(isinstance(each, Operation) for each in operations)
        assert len({each.name for each in operations}) == len(operations), service.name
        assert service.hosts
