"""The local cloud's private certificate authority: a leaf certificate for every host name that a client asks for."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
import ssl
import tempfile
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.localcloud.files import locked, write_private

AUTHORITY_DAYS = 3650
LEAF_DAYS = 365
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class CertificateAuthority:
    """A CA whose key lives in `folder`; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate_path = folder / "ca.pem"
        self._lock = threading.Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._key, self._certificate = self._load_or_create()
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())

    def context(self, host: str) -> ssl.SSLContext:
        """A server context for the name that the client asks for; `host`, a name or an IP address, if it names none.

        Raises:
            ValueError: `host` is not a host name.
        """
        host = host.lower()
        with self._lock:
            if (known := self._contexts.get(host)) is None:
                known = self._contexts[host] = self._create_context(host)
            return known

    def issue(self, host: str) -> tuple[bytes, bytes]:
        """A fresh leaf certificate (with the CA's behind it) and its key, both PEM."""
        if not _HOST.fullmatch(host) and not _is_address(host):
            raise ValueError(f"{host!r} is not a host name")
        name: x509.GeneralName = (
            x509.IPAddress(ipaddress.ip_address(host)) if _is_address(host) else x509.DNSName(host)
        )
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(host[:64]))
            .issuer_name(self._certificate.subject)
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=LEAF_DAYS))
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._leaf_key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        chain = certificate.public_bytes(serialization.Encoding.PEM) + self.certificate_path.read_bytes()
        return chain, _pem(self._leaf_key)

    def _create_context(self, host: str) -> ssl.SSLContext:
        chain, key = self.issue(host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The ssl module loads keys from files only.
        descriptor, path = tempfile.mkstemp(dir=self.folder, suffix=".pem")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(chain + key)
            context.load_cert_chain(path)
        finally:
            Path(path).unlink()
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        if name:
            try:
                connection.context = self.context(name)
            except ValueError:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        return None

    def _load_or_create(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key_path = self.folder / "ca.key"
        with locked(self.folder / "ca.lock"):
            if not (key_path.exists() and self.certificate_path.exists()):
                key = ec.generate_private_key(ec.SECP256R1())
                certificate = _self_signed(key)
                write_private(key_path, _pem(key))
                write_private(self.certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
            loaded = serialization.load_pem_private_key(key_path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_path} holds no elliptic curve key; remove it and {self.certificate_path}")
        return loaded, certificate


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("ragrec local cloud CA")
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
