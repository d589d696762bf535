"""Real TLS in front of a plain TCP port: no Redis that comes as a wheel speaks TLS itself."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from kvproxy.testing.loops import LoopThread

_CHUNK = 65536  # bytes
_FAREWELL_SECONDS = 0.3


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


class TlsFront:
    """Takes TLS connections on a free port of 127.0.0.1 and passes their bytes to a plain TCP port there.

    target_port: where the plain server listens.
    certificates: see `Certificates.make`.
    client_certificate: whether clients must show a certificate of the same authority.
    """

    def __init__(self, target_port: int, certificates: Certificates, *, client_certificate: bool = False):
        self.target_port = target_port
        self.port = 0
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates.server_certificate, certificates.server_key)
        if client_certificate:
            self._context.load_verify_locations(certificates.ca)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._loop: LoopThread | None = None

    def start(self) -> TlsFront:
        """Listen; on the same port again if it ran before."""
        self._loop = LoopThread("tls-front")
        self._server = self._loop.run(self._listen())
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        """Close the port and all connections; nothing happens if it does not run."""
        if self._loop is not None:
            self._loop.run(self._close())
            self._loop.stop()
            self._loop = None

    def __enter__(self) -> TlsFront:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)

    async def _close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            await _close(writer)
            return
        ways = [
            asyncio.ensure_future(_pass(reader, back_writer)),
            asyncio.ensure_future(_pass(back_reader, writer)),
        ]
        # Cancelled when the front stops, which ends as any other connection does.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await asyncio.gather(_close(writer), _close(back_writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Send what waits and close; a peer that does not answer TLS's farewell is cut off."""
    writer.close()
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(writer.wait_closed()), _FAREWELL_SECONDS)
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
