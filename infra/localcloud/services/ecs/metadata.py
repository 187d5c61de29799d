"""The metadata service of instances, ``http://100.100.100.200``: what a machine can ask about itself.

A tree of text leaves, credentials of the instance's role among them. In hardened mode (``HttpTokens`` is
``required``) it answers only with a token that a PUT handed out before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import cast

from infra.localcloud.keys import is_issued
from infra.localcloud.service import ApiError, Cloud
from infra.localcloud.services.sts.service import StsService
from infra.localcloud.store import Document

Answer = tuple[int, dict[str, str], bytes]
"""Status, header fields, body."""

VERSIONS = ("latest", "2016-01-01")
TTL_HEADER = "x-aliyun-ecs-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aliyun-ecs-metadata-token"  # noqa: S105 - the name of a header
MOST_TTL = 21_600  # seconds
CREDENTIALS_LIFETIME = 6 * 3600  # seconds
CREDENTIALS_REFRESH = 3600  # seconds before their end at which new ones are handed out

Leaf = str | Callable[[], str]
Tree = dict[str, "Leaf | Tree"]


def handle(cloud: Cloud, machine_id: str, method: str, path: str, headers: Mapping[str, str]) -> Answer:
    """Answers one request of a machine; other machines than instances get 404.

    Args:
        cloud: the local cloud.
        machine_id: the hypervisor's name of the machine that asks: the instance's id.
        method: HTTP method.
        path: path of the URL, a query is ignored.
        headers: header fields, in any case.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    instance = cloud.store.collection("ecs.instance").get(machine_id)
    if instance is None:
        return _error(404, "Not Found")
    options = instance["MetadataOptions"]
    if options["HttpEndpoint"] != "enabled":
        return _error(403, "Forbidden")
    parts = [part for part in path.partition("?")[0].split("/") if part]
    if parts == ["latest", "api", "token"]:
        return _token(cloud, machine_id, method, fields)
    if method not in {"GET", "HEAD"}:
        return _error(405, "Method Not Allowed")
    given = fields.get(TOKEN_HEADER, "")
    if given and not _valid(cloud, machine_id, given):
        return _error(401, "Unauthorized")
    if not given and options["HttpTokens"] == "required":
        return _error(403, "Forbidden")
    if not parts:
        return _text("\n".join(VERSIONS))
    if parts[0] not in VERSIONS:
        return _error(404, "Not Found")
    if parts[1:] == ["user-data"]:
        raw = base64.b64decode(instance["UserData"])
        return (200, {"content-type": "application/octet-stream"}, raw) if raw else _error(404, "Not Found")
    try:
        return _found(tree(cloud, instance), parts[1:])
    except ApiError as error:
        return _error(404 if error.status < 500 else error.status, f"{error.code}: {error.message}")


def tree(cloud: Cloud, instance: Document) -> Tree:
    """What an instance can read below ``/latest/``, user data apart."""
    switch = cloud.store.collection("vpc.vswitch").get(instance["VSwitchId"]) or {"CidrBlock": "0.0.0.0/32"}
    vpc = cloud.store.collection("vpc.vpc").get(instance["VpcId"]) or {"CidrBlock": "0.0.0.0/32"}
    block = IPv4Network(switch["CidrBlock"])
    address, mac = instance["PrivateIpAddress"], instance["MacAddress"]
    eips = cloud.store.collection("vpc.eip").values()
    eip = next((e["IpAddress"] for e in eips if e["InstanceId"] == instance["InstanceId"]), "")
    meta: Tree = {
        "dns-conf": {"nameservers": "100.100.2.136\n100.100.2.138"},
        "hostname": instance["HostName"],
        "image-id": instance["ImageId"],
        "instance-id": instance["InstanceId"],
        "instance": {"instance-name": instance["InstanceName"], "instance-type": instance["InstanceType"]},
        "mac": mac,
        "network-type": "vpc",
        "network": {
            "interfaces": {
                "macs": {
                    mac: {
                        "gateway": str(block[-3]),
                        "netmask": str(block.netmask),
                        "network-interface-id": instance["NetworkInterfaceId"],
                        "primary-ip-address": address,
                        "private-ipv4s": json.dumps([address]),
                        "vpc-cidr-block": vpc["CidrBlock"],
                        "vpc-id": instance["VpcId"],
                        "vswitch-cidr-block": switch["CidrBlock"],
                        "vswitch-id": instance["VSwitchId"],
                    }
                }
            }
        },
        "owner-account-id": cloud.account_id,
        "private-ipv4": address,
        "region-id": cloud.region,
        "serial-number": instance["SerialNumber"],
        "vpc-cidr-block": vpc["CidrBlock"],
        "vpc-id": instance["VpcId"],
        "vswitch-cidr-block": switch["CidrBlock"],
        "vswitch-id": instance["VSwitchId"],
        "zone-id": instance["ZoneId"],
    }
    if public := eip or instance["PublicIpAddress"]:
        meta["eipv4" if eip else "public-ipv4"] = public
    pair = cloud.store.collection("ecs.key_pair").get(instance["KeyPairName"])
    if pair is not None:
        meta["public-keys"] = {"0": {"openssh-key": pair["PublicKeyBody"]}}
    if role := instance["RamRoleName"]:
        meta["ram"] = {"security-credentials": {role: lambda: role_credentials(cloud, role)}}
    identity = {
        "owner-account-id": cloud.account_id,
        "instance-id": instance["InstanceId"],
        "mac": mac,
        "region-id": cloud.region,
        "zone-id": instance["ZoneId"],
        "serial-number": instance["SerialNumber"],
        "instance-type": instance["InstanceType"],
        "image-id": instance["ImageId"],
        "private-ipv4": address,
    }
    return {"meta-data": meta, "dynamic": {"instance-identity": {"document": json.dumps(identity)}}}


def role_credentials(cloud: Cloud, role: str) -> str:
    """Credentials of a role as JSON; the same ones until they near their end.

    Raises:
        ApiError: the role is gone.
    """
    kept = cloud.store.collection("ecs.role_credentials")
    known = kept.get(role)
    if (
        known is None
        or known["Until"] < time.time()
        or not is_issued(cloud.store, known["Credentials"]["AccessKeyId"])
    ):
        issuer = cast("StsService", cloud.service("sts"))
        new = issuer.issue_role_credentials(role, CREDENTIALS_LIFETIME)
        known = {
            "Until": time.time() + CREDENTIALS_LIFETIME - CREDENTIALS_REFRESH,
            "Credentials": {
                "AccessKeyId": new.access_key_id,
                "AccessKeySecret": new.access_key_secret,
                "Expiration": new.expiration,
                "SecurityToken": new.security_token,
                "LastUpdated": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "Code": "Success",
            },
        }
        kept.put(role, known)
    return json.dumps(known["Credentials"], indent=2)


def _found(node: Tree, parts: list[str]) -> Answer:
    here: Leaf | Tree = node
    for part in parts:
        if not isinstance(here, dict) or part not in here:
            return _error(404, "Not Found")
        here = here[part]
    if isinstance(here, dict):
        lines = [name + "/" if isinstance(child, dict) else name for name, child in sorted(here.items())]
        return _text("\n".join(lines))
    return _text(here if isinstance(here, str) else here())


def _token(cloud: Cloud, machine_id: str, method: str, fields: Mapping[str, str]) -> Answer:
    if method != "PUT":
        return _error(405, "Method Not Allowed")
    ttl = fields.get(TTL_HEADER, "")
    if not ttl.isdecimal() or not 1 <= int(ttl) <= MOST_TTL:
        return _error(400, f"Bad Request: {TTL_HEADER} must be 1 to {MOST_TTL}")
    until = str(int(time.time()) + int(ttl))
    token = f"{until}.{_mark(cloud, machine_id, until)}"
    return 200, {"content-type": "text/plain", TTL_HEADER: ttl}, token.encode()


def _valid(cloud: Cloud, machine_id: str, token: str) -> bool:
    until, _, mark = token.partition(".")
    expected = _mark(cloud, machine_id, until)
    return hmac.compare_digest(mark.encode(), expected.encode()) and time.time() < int(until)


def _mark(cloud: Cloud, machine_id: str, until: str) -> str:
    """What makes a token ours: no list of tokens is kept."""
    keys = cloud.store.collection("ecs.metadata_key")
    with cloud.store.transaction():
        key = keys.get("key")
        if key is None:
            key = {"Secret": secrets.token_hex(32)}
            keys.put("key", key)
    return hmac.new(bytes.fromhex(key["Secret"]), f"{machine_id} {until}".encode(), hashlib.sha256).hexdigest()


def _text(text: str) -> Answer:
    return 200, {"content-type": "text/plain; charset=utf-8"}, text.encode()


def _error(status: int, text: str) -> Answer:
    return status, {"content-type": "text/plain; charset=utf-8"}, f"{status} - {text}".encode()
