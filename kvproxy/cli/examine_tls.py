"""What `kvproxy check` looks at where users come by https."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import datetime, timezone
from urllib.parse import urlsplit

from ..static import address
from . import certificates
from .examine_hub import files_of_certificate
from .findings import Finding, Level, warning
from .hub_configuration import Hub

#: Seconds that a handshake may take.
_QUICK = 5.0
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


async def examine_tls(hub: Hub, running: bool) -> list[Finding]:
    """Whether certificates are good, those in files and the one that users are shown.

    Args:
        hub: whose they are.
        running: whether a Traefik answers, so that there is somebody to show one.
    """
    files, now, host = files_of_certificate(hub), datetime.now(timezone.utc), host_of_users(hub)
    if isinstance(files, Finding):
        return [files]
    found = certificates.pair(*files, host, now) if files is not None else []
    if not running or not hub.proxy.is_https:
        return found
    where, port = address(hub.proxy.public_url, "JupyterHub.bind_url")
    where = _EVERYWHERE.get(where, where)
    shown = f"{where}:{port}"
    try:
        der = await asyncio.wait_for(shown_certificate(where, port, host), _QUICK)
    except (OSError, asyncio.TimeoutError) as problem:
        said = f"No certificate can be had from {shown} ({str(problem) or 'no answer'})."
        return [*found, warning("certificate", said, "If users come by another address, check the one they see there.")]
    usable = files[0] if files is not None and all(one.level is not Level.ERROR for one in found) else None
    return found + certificates.served(shown, der, usable, host, now)


def host_of_users(hub: Hub) -> str:
    """The host name by which users come, as far as the configuration says; empty if it does not."""
    return urlsplit(hub.app.public_url or hub.app.subdomain_host or "").hostname or ""


async def shown_certificate(host: str, port: int, name: str) -> bytes:
    """The certificate that a server shows to those who ask for a name, DER; nothing about it is checked.

    Raises:
        OSError: if there is none to be had.
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
