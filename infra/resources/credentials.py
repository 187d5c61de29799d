"""What a stack keeps secret: passwords, tokens, a private certificate authority and the certificates it signs."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import bcrypt
import pulumi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from infra.resources.cloud import PROVIDER_KEY, failures, is_unknown, known

VALID_DAYS = 825  # the longest that browsers and Apple's platforms accept
AUTHORITY_DAYS = 3650
RENEW_DAYS = 30
OUTPUTS = ("passwords", "hashes", "tokens", "authority", "authority_key", "certificates", "keys")
Properties = dict[str, Any]


@dataclass(frozen=True)
class CredentialsArgs:
    """Names of what is generated.

    Attributes:
        users: those that get a password (24 random bytes, URL-safe) and its bcrypt hash.
        services: those that get a bearer token (32 random bytes, URL-safe).
        servers: those that get a key and a certificate, each with the IP addresses and DNS names that it covers.
    """

    users: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    servers: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A certificate with its private key (PKCS #8), both PEM."""

    certificate: str
    key: str


def validate(args: CredentialsArgs) -> dict[str, str]:
    """Problems by property; empty when there is none."""
    problems = {}
    for name, values in (("users", args.users), ("services", args.services), ("servers", list(args.servers))):
        wrong = [value for value in values if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", value)]
        if wrong:
            problems[name] = (
                f"{wrong[0]!r} is no name: a lower-case letter, then letters, digits, hyphens; at most 32"
            )
        elif len(set(values)) != len(values):
            problems[name] = "names a thing twice"
    for server, hosts in args.servers.items():
        if not hosts:
            problems["servers"] = f"{server} names no host: give at least one IP address or DNS name"
        elif bad := next((host for host in hosts if not _is_host(host)), None):
            problems["servers"] = f"{server}: {bad!r} is neither an IP address nor a DNS name"
    return problems


def plan(old: Mapping[str, Any], new: CredentialsArgs, now: dt.datetime) -> list[str]:
    """Steps from the recorded outputs to what `new` asks for, in words; empty when there is nothing to do."""
    steps = []
    for kind, wanted in (("passwords", new.users), ("tokens", new.services)):
        have = old.get(kind) or {}
        steps += [f"generate {kind[:-1]} {name}" for name in wanted if name not in have]
        steps += [f"forget {kind[:-1]} {name}" for name in have if name not in wanted]
    if not old.get("authority"):
        return ["generate a certificate authority", *steps, *(f"issue certificate {name}" for name in new.servers)]
    renewed = days_left(old["authority"], now) < RENEW_DAYS
    if renewed:
        steps.append(f"renew the certificate authority ({days_left(old['authority'], now)} days left)")
    certificates = old.get("certificates") or {}
    for name, hosts in new.servers.items():
        if name not in certificates:
            steps.append(f"issue certificate {name}")
        elif renewed:
            steps.append(f"issue certificate {name} again (new authority)")
        elif covered(certificates[name]) != sorted(map(_canonical, hosts)):
            steps.append(f"issue certificate {name} again (hosts changed)")
        elif (left := days_left(certificates[name], now)) < RENEW_DAYS:
            steps.append(f"renew certificate {name} ({left} days left)")
    steps += [f"forget certificate {name}" for name in certificates if name not in new.servers]
    return steps


def generate(old: Mapping[str, Any], new: CredentialsArgs, now: dt.datetime) -> Properties:
    """All outputs for `new`; whatever `old` holds and `plan` doesn't touch stays byte for byte."""
    passwords = {n: (old.get("passwords") or {}).get(n) or secrets.token_urlsafe(24) for n in new.users}
    tokens = {n: (old.get("tokens") or {}).get(n) or secrets.token_urlsafe(32) for n in new.services}
    kept_hashes = old.get("hashes") or {}
    authority = Pair(old.get("authority") or "", old.get("authority_key") or "")
    fresh = not authority.certificate or days_left(authority.certificate, now) < RENEW_DAYS
    if fresh:
        authority = issue_authority(now)
    pairs = {}
    for name, hosts in new.servers.items():
        certificate = (old.get("certificates") or {}).get(name)
        current = (
            certificate is not None
            and not fresh
            and covered(certificate) == sorted(map(_canonical, hosts))
            and days_left(certificate, now) >= RENEW_DAYS
        )
        pairs[name] = Pair(certificate or "", old["keys"][name]) if current else issue(authority, name, hosts, now)
    return {
        "passwords": passwords,
        "hashes": {n: kept_hashes.get(n) or hash_password(password) for n, password in passwords.items()},
        "tokens": tokens,
        "authority": authority.certificate,
        "authority_key": authority.key,
        "certificates": {name: pair.certificate for name, pair in pairs.items()},
        "keys": {name: pair.key for name, pair in pairs.items()},
    }


def issue_authority(now: dt.datetime) -> Pair:
    """A new certificate authority that may sign servers' certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ragrec authority {secrets.token_hex(4)}")])
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(_pem(certificate), _key_pem(key))


def issue(authority: Pair, name: str, hosts: Sequence[str], now: dt.datetime) -> Pair:
    """A certificate for a server that answers at `hosts` (IP addresses and DNS names).

    It is good for clients too: the nodes of a cluster greet each other with theirs.
    """
    signer = x509.load_pem_x509_certificate(authority.certificate.encode())
    signer_key = serialization.load_pem_private_key(authority.key.encode(), None)
    assert isinstance(signer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(subject, signer.subject, key.public_key(), now, VALID_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False)
        .sign(signer_key, hashes.SHA256())
    )
    return Pair(_pem(certificate), _key_pem(key))


def hash_password(password: str) -> str:
    """The bcrypt hash that OpenSearch's ``internal_users.yml`` takes."""
    return str(bcrypt.hashpw(password.encode(), bcrypt.gensalt(12)).decode())


def covered(certificate: str) -> list[str]:
    """The IP addresses and DNS names that a PEM certificate covers, sorted."""
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(str(name.value) for name in names)


def days_left(certificate: str, now: dt.datetime) -> int:
    """Whole days until a PEM certificate ends."""
    return (x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc - now).days


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))  # clocks of new machines lag
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return (
            re.fullmatch(
                r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", host
            )
            is not None
        )
    return True


def _canonical(host: str) -> str:
    return str(_general_name(host).value)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    # OpenSearch's security plugin reads PKCS #8 only.
    encryption = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _args(properties: Mapping[str, Any]) -> CredentialsArgs:
    return CredentialsArgs(
        **{name: properties.get(name) or default for name, default in asdict(CredentialsArgs()).items()}
    )


class CredentialsProvider(ResourceProvider):
    """Generates once and keeps: nothing outside the stack's (encrypted) state knows these values."""

    serialize_as_secret_always = False

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Refuses malformed names and hosts."""
        known_news = known(news)
        return CheckResult(news, failures(validate(_args(known_news))))

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        """Changes when names or hosts did, or when a certificate ends within thirty days."""
        if is_unknown(news):
            return DiffResult(changes=True)
        return DiffResult(changes=bool(plan(olds, _args(news), _now())))

    def create(self, props: Properties) -> CreateResult:
        """Generates everything."""
        args = _args(props)
        return CreateResult(secrets.token_hex(8), {**asdict(args), **generate({}, args, _now())})

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        """Generates what is new, renews what ends, keeps the rest."""
        args = _args(news)
        for step in plan(olds, args, _now()):
            pulumi.log.info(step)
        return UpdateResult({**asdict(args), **generate(olds, args, _now())})

    def read(self, id_: str, props: Properties) -> ReadResult:
        """What the state holds: there is no other place where it could have changed."""
        outs = {name: value for name, value in props.items() if name != PROVIDER_KEY}
        return ReadResult(id_, outs, asdict(_args(props)))


class Credentials(Resource, module="ragrec", name="Credentials"):
    """Passwords, tokens, a certificate authority and certificates; every output is a secret.

    Attributes:
        passwords: password by user.
        hashes: bcrypt hash by user, for ``internal_users.yml``.
        tokens: bearer token by service.
        authority: the authority's certificate, PEM: what clients trust.
        authority_key: its private key, PEM.
        certificates: certificate by server, PEM.
        keys: private key by server, PEM, PKCS #8.
    """

    passwords: pulumi.Output[dict[str, str]]
    hashes: pulumi.Output[dict[str, str]]
    tokens: pulumi.Output[dict[str, str]]
    authority: pulumi.Output[str]
    authority_key: pulumi.Output[str]
    certificates: pulumi.Output[dict[str, str]]
    keys: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, args: CredentialsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        options = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(additional_secret_outputs=list(OUTPUTS)), opts)
        super().__init__(CredentialsProvider(), name, {**asdict(args), **dict.fromkeys(OUTPUTS)}, options)
