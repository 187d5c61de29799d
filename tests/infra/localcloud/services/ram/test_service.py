"""Roles, policies, versions, attachments and tags by the official SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
from alibabacloud_ram20150501 import models
from darabonba.exceptions import DaraException

from tests.infra.localcloud import clients

TRUST = json.dumps(
    {
        "Version": "1",
        "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["ecs.aliyuncs.com"]}}
        ],
    }
)
POLICY = json.dumps({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "oss:*", "Resource": "*"}]})


def test_the_life_of_a_role(led: Any) -> None:
    client = clients.ram(led)
    created = client.create_role(
        models.CreateRoleRequest(role_name="Ragrec.Search", assume_role_policy_document=TRUST, description="d")
    ).body.role
    assert created.arn == f"acs:ram::{led.cloud.account_id}:role/ragrec.search"
    with pytest.raises(DaraException, match=r"EntityAlreadyExists\.Role"):
        client.create_role(models.CreateRoleRequest(role_name="ragrec.search", assume_role_policy_document=TRUST))
    client.update_role(models.UpdateRoleRequest(role_name="Ragrec.Search", new_max_session_duration=7200))
    read = client.get_role(models.GetRoleRequest(role_name="Ragrec.Search")).body.role
    assert (read.max_session_duration, json.loads(read.assume_role_policy_document)) == (7200, json.loads(TRUST))
    assert "ram-role Ragrec.Search" in led.cloud.inventory()
    client.delete_role(models.DeleteRoleRequest(role_name="Ragrec.Search"))
    with pytest.raises(DaraException, match=r"EntityNotExist\.Role") as caught:
        client.get_role(models.GetRoleRequest(role_name="Ragrec.Search"))
    assert caught.value.data["statusCode"] == 404


def test_the_life_of_a_policy(led: Any) -> None:
    client = clients.ram(led)
    client.create_policy(models.CreatePolicyRequest(policy_name="p", policy_document=POLICY))
    client.create_role(models.CreateRoleRequest(role_name="r", assume_role_policy_document=TRUST))
    named = {"policy_name": "p", "policy_type": "Custom", "role_name": "r"}
    client.attach_policy_to_role(models.AttachPolicyToRoleRequest(**named))
    for _ in range(5):
        client.create_policy_version(
            models.CreatePolicyVersionRequest(
                policy_name="p",
                policy_document=POLICY,
                set_as_default=True,
                rotate_strategy="DeleteOldestNonDefaultVersionWhenLimitExceeded",
            )
        )
    versions = client.list_policy_versions(
        models.ListPolicyVersionsRequest(policy_name="p", policy_type="Custom")
    ).body
    assert [each.version_id for each in versions.policy_versions.policy_version] == ["v2", "v3", "v4", "v5", "v6"]
    read = client.get_policy(models.GetPolicyRequest(policy_name="p", policy_type="Custom")).body
    assert (read.policy.attachment_count, read.default_policy_version.version_id) == (1, "v6")
    entities = client.list_entities_for_policy(
        models.ListEntitiesForPolicyRequest(policy_name="p", policy_type="Custom")
    ).body
    assert [each.role_name for each in entities.roles.role] == ["r"]
    with pytest.raises(DaraException, match=r"DeleteConflict\.Policy"):
        client.delete_policy(models.DeletePolicyRequest(policy_name="p"))
    with pytest.raises(DaraException, match=r"DeleteConflict\.Role\.Policy"):
        client.delete_role(models.DeleteRoleRequest(role_name="r"))
    listed = client.list_policies_for_role(models.ListPoliciesForRoleRequest(role_name="r")).body.policies.policy
    assert [(each.policy_type, each.policy_name, each.default_version) for each in listed] == [("Custom", "p", "v6")]
    client.detach_policy_from_role(models.DetachPolicyFromRoleRequest(**named))
    with pytest.raises(DaraException, match=r"DeleteConflict\.Policy\.Version"):
        client.delete_policy(models.DeletePolicyRequest(policy_name="p"))
    client.delete_policy(models.DeletePolicyRequest(policy_name="p", cascading_delete=True))
    client.delete_role(models.DeleteRoleRequest(role_name="r"))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "not JSON"),
        ('{"Version": "2", "Statement": []}', "Version"),
        ('{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "oss:*"}]}', "Resource"),
        (
            '{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Sometimes":{}}}]}',
            "Sometimes is not supported",
        ),
    ],
)
def test_a_malformed_policy_is_refused(led: Any, document: str, reason: str) -> None:
    with pytest.raises(DaraException, match="MalformedPolicyDocument") as caught:
        clients.ram(led).create_policy(models.CreatePolicyRequest(policy_name="bad", policy_document=document))
    assert reason in str(caught.value)


def test_system_policies_are_there(led: Any) -> None:
    read = clients.ram(led).get_policy(
        models.GetPolicyRequest(policy_name="AliyunOSSFullAccess", policy_type="System")
    )
    assert "oss:*" in read.body.default_policy_version.policy_document


def test_tags_as_the_provider_sends_them(led: Any) -> None:
    def call(action: str, **query: str) -> dict[str, Any]:
        return clients.call(led, "ram.aliyuncs.com", "2015-05-01", action, query)

    call("CreateRole", RoleName="tagged", AssumeRolePolicyDocument=TRUST, Tag='[{"Key":"a","Value":"1"}]')
    named = {"ResourceType": "role", "ResourceNames": '["tagged"]'}
    call("TagResources", **named, Tag='[{"Key":"b","Value":"2"}]')
    rows = call("ListTagResources", **named)["TagResources"]
    assert [(row["TagKey"], row["TagValue"]) for row in rows] == [("a", "1"), ("b", "2")]
    call("UntagResources", **named, TagKeys='["a"]')
    assert [row["TagKey"] for row in call("ListTagResources", **named)["TagResources"]] == ["b"]
    call("DeleteRole", RoleName="tagged")
