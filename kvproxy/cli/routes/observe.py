"""Read-only access to the store and to each Traefik."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from ...errors import TraefikError
from ...proxy.base import KVTraefikProxy
from ...routing.entry import Layout
from ...store.base import Roots, Store
from ...traefik.api import TraefikApi
from ...traefik.setup.credentials import ApiAccess
from ..hub.config import Hub
from .compare import Row, StoreState, TraefikState, compare, store_state, transient

#: Every Traefik that is to serve the routes: its display name and its API.
Replicas: TypeAlias = Sequence[tuple[str, TraefikApi]]

#: The store's contents, each Traefik's answers, and the comparison of the two.
Comparison: TypeAlias = tuple[StoreState, list[TraefikState], list[Row]]

#: Maximum number of comparisons while changes may be in progress, and seconds between two of them.
_LOOKS: Final = 3
_PAUSE: Final = 0.5


@asynccontextmanager
async def opened(proxy: KVTraefikProxy, roots: Roots | None = None) -> AsyncIterator[Store]:
    """Open a proxy's store, and close it at the end.

    Args:
        proxy: whose settings name it.
        roots: the roots to open, None for the proxy's own.

    Raises:
        ConfigurationError: if a setting cannot work.
    """
    store = proxy.open_store(roots or proxy.roots)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def replicas(hub: Hub) -> AsyncIterator[Replicas]:
    """Return every Traefik that is to serve the routes; their connections are closed at the end."""
    proxy = hub.proxy
    fleet = proxy.discovery(hub.access or ApiAccess("", ""))
    try:
        yield [(api.label.removeprefix("Traefik's API at "), api) for api in await fleet.members()]
    finally:
        await fleet.aclose()


def api_urls(proxy: KVTraefikProxy) -> list[str]:
    """Return the URLs of all APIs."""
    return proxy.traefik_api_urls


def layout_of(proxy: KVTraefikProxy) -> Layout:
    """Return the hub's layout of routes."""
    entry_points = () if proxy.should_start else (proxy.traefik_entrypoint,)
    return proxy.layout(entry_points)


async def see(hub: Hub, name: str, api: TraefikApi) -> TraefikState:
    """Ask one Traefik for everything that the comparison needs, in a few requests for any number of routes."""
    try:
        revision = await api.revision()
        table, version = await api.table(), await api.version()
    except TraefikError as error:
        return TraefikState(
            name, problem=" ".join(filter(None, (str(error), "" if hub.access else hub.secret_problem)))
        )
    return TraefikState(name, table.routers, table.services, revision, version)


async def look(hub: Hub, store: Store, asked: Replicas) -> Comparison:
    """Compare once.

    Raises:
        StoreError: if the store cannot be read.
    """
    held = store_state(await store.snapshot(), hub.proxy.names)
    seen = list(await asyncio.gather(*(see(hub, name, api) for name, api in asked)))
    return held, seen, compare(held, seen, layout_of(hub.proxy))


async def look_steadily(hub: Hub, store: Store, asked: Replicas) -> Comparison:
    """Compare, and repeat that if a change was in progress.

    Raises:
        StoreError: if the store cannot be read.
    """
    for _ in range(_LOOKS):
        held, seen, rows = await look(hub, store, asked)
        if not any(row.differs for row in rows):
            break
        if not transient(held, store_state(await store.snapshot(), hub.proxy.names), rows, seen):
            break
        await asyncio.sleep(_PAUSE)
    return held, seen, rows
