"""What the cloud refused, out of what the provider makes of it."""

from __future__ import annotations

from infra.compute import refusal

SIGNATURE = """\
invoke of alicloud:ecs/getImages:getImages failed: invoking getImages: \x1b[31m[ERROR]\x1b[0m
data_source_alicloud_images.go:350: Datasource alicloud_images DescribeImages Failed!!! [SDK ERROR]:
SDK.ServerError
ErrorCode: SignatureDoesNotMatch
Recommend:
RequestId: BB553831-A999-4D34-977D-91FC1E88311D
Message: Specified signature is not matched with our calculation.
RespHeaders: map[Content-Length:[192]]
"""
PROXY = (
    'invoke failed:\nPost "http://ecs.cn-hangzhou.aliyuncs.com/?AccessKeyId=LTAI&Signature=MjR%3D": '
    "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused\n"
)


def test_a_wrong_secret_is_named() -> None:
    assert refusal(SIGNATURE) == (
        "SignatureDoesNotMatch: Specified signature is not matched with our calculation. "
        "(check ALICLOUD_ACCESS_KEY and ALICLOUD_SECRET_KEY)"
    )


def test_other_refusals_say_nothing_of_keys() -> None:
    assert refusal(SIGNATURE.replace("SignatureDoesNotMatch", "Throttling")).endswith("with our calculation.")


def test_a_cloud_that_is_not_there_is_named_without_the_signed_query() -> None:
    said = refusal(PROXY)
    assert said.startswith('Post "http://ecs.cn-hangzhou.aliyuncs.com/": proxyconnect tcp: ')
    assert "scripts/localcloud start" in said


def test_no_reason() -> None:
    assert refusal("") == "no reason was given"
