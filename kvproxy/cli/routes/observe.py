"""Read-only access to the store and to each Traefik."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from ...errors import TraefikError
from ...proxy.base import KVTraefikProxy
from ...proxy.hot import catch_all, leads_to_hot
from ...routing.entry import Layout
from ...store.base import Roots, Store
from ...traefik.api import TraefikApi
from ...traefik.setup.credentials import ApiAccess
from ..hub.config import Hub
from .compare import Row, StoreState, TraefikState, compare, merge, store_state, transient

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
    return TraefikState(name, table.routers, table.services, revision, version=version)


@dataclass(frozen=True)
class Tier:
    """One tier of a hub's routes.

    Args:
        hub: the hub, with the proxy of this tier.
        store: its store, open.
        asked: its Traefiks.
    """

    hub: Hub
    store: Store
    asked: Replicas

    async def look(self) -> Comparison:
        """Compare once.

        Raises:
            StoreError: if the store cannot be read.
        """
        held = await self.held()
        seen = await asyncio.gather(*(see(self.hub, name, api) for name, api in self.asked))
        seen = [replace(one, stored=held.revision) for one in seen]
        return held, seen, compare(held, seen, layout_of(self.hub.proxy))

    async def look_steadily(self) -> Comparison:
        """Compare, and repeat that if a change was in progress.

        Raises:
            StoreError: if the store cannot be read.
        """
        for _ in range(_LOOKS):
            held, seen, rows = await self.look()
            if not any(row.differs for row in rows):
                break
            if not transient(held, await self.held(), rows, seen):
                break
            await asyncio.sleep(_PAUSE)
        return held, seen, rows

    async def held(self) -> StoreState:
        """Read the store.

        Raises:
            StoreError: if it cannot be read.
        """
        return store_state(await self.store.snapshot(), self.hub.proxy.names)


def tiers_of(hub: Hub) -> list[Hub]:
    """Return the hub with the proxy of each tier that there may be, the base tier first; see :func:`has_two`."""
    hot = hub.proxy.hot_proxy()
    return [hub, replace(hub, proxy=hot)] if hot is not None else [hub]


def has_two(hub: Hub, held: StoreState | None) -> bool:
    """Return True if the routes are in two tiers.

    Args:
        hub: the hub, with the proxy of the base tier.
        held: the contents of that tier's store, None if they are not known.
    """
    if held is None or hub.proxy.route_tiers != "auto":
        return hub.proxy.route_tiers == "two"
    return leads_to_hot(hub.proxy, lambda place: held.routes.get(hub.proxy.names.route(place.key)))


class Routes:
    """All routes of a hub, in one tier or two.

    Args:
        tiers: the tiers that there may be, the base tier first.
    """

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self.tiers = tiers

    async def look(self) -> Comparison:
        """See :meth:`Tier.look`; the store's contents are those of the base tier."""
        return self._merged([await tier.look() for tier in await self._backwards()])

    async def look_steadily(self) -> Comparison:
        """See :meth:`Tier.look_steadily`."""
        return self._merged([await tier.look_steadily() for tier in await self._backwards()])

    def _merged(self, found: Sequence[Comparison]) -> Comparison:
        *hot, (held, seen, rows) = found
        for _, others, more in hot:
            seen, rows = [*seen, *others], merge(rows, more, catch_all(self.tiers[0].hub.proxy).place)
        return held, seen, rows

    async def _backwards(self) -> list[Tier]:
        # The hot tier first: a route that is being moved is in the base tier later.
        base, *hot = self.tiers
        two = has_two(base.hub, await base.held() if base.hub.proxy.route_tiers == "auto" else None)
        return [*hot, base] if two else [base]


@asynccontextmanager
async def routes_of(hub: Hub) -> AsyncIterator[Routes]:
    """Open store and Traefiks of each tier of a hub, and close them at the end.

    Raises:
        ConfigurationError: if a setting cannot work.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        yield Routes([Tier(one, await enter(opened(one.proxy)), await enter(replicas(one))) for one in tiers_of(hub)])
