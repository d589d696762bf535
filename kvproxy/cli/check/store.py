"""The checks of `kvproxy check` on the store."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from ...errors import KVProxyError, StoreError
from ...proxy.succession import takeover_command
from ...store.base import Store
from ..hub.config import Hub
from ..routes.compare import StoreState, store_state
from . import certificates
from .findings import Finding, contents, error, notifications, ok, warning

_KEY: Final = (
    "The same connection carries the private key for Traefik's connections to users' servers, as internal_ssl is on "
    "and the hub does not start Traefik."
)


async def examine_store(hub: Hub, store: Store) -> tuple[list[Finding], StoreState | None]:
    """Check the store; return the findings and its contents, None if it does not work."""
    try:
        warnings = await store.check()
        held = store_state(await store.snapshot(), hub.proxy.names)
    except KVProxyError as problem:
        return [error("store", str(problem))], None
    place, provider = hub.proxy.store_place(), hub.proxy.provider_name
    found = [ok("store", f"It answers ({provider}), and the hub may read and write {place}.")]
    clear = store.in_clear_text()
    found += [warning("store", said) for said in [*warnings, *clear]]
    if clear and hub.proxy.key_in_store():
        found.append(warning("store", _KEY, "See docs/how-to/internal-ssl.md: Keep the key out of the store."))
    try:
        found.append(notifications(await store.notifies_per_key(), store.notification_advice, len(held.routes)))
    except StoreError as problem:
        found.append(warning("notifications", f"Cannot determine how often a change notifies Traefik. {problem}"))
    return found + contents(held, takeover_command(hub.proxy.app)), held


def certificates_for(hub: Hub) -> list[Finding]:
    """Check the TLS files for the connections of hub and Traefik to the store."""
    found: list[Finding] = []
    for file in hub.proxy.store_certificates():
        # The store reports unreadable files. A name may also be the contents of a file.
        with contextlib.suppress(OSError, ValueError):
            found += certificates.of_store(file, Path(file).read_bytes(), datetime.now(timezone.utc))
    return found


async def clock_of(store: Store) -> float | None:
    """Return the seconds by which the store's clock is ahead of this machine's, None if it is unknown."""
    before = time.time()
    try:
        told = await store.server_time()
    except StoreError:
        return None
    return None if told is None else told - (before + time.time()) / 2
