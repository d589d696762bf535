"""The checks of `kvproxy check` on the certificates that users get."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from datetime import datetime, timezone
from urllib.parse import urlsplit

from ...errors import TraefikError
from ...traefik.api import TraefikApi
from ...traefik.entry_point import has_tls
from ...traefik.static_config import address
from ..hub.config import Hub
from ..routes.observe import Replicas
from . import certificates
from .findings import Finding, Level, warning
from .hub import files_of_certificate

#: Seconds that a handshake may take.
_QUICK = 5.0
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


async def tls_places(hub: Hub, asked: Replicas) -> list[tuple[str, int]]:
    """Return the hosts and ports at which Traefik serves users by TLS; none if none answers, or no name is known.

    Without a name in the request, a Traefik with one certificate per host would show its default certificate.
    """
    name, found = hub.proxy.traefik_entrypoint, dict[tuple[str, int], None]()
    for _, api in asked:
        try:
            shown = await api.entry_point(name) or {}
        except TraefikError:
            continue
        if hub.proxy.is_https:
            found[address(hub.proxy.public_url, "JupyterHub.bind_url")] = None
        elif has_tls(shown) and host_of_users(hub) and (place := _place(api, str(shown.get("address")))):
            found[place] = None
    return list(found)


def _place(api: TraefikApi, listens: str) -> tuple[str, int] | None:
    """Return the address of a Traefik's entry point from this machine, None if it has none."""
    host, _, port = listens.partition("/")[0].rpartition(":")
    host = host.strip("[]")
    return (api.host if host in _EVERYWHERE else host, int(port)) if port.isdigit() else None


async def examine_tls(hub: Hub, places: Sequence[tuple[str, int]]) -> list[Finding]:
    """Check the certificates in files and those that users get.

    Args:
        hub: the hub.
        places: the addresses at which Traefik serves users by TLS, see :func:`tls_places`.
    """
    files, now, host = files_of_certificate(hub), datetime.now(timezone.utc), host_of_users(hub)
    found = certificates.pair(*files, host, now) if files is not None else []
    usable = files[0] if files is not None and all(one.level is not Level.ERROR for one in found) else None
    for host_here, port in places:
        where = _EVERYWHERE.get(host_here, host_here)
        shown = f"{where}:{port}"
        try:
            der = await asyncio.wait_for(shown_certificate(where, port, host), _QUICK)
        except (OSError, asyncio.TimeoutError) as problem:
            said = f"No certificate could be read from {shown} ({str(problem) or 'no answer'})."
            found.append(warning("certificate", said, "If users come by another address, check the certificate there."))
        else:
            found += certificates.served(shown, der, usable, host, now)
    return found


def host_of_users(hub: Hub) -> str:
    """Return the host name by which users come, from the configuration; empty if it is not known."""
    return urlsplit(hub.app.public_url or hub.app.subdomain_host or "").hostname or ""


async def shown_certificate(host: str, port: int, name: str) -> bytes:
    """Return the certificate of a server for a name, in DER, without verifying it.

    Raises:
        OSError: if the server shows none.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name or host)
    try:
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(True)
        if not found:
            raise OSError("it shows none")
        return found
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
