"""Settings, unknown values and error forms that the managed resources share."""

from __future__ import annotations

import pytest
from pulumi.runtime import rpc

from infra.resources.cloud import CloudSettings, changed, is_unknown, known, settings_from

UNKNOWN = rpc.deserialize_property(rpc.UNKNOWN, True)  # as providers get it


def test_settings_come_from_the_stacks_configuration() -> None:
    assert settings_from({"alicloud:region": "cn-hangzhou"}) == CloudSettings("cn-hangzhou", "HTTPS")
    assert settings_from({"alicloud:region": "r", "alicloud:protocol": "http"}) == CloudSettings("r", "HTTP")


@pytest.mark.parametrize(
    ("config", "message"),
    [({}, "alicloud:region is not set"), ({"alicloud:region": "r", "alicloud:protocol": "FTP"}, "allowed are HTTP")],
)
def test_wrong_settings_name_the_key(config: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_from(config)


def test_unknown_values_are_found_at_any_depth() -> None:
    assert is_unknown(UNKNOWN)
    assert is_unknown({"a": [{"b": rpc.UNKNOWN}]})
    assert not is_unknown({"a": [1, "b", None]})
    assert known({"a": 1, "b": UNKNOWN, "__provider": "p"}) == {"a": 1}


def test_what_is_not_known_yet_counts_as_changed() -> None:
    assert changed({"a": 1, "b": 2}, {"a": 1, "b": 3}, ("a", "b")) == ["b"]
    assert changed({"a": 1}, {"a": UNKNOWN}, ("a",)) == ["a"]
