"""Findings about certificates in PEM and DER."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from .findings import Finding, Level, error, ok, warning

_SOON: Final = timedelta(days=21)
#: Common names of placeholder certificates.
_STAND_INS: Final = {"kvproxy placeholder", "TRAEFIK DEFAULT CERT"}


def pair(cert_pem: bytes, key_pem: bytes, host: str, now: datetime) -> list[Finding]:
    """Check the certificate and the key in two files.

    Args:
        cert_pem: the certificate, followed by those of its authorities.
        key_pem: its key.
        host: the name by which users come; empty if it is not known.
        now: the present time, with a time zone.
    """
    try:
        certificate = x509.load_pem_x509_certificates(cert_pem)[0]
    except (ValueError, IndexError):
        return [error("certificate", "ssl_cert holds no certificate that can be read.", "It must be PEM.")]
    try:
        key = load_pem_private_key(key_pem, None)
    except TypeError:
        return [error("certificate", "ssl_key is encrypted.", "Traefik takes no encrypted keys; decrypt it.")]
    except (ValueError, UnsupportedAlgorithm):
        return [error("certificate", "ssl_key holds no private key that can be read.", "It must be PEM.")]
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        return [error("certificate", "ssl_key is not the key of ssl_cert.", "Give the two that belong together.")]
    return [*validity("ssl_cert", certificate, now), *names("ssl_cert", certificate, host)]


def served(where: str, der: bytes, configured: bytes | None, host: str, now: datetime) -> list[Finding]:
    """Check the certificate that users get.

    Args:
        where: the address of the server.
        der: the certificate.
        configured: ssl_cert, PEM; None if there is none.
        host: the name by which users come; empty if it is not known.
        now: the present time, with a time zone.
    """
    certificate = x509.load_der_x509_certificate(der)
    if common_name(certificate) in _STAND_INS:
        said = f"{where} serves a placeholder certificate, which no browser trusts."
        return [error("certificate", said, "Give c.JupyterHub.ssl_cert and ssl_key, or set Traefik up to have one.")]
    if configured is not None and x509.load_pem_x509_certificates(configured)[0] != certificate:
        advice = "Traefik rereads it when its configuration changes; restart the hub, or whatever answers there."
        return [warning("certificate", f"{where} serves a different certificate than ssl_cert.", advice)]
    return [*validity(where, certificate, now), *names(where, certificate, host)]


def validity(what: str, certificate: x509.Certificate, now: datetime) -> list[Finding]:
    """Check that a certificate is valid now and for some time to come."""
    begin, end = _utc(certificate, "not_valid_before"), _utc(certificate, "not_valid_after")
    if now < begin:
        return [error("certificate", f"{what} is not valid before {begin:%Y-%m-%d}.", "Check the clock, or wait.")]
    if now >= end:
        return [error("certificate", f"{what} expired on {end:%Y-%m-%d}.", "Renew it.")]
    if end - now < _SOON:
        return [warning("certificate", f"{what} expires on {end:%Y-%m-%d}.", "Renew it.")]
    return [ok("certificate", f"{what} is valid until {end:%Y-%m-%d}.")]


def of_store(file: str, pem: bytes, now: datetime) -> list[Finding]:
    """Check the certificates in a file for the store, which may also be a bundle of authorities, or a key.

    In a bundle, the authority that is valid for longest counts; in a file with a client certificate, that one.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []
    clients = [certificate for certificate in found if not _is_authority(certificate)]
    counts = clients[0] if clients else max(found, key=lambda one: _utc(one, "not_valid_after"))
    return [finding for finding in validity(file, counts, now) if finding.level is not Level.OK]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def names(what: str, certificate: x509.Certificate, host: str) -> list[Finding]:
    """Check that a certificate is for the name by which users come."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        known: Sequence[str] = []
    else:
        known = [
            *extension.get_values_for_type(x509.DNSName),
            *map(str, extension.get_values_for_type(x509.IPAddress)),
        ]
    if not host or any(matches(name, host) for name in known):
        return []
    said = f"{what} is not for {host}, but for {', '.join(known) or 'no name'}."
    return [error("certificate", said, "Get one for the name that users enter.")]


def matches(name: str, host: str) -> bool:
    """Return True if a name in a certificate, which may begin with ``*.``, matches a host.

    >>> matches("*.example.org", "hub.example.org"), matches("*.example.org", "a.b.example.org")
    (True, False)
    """
    name, host = name.lower(), host.lower()
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:] and "." in host)


def common_name(certificate: x509.Certificate) -> str:
    """Return the common name of a certificate's subject; empty if it has none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _utc(certificate: x509.Certificate, name: str) -> datetime:
    """Return ``not_valid_before`` or ``not_valid_after`` with a time zone, which cryptography has from 42 on."""
    found: datetime = getattr(certificate, f"{name}_utc", None) or getattr(certificate, name)
    return found.replace(tzinfo=timezone.utc)
