"""The default certificate that spares Traefik from making an RSA key at each reload."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
_UNTIL = datetime.datetime(2120, 1, 1, tzinfo=datetime.timezone.utc)


#: The predicate of a sentence about a Traefik that does not serve the default certificate that the hub has set up.
CERTIFICATE_LOST: Final = (
    "does not serve the default certificate that the hub gives it: Traefik cannot read the files, or another of its "
    "providers has a default certificate too (tls.stores.default), and of two Traefik serves neither. Remove one of "
    "them; the hub's is that of c.JupyterHub.ssl_cert or of c.TraefikProxy.placeholder_certificate."
)


def der_of(certificate: str) -> bytes:
    """A certificate that is given as PEM text, or as the path of a file with it, in DER.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it holds no certificate.
    """
    pem = certificate.encode() if certificate.startswith("-----BEGIN") else Path(certificate).read_bytes()
    return x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)


def placeholder_certificate(seed: bytes) -> tuple[str, str]:
    """A self-signed certificate and its key, both in PEM, the same for the same seed.

    It is not meant to serve users, so nothing in it is true but its name. It is a function of the seed so that
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
