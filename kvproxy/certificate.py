"""The default certificate that spares Traefik from making an RSA key at each reload."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
_UNTIL = datetime.datetime(2120, 1, 1, tzinfo=datetime.timezone.utc)


def placeholder_certificate(seed: bytes) -> tuple[str, str]:
    """A self-signed certificate and its key, both in PEM, the same for the same seed.

    Nobody is meant to be served with it, so nothing in it is true but its name. It is a function of the seed so that
    a restart of the hub changes nothing in the store; Ed25519, because its signatures are one.

    Args:
        seed: 32 secret bytes.
    """
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kvproxy placeholder")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("kvproxy.invalid")]), critical=False)
        .sign(key, algorithm=None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), private.decode()
