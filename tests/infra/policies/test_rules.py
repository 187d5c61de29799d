"""Guardrails: what passes, and what is said about what does not."""

import json
from typing import Any

import pytest

from infra.policies import rules

INSTANCE = {"httpTokens": "required", "systemDiskEncrypted": True, "userData": "#cloud-config\nruncmd: [true]\n"}
RULE = {"type": "ingress", "ipProtocol": "tcp", "policy": "accept", "portRange": "9200/9200", "cidrIp": "10.0.0.0/16"}


def test_what_the_components_declare_passes() -> None:
    assert rules.instance(INSTANCE) == []
    assert rules.ingress_rule(RULE) == []
    assert rules.bucket_acl({"acl": "private"}) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"internetMaxBandwidthOut": 5}, "public address"),
        ({"httpTokens": "optional"}, "httpTokens must be required"),
        ({"systemDiskEncrypted": False}, "systemDiskEncrypted must be true"),
        ({"userData": "password: Zm9vYmFyYmF6cXV4MTIz"}, "holds a secret near 'password: Zm'"),
        ({"userData": "-----BEGIN EC PRIVATE KEY-----"}, "holds a secret"),
    ],
)
def test_instances(change: dict[str, Any], message: str) -> None:
    (problem,) = rules.instance({**INSTANCE, **change})
    assert message in problem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cidrIp": "0.0.0.0/0"}, "lets everyone in"),
        ({"portRange": "1/65535"}, "is not one port"),
        ({"ipProtocol": "all"}, "tcp only"),
    ],
)
def test_ingress(change: dict[str, Any], message: str) -> None:
    (problem,) = rules.ingress_rule({**RULE, **change})
    assert message in problem


def test_policies_name_actions_and_resources() -> None:
    document = {"Statement": [{"Effect": "Allow", "Action": ["oss:*"], "Resource": "*"}]}
    assert rules.ram_policy({"policyDocument": json.dumps(document)}) == [
        "action oss:* grants more than anything here needs",
        "resource * grants the whole account",
    ]


def test_every_bucket_is_encrypted_and_blocks_public_access() -> None:
    bucket = ("alicloud:oss/bucket:Bucket", {"bucket": "a", "serverSideEncryptionRule": {"sseAlgorithm": "AES256"}})
    block = ("alicloud:oss/bucketPublicAccessBlock:BucketPublicAccessBlock", {"bucket": "a"})
    assert rules.exposed_buckets([bucket, block]) == []
    assert rules.exposed_buckets([bucket]) == ["bucket a has no BucketPublicAccessBlock"]
    assert rules.exposed_buckets([("alicloud:oss/bucket:Bucket", {"bucket": "a"}), block]) == [
        "bucket a is not encrypted: set serverSideEncryptionRule"
    ]


@pytest.mark.parametrize(
    ("bm25", "vector", "good"), [(0.3, 0.7, True), (0, 1, True), (0.5, 0.6, False), (-1, 2, False)]
)
def test_weights(bm25: float, vector: float, good: bool) -> None:
    assert (rules.hybrid_weights(bm25, vector) == []) is good
