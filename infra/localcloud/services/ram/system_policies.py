"""The vendor's own policies that stacks attach, with the vendor's documents."""

from __future__ import annotations

import json


def _document(*actions: str) -> str:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "1", "Statement": [statement]})


SYSTEM_POLICIES: dict[str, str] = {
    "AdministratorAccess": _document("*"),
    "ReadOnlyAccess": _document("*:Describe*", "*:List*", "*:Get*", "*:BatchGet*", "*:Query*", "*:Check*"),
    "AliyunOSSFullAccess": _document("oss:*"),
    "AliyunOSSReadOnlyAccess": _document("oss:Get*", "oss:List*"),
    "AliyunECSFullAccess": _document("ecs:*", "vpc:DescribeVpcs", "vpc:DescribeVSwitches"),
    "AliyunECSReadOnlyAccess": _document("ecs:Describe*", "ecs:List*", "vpc:DescribeVpcs", "vpc:DescribeVSwitches"),
    "AliyunVPCFullAccess": _document("vpc:*"),
    "AliyunVPCReadOnlyAccess": _document("vpc:Describe*", "vpc:List*"),
    "AliyunRAMFullAccess": _document("ram:*"),
    "AliyunRAMReadOnlyAccess": _document("ram:Get*", "ram:List*"),
    "AliyunSTSAssumeRoleAccess": _document("sts:AssumeRole"),
    "AliyunPAIDLCFullAccess": _document("paidlc:*", "pai:*"),
    "AliyunAirecFullAccess": _document("airec:*"),
}
