"""Real TLS in front of a plain TCP port: no Redis that comes as a wheel speaks TLS itself."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from kvproxy.testing.servers.tcp_proxy import TcpProxy


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form: an authority, and a server's and a client's certificate and key made by it."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path

    @classmethod
    def make(cls, directory: Path, client_name: str | None = "kvproxy-client") -> Certificates:
        """Make new ones in that directory; the server's is for localhost and 127.0.0.1.

        client_name: the common name (CN) of the client's certificate, None for one without.

        Raises ImportError if the package trustme is missing (``pip install kvproxy[test]``).
        """
        import trustme

        names = ["ca", "server", "server-key", "client", "client-key"]
        made = cls(*(directory / f"{name}.pem" for name in names))
        authority = trustme.CA()
        server = authority.issue_cert("localhost", "127.0.0.1")
        # Servers written in Go refuse a certificate without alternative names.
        client = authority.issue_cert("kvproxy-client.invalid", common_name=client_name)
        authority.cert_pem.write_to_path(made.ca)
        server.private_key_pem.write_to_path(made.server_key)
        client.private_key_pem.write_to_path(made.client_key)
        made.server_key.chmod(0o600)
        made.client_key.chmod(0o600)
        server.cert_chain_pems[0].write_to_path(made.server_certificate)
        client.cert_chain_pems[0].write_to_path(made.client_certificate)
        return made


class TlsFront(TcpProxy):
    """Takes TLS connections on a free port of 127.0.0.1 and passes their bytes to a plain TCP port there.

    Args:
        target_port: where the plain server listens.
        certificates: see `Certificates.make`.
        client_certificate: whether clients must show a certificate of the same authority.
    """

    def __init__(self, target_port: int, certificates: Certificates, *, client_certificate: bool = False) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.server_certificate, certificates.server_key)
        if client_certificate:
            context.load_verify_locations(certificates.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        super().__init__(target_port, tls=context)
