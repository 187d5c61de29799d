"""Roles assumed by the official SDK, and what they may do then."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_sts20150401 import models as sts_models
from darabonba.exceptions import DaraException

from tests.infra.localcloud import clients

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # oss2's source has invalid escape sequences
    oss2 = importlib.import_module("oss2")

ACCOUNT_TRUST = {
    "Version": "1",
    "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"RAM": ["acs:ram::1080521900720001:root"]}}
    ],
}
SERVICE_TRUST = {
    "Version": "1",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["ecs.aliyuncs.com"]}}],
}
READ_ONE = {
    "Version": "1",
    "Statement": [
        {"Effect": "Allow", "Action": ["oss:GetObject"], "Resource": ["acs:oss:*:*:ragrec-sts/open/*"]},
        {"Effect": "Deny", "Action": "oss:*", "Resource": ["acs:oss:*:*:ragrec-sts/open/secret"]},
    ],
}


@pytest.fixture
def role(led: Any) -> Iterator[str]:
    client = clients.ram(led)
    client.create_role(
        ram_models.CreateRoleRequest(role_name="Reader", assume_role_policy_document=json.dumps(ACCOUNT_TRUST))
    )
    client.create_policy(ram_models.CreatePolicyRequest(policy_name="read-one", policy_document=json.dumps(READ_ONE)))
    attached = {"policy_name": "read-one", "policy_type": "Custom", "role_name": "Reader"}
    client.attach_policy_to_role(ram_models.AttachPolicyToRoleRequest(**attached))
    yield "Reader"
    client.detach_policy_from_role(ram_models.DetachPolicyFromRoleRequest(**attached))
    client.delete_policy(ram_models.DeletePolicyRequest(policy_name="read-one"))
    client.delete_role(ram_models.DeleteRoleRequest(role_name="Reader"))


def assume(local: Any, role: str, **more: Any) -> Any:
    arn = f"acs:ram::{local.cloud.account_id}:role/{role.lower()}"
    request = sts_models.AssumeRoleRequest(role_arn=arn, role_session_name="test", **more)
    return clients.sts(local).assume_role(request).body.credentials


def test_the_account_is_told_who_it_is(led: Any) -> None:
    body = clients.sts(led, scheme="HTTPS").get_caller_identity().body
    assert (body.identity_type, body.account_id) == ("Account", led.cloud.account_id)


def test_an_assumed_role_may_do_what_its_policies_say(led: Any, role: str) -> None:
    owner = oss2.Bucket(oss2.Auth(*led.key), "http://oss-cn-hangzhou.aliyuncs.com", "ragrec-sts")
    owner.create_bucket()
    for name in ("open/a", "open/secret", "closed"):
        owner.put_object(name, name)
    credentials = assume(led, role)
    key = (credentials.access_key_id, credentials.access_key_secret)
    for version in ("v1", "v4"):
        auth = oss2.StsAuth(*key, credentials.security_token, auth_version=version)
        theirs = oss2.Bucket(auth, "http://oss-cn-hangzhou.aliyuncs.com", "ragrec-sts", region="cn-hangzhou")
        assert theirs.get_object("open/a").read() == b"open/a"
        for refused in ("open/secret", "closed"):
            with pytest.raises(oss2.exceptions.AccessDenied):
                theirs.get_object(refused)
        with pytest.raises(oss2.exceptions.AccessDenied):
            theirs.put_object("open/a", "new")
        with pytest.raises(oss2.exceptions.AccessDenied):
            theirs.list_objects()
    with pytest.raises(DaraException, match="NoPermission"):
        clients.ram(led, key=key, token=credentials.security_token).list_roles(ram_models.ListRolesRequest())
    body = clients.sts(led, key=key, token=credentials.security_token).get_caller_identity().body
    assert (body.identity_type, body.arn) == (
        "AssumedRoleUser",
        f"acs:ram::{led.cloud.account_id}:assumed-role/Reader/test",
    )
    owner.batch_delete_objects(["open/a", "open/secret", "closed"])
    owner.delete_bucket()


def test_tokens_are_checked(led: Any, role: str) -> None:
    credentials = assume(led, role)
    key = (credentials.access_key_id, credentials.access_key_secret)
    other = assume(led, role).security_token
    with pytest.raises(DaraException, match=r"InvalidSecurityToken\.MismatchWithAccessKey"):
        clients.sts(led, key=key, token=other).get_caller_identity()
    with pytest.raises(DaraException, match="MissingSecurityToken"):
        clients.sts(led, key=key).get_caller_identity()
    documents = led.cloud.store.collection("sts.credentials")
    past = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)).isoformat()
    documents.put(key[0], documents.get(key[0]) | {"expires": past})
    with pytest.raises(DaraException, match=r"InvalidSecurityToken\.Expired"):
        clients.sts(led, key=key, token=credentials.security_token).get_caller_identity()
    auth = oss2.StsAuth(*key, credentials.security_token)
    with pytest.raises(oss2.exceptions.ServerError, match="SecurityTokenExpired"):
        oss2.Bucket(auth, "http://oss-cn-hangzhou.aliyuncs.com", "ragrec-sts").get_object("a")


def test_trust_is_asked_for(led: Any) -> None:
    client = clients.ram(led)
    client.create_role(
        ram_models.CreateRoleRequest(role_name="ForEcs", assume_role_policy_document=json.dumps(SERVICE_TRUST))
    )
    with pytest.raises(DaraException, match="NoPermission"):
        assume(led, "ForEcs")
    issued = led.cloud.service("sts").issue_role_credentials("ForEcs", 3600)
    key = (issued.access_key_id, issued.access_key_secret)
    assert clients.sts(led, key=key, token=issued.security_token).get_caller_identity().body.identity_type == (
        "AssumedRoleUser"
    )
    client.delete_role(ram_models.DeleteRoleRequest(role_name="ForEcs"))
    with pytest.raises(DaraException, match=r"InvalidAccessKeyId\.NotFound"):
        clients.sts(led, key=key, token=issued.security_token).get_caller_identity()
    with pytest.raises(DaraException, match=r"EntityNotExist\.Role"):
        assume(led, "Nobody")


def test_the_duration_has_limits(led: Any, role: str) -> None:
    with pytest.raises(DaraException, match=r"InvalidParameter\.DurationSeconds"):
        assume(led, role, duration_seconds=60)
    with pytest.raises(DaraException, match=r"InvalidParameter\.Policy"):
        assume(led, role, policy="{}")
