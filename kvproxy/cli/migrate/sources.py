"""Where a migration reads from: another store of kvproxy's, or what jupyterhub-traefik-proxy has written."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ConfigurationError
from ...plugins import import_proxy_class, load_backends
from ...proxy.base import KVTraefikProxy
from ...reconcile.plan import diff, transactions
from ...routing.legacy import is_peers, peer_groups, peer_routes
from ...routing.names import is_kvproxys
from ...routing.route import Route
from ...store.base import Operation, Space, Store
from ..hub.config import Hub, load_hub
from ..hub.liveness import hub_at_work
from ..routes.compare import Held, hold
from ..routes.observe import opened
from .plan import chunks, deletions


@dataclass(frozen=True)
class Removal:
    """What is to be removed from one store: groups of operations, those together that belong together."""

    store: Store
    groups: Sequence[Sequence[Operation]]


@dataclass(frozen=True)
class Source:
    """What was found.

    Args:
        routes: the routes.
        refused: routespec and reason of those that cannot be taken.
        foreign: keys of the configuration that are neither kvproxy's nor jupyterhub-traefik-proxy's.
        removals: what removes all that was found but the foreign keys.
        revision: the revision there, which no other store has; None for jupyterhub-traefik-proxy's.
        at_work: the hub that is at work there, as far as the store tells; empty if none is.
        older: how many routes there are besides that the hub has gone on without.
    """

    routes: Sequence[Route]
    refused: Sequence[tuple[str, str]]
    foreign: dict[str, str] = field(repr=False)
    removals: Sequence[Removal]
    revision: int | None = None
    at_work: str = ""
    older: int = 0


def source_proxy(text: str, hub: Hub, prefixes: tuple[str | None, str | None]) -> tuple[KVTraefikProxy, Hub | None]:
    """The proxy of the store to read from, and its hub, if it is named by a hub's configuration.

    Args:
        text: a store's URL, or the path of a jupyterhub_config.py; empty for the hub's own store.
        hub: the hub to migrate to.
        prefixes: ``kv_traefik_prefix`` and ``kv_jupyterhub_prefix`` there, None for those of its own configuration, or
            of this hub's.

    Raises:
        ConfigurationError: if it is neither.
    """
    other = None
    if not text:
        proxy = hub.proxy
    elif "://" in text:
        proxy = _from_url(text, hub)
    elif Path(text).is_file():
        other = load_hub(text)
        proxy = other.proxy
    else:
        raise ConfigurationError("--from names neither a store's URL, such as redis://host:6379, nor a file.")
    # A copy, as the hub's own stays as it is.
    proxy = copy.copy(getattr(proxy, "backend_proxy", proxy))
    for trait, prefix in zip(("kv_traefik_prefix", "kv_jupyterhub_prefix"), prefixes, strict=True):
        if prefix is not None:
            setattr(proxy, trait, prefix)
    return proxy, other


def _from_url(url: str, hub: Hub) -> KVTraefikProxy:
    backend = load_backends().for_url(url)
    proxy: KVTraefikProxy = import_proxy_class(backend)(log=hub.app.log)
    setattr(proxy, backend.url_trait, url)
    proxy.kv_traefik_prefix, proxy.kv_jupyterhub_prefix = hub.proxy.kv_traefik_prefix, hub.proxy.kv_jupyterhub_prefix
    return proxy


def same_store(one: KVTraefikProxy, other: KVTraefikProxy) -> bool:
    """Whether two proxies read and write the same keys of the same store, as far as their settings tell."""
    places = [(p.traefik_provider(), p.traefik_root, p.jupyterhub_root) for p in (one, other)]
    return places[0] == places[1]


@asynccontextmanager
async def reading(proxy: KVTraefikProxy) -> AsyncIterator[Source]:
    """Everything that another hub's kvproxy has written; its store is open until the end, for removals.

    Raises:
        StoreError: if it cannot be read.
    """
    async with opened(proxy) as store:
        snapshot = await store.snapshot()
        held = hold(snapshot, proxy.names)
        refused = [(name, "There is no readable record of it.") for name in held.unreadable]
        groups = [diff(entry, None) for entry in held.entries.values()]
        key = held.names.revision_key
        revision = [Operation(Space.CONFIG, key, None)] if key in snapshot.config else []
        removals = [Removal(store, [*groups, revision])]
        at_work = await hub_at_work(store)
        yield Source(list(held.routes.values()), refused, _foreign(held), removals, held.revision, at_work)


@asynccontextmanager
async def reading_peer(proxy: KVTraefikProxy) -> AsyncIterator[Source]:
    """Everything that jupyterhub-traefik-proxy has written; its store is open until the end, for removals.

    Raises:
        StoreError: if it cannot be read.
    """
    async with opened(proxy) as store:
        snapshot = await store.snapshot()
        config = snapshot.config
        most = store.capabilities.max_operations
        removals = [Removal(store, deletions(chunks(peer_groups(config), most)))]
        found = peer_routes(config, config)
        if found.records:
            # A configuration file, which holds records as well.
            removals.append(Removal(store, deletions(chunks(found.records, most))))
            yield Source(found.routes, found.refused, {}, removals, older=found.older)
            return
        async with _records(proxy) as (records, keys):
            found = peer_routes(keys, config)
            removals.append(Removal(records, deletions(chunks(found.records, most))))
            yield Source(found.routes, found.refused, _foreign(hold(snapshot)), removals, older=found.older)


def _foreign(held: Held) -> dict[str, str]:
    return {key: value for key, value in held.foreign.items() if not is_peers(key) and not is_kvproxys(key)}


@asynccontextmanager
async def _records(proxy: KVTraefikProxy) -> AsyncIterator[tuple[Store, dict[str, str]]]:
    """The peer's records as configuration of a store with another root, and all keys there.

    The peer takes a slash at the beginning of a prefix for a part of the keys.
    """
    root = proxy.jupyterhub_root
    async with opened(at_root(proxy, root)) as plain:
        keys = (await plain.snapshot()).config
        if peer_routes(keys).records:
            yield plain, keys
            return
    async with opened(at_root(proxy, f"/{root}")) as slashed:
        yield slashed, (await slashed.snapshot()).config


def at_root(proxy: KVTraefikProxy, root: str) -> KVTraefikProxy:
    """The same store with another root of the configuration, and records that nobody has."""
    twin = copy.copy(proxy)
    twin._roots = lambda: (root, f"{root}/kvproxy-none")  # type: ignore[method-assign]
    return twin


async def remove(removal: Removal) -> int:
    """Remove what was found; gives back how many keys that were.

    Raises:
        StoreError: if it could not be; the rest can be removed later.
    """
    # It may have the same roots as what has been written to since it was read.
    await removal.store.snapshot()
    removed = 0
    for transaction in transactions(removal.groups, removal.store.capabilities):
        await removal.store.apply(transaction)
        removed += len(transaction.operations)
    await removal.store.purge()
    return removed
