"""Credentials: generated once, kept, renewed in time."""

from __future__ import annotations

import datetime as dt
from typing import Any

import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pulumi.runtime import rpc

from infra.resources.credentials import (
    RENEW_DAYS,
    VALID_DAYS,
    CredentialsArgs,
    CredentialsProvider,
    covered,
    days_left,
    generate,
    plan,
    validate,
)

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
ARGS = CredentialsArgs(["admin"], ["inference"], {"search": ["127.80.0.10", "search.internal"]})


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return generate({}, ARGS, NOW)


def test_everything_is_generated(made: dict[str, Any]) -> None:
    assert set(made["passwords"]) == {"admin"}
    assert len(made["passwords"]["admin"]) >= 32
    assert len(made["tokens"]["inference"]) >= 40
    assert bcrypt.checkpw(made["passwords"]["admin"].encode(), made["hashes"]["admin"].encode())
    assert covered(made["certificates"]["search"]) == ["127.80.0.10", "search.internal"]
    assert days_left(made["certificates"]["search"], NOW) == VALID_DAYS


def test_the_certificate_is_signed_by_the_authority_and_fits_its_key(made: dict[str, Any]) -> None:
    certificate = x509.load_pem_x509_certificate(made["certificates"]["search"].encode())
    authority = x509.load_pem_x509_certificate(made["authority"].encode())
    key = load_pem_private_key(made["keys"]["search"].encode(), None)

    certificate.verify_directly_issued_by(authority)
    assert certificate.public_key() == key.public_key()
    assert made["keys"]["search"].startswith("-----BEGIN PRIVATE KEY-----")
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_generating_again_changes_nothing(made: dict[str, Any]) -> None:
    assert plan(made, ARGS, NOW) == []
    assert generate(made, ARGS, NOW) == made


def test_new_names_leave_the_old_values_alone(made: dict[str, Any]) -> None:
    more = CredentialsArgs(["admin", "loader"], ["inference"], {**ARGS.servers, "gateway": ["10.0.0.1"]})

    assert plan(made, more, NOW) == ["generate password loader", "issue certificate gateway"]
    again = generate(made, more, NOW)
    assert again["passwords"]["admin"] == made["passwords"]["admin"]
    assert again["certificates"]["search"] == made["certificates"]["search"]
    assert again["authority"] == made["authority"]
    assert set(again["passwords"]) == {"admin", "loader"}


def test_removed_names_are_forgotten(made: dict[str, Any]) -> None:
    fewer = CredentialsArgs([], ["inference"], {})

    assert plan(made, fewer, NOW) == ["forget password admin", "forget certificate search"]
    assert generate(made, fewer, NOW)["keys"] == {}


def test_other_hosts_get_a_new_certificate_of_the_same_authority(made: dict[str, Any]) -> None:
    moved = CredentialsArgs(["admin"], ["inference"], {"search": ["127.80.0.11"]})

    assert plan(made, moved, NOW) == ["issue certificate search again (hosts changed)"]
    again = generate(made, moved, NOW)
    assert covered(again["certificates"]["search"]) == ["127.80.0.11"]
    assert again["authority"] == made["authority"]


def test_a_certificate_is_renewed_thirty_days_before_its_end(made: dict[str, Any]) -> None:
    early = NOW + dt.timedelta(days=VALID_DAYS - RENEW_DAYS)
    late = early + dt.timedelta(days=1)

    assert plan(made, ARGS, early) == []
    assert plan(made, ARGS, late) == ["renew certificate search (29 days left)"]
    assert days_left(generate(made, ARGS, late)["certificates"]["search"], late) == VALID_DAYS


def test_a_new_authority_signs_every_certificate_again(made: dict[str, Any]) -> None:
    late = NOW + dt.timedelta(days=3640)

    assert plan(made, ARGS, late)[1:] == ["issue certificate search again (new authority)"]
    again = generate(made, ARGS, late)
    assert again["authority"] != made["authority"]
    assert again["passwords"] == made["passwords"]


def test_the_provider_keeps_what_it_made() -> None:
    provider = CredentialsProvider()
    props = {"users": ["admin"], "services": [], "servers": {"search": ["127.0.0.1"]}}

    made = provider.create(props).outs or {}

    assert provider.diff("id", made, props).changes is False
    assert provider.diff("id", made, {**props, "services": ["inference"]}).changes is True
    read = provider.read("id", {**made, "__provider": "x"})
    assert read.outs == made
    assert read.inputs == props
    updated = provider.update("id", made, {**props, "services": ["inference"]}).outs or {}
    assert updated["passwords"] == made["passwords"]
    assert updated["certificates"] == made["certificates"]


def test_unknown_inputs_pass_check_and_show_as_a_change() -> None:
    provider = CredentialsProvider()
    unknown = rpc.deserialize_property(rpc.UNKNOWN, True)

    assert provider.check({}, {"users": unknown}).failures == []
    assert provider.diff("id", {}, {"users": unknown}).changes is True


@pytest.mark.parametrize(
    ("args", "name", "words"),
    [
        (CredentialsArgs(users=["Admin"]), "users", "'Admin' is no name"),
        (CredentialsArgs(services=["a", "a"]), "services", "twice"),
        (CredentialsArgs(servers={"search": []}), "servers", "search names no host"),
        (CredentialsArgs(servers={"search": ["not a host"]}), "servers", "'not a host' is neither"),
    ],
)
def test_validate_names_the_property(args: CredentialsArgs, name: str, words: str) -> None:
    problems = validate(args)

    assert list(problems) == [name]
    assert words in problems[name]
