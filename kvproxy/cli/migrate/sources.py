"""The sources of a migration: another store of kvproxy, or the keys of jupyterhub-traefik-proxy."""

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
from ..routes.compare import StoreState, store_state
from ..routes.observe import opened
from .plan import chunks, deletions


@dataclass(frozen=True)
class Removal:
    """The removals from one store, as batches of operations that stay together."""

    store: Store
    groups: Sequence[Sequence[Operation]]


@dataclass(frozen=True)
class Source:
    """The contents of a source.

    Args:
        routes: the routes.
        refused: routespec and reason of the routes that cannot be migrated.
        foreign: keys of the configuration that belong neither to kvproxy nor to jupyterhub-traefik-proxy.
        removals: the removals of everything but the foreign keys.
        revision: the revision there, which no other store has; None for jupyterhub-traefik-proxy.
        at_work: the hub that holds the lease there; empty if none does.
        older: the number of outdated routes, which are not among the routes.
    """

    routes: Sequence[Route]
    refused: Sequence[tuple[str, str]]
    foreign: dict[str, str] = field(repr=False)
    removals: Sequence[Removal]
    revision: int | None = None
    at_work: str = ""
    older: int = 0


def source_proxy(text: str, hub: Hub, prefixes: tuple[str | None, str | None]) -> tuple[KVTraefikProxy, Hub | None]:
    """Return the proxy of the source's store, and its hub if a hub's configuration was given.

    Args:
        text: a store's URL, or the path of a jupyterhub_config.py; empty for the hub's own store.
        hub: the target hub.
        prefixes: ``kv_traefik_prefix`` and ``kv_jupyterhub_prefix`` there, None for those of its own configuration or
            of the target hub.

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
    # A copy, as the hub's own proxy must not change.
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
    """Return True if two proxies use the same keys of the same store, judging by their settings."""
    places = [(p.traefik_provider(), p.traefik_root, p.jupyterhub_root) for p in (one, other)]
    return places[0] == places[1]


@asynccontextmanager
async def reading(proxy: KVTraefikProxy) -> AsyncIterator[Source]:
    """Read the routes of another hub's kvproxy; its store stays open until the end, for removals.

    Raises:
        StoreError: if it cannot be read.
    """
    async with opened(proxy) as store:
        snapshot = await store.snapshot()
        held = store_state(snapshot, proxy.names)
        refused = [(name, "There is no readable record of it.") for name in held.unreadable]
        groups = [diff(entry, None) for entry in held.entries.values()]
        key = held.names.revision_key
        revision = [Operation(Space.CONFIG, key, None)] if key in snapshot.config else []
        removals = [Removal(store, [*groups, revision])]
        at_work = await hub_at_work(store)
        yield Source(list(held.routes.values()), refused, _foreign(held), removals, held.revision, at_work)


@asynccontextmanager
async def reading_peer(proxy: KVTraefikProxy) -> AsyncIterator[Source]:
    """Read the routes of jupyterhub-traefik-proxy; its store stays open until the end, for removals.

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
            # A configuration file, which holds the records too.
            removals.append(Removal(store, deletions(chunks(found.records, most))))
            yield Source(found.routes, found.refused, {}, removals, older=found.older)
            return
        async with _records(proxy) as (records, keys):
            found = peer_routes(keys, config)
            removals.append(Removal(records, deletions(chunks(found.records, most))))
            yield Source(found.routes, found.refused, _foreign(store_state(snapshot)), removals, older=found.older)


def _foreign(held: StoreState) -> dict[str, str]:
    return {key: value for key, value in held.foreign.items() if not is_peers(key) and not is_kvproxys(key)}


@asynccontextmanager
async def _records(proxy: KVTraefikProxy) -> AsyncIterator[tuple[Store, dict[str, str]]]:
    """Return the peer's records as the configuration of a store with another root, and all keys there.

    For the peer, a slash at the beginning of a prefix is a part of the keys.
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
    """Return the same store with another root of the configuration, and an unused root of the records."""
    twin = copy.copy(proxy)
    twin._roots = lambda: (root, f"{root}/kvproxy-none")  # type: ignore[method-assign]
    return twin


async def remove(removal: Removal) -> int:
    """Run a removal, and return the number of removed keys.

    Raises:
        StoreError: if that failed; the rest can be removed later.
    """
    # The target may have the same roots, so this store may have changed since it was read.
    await removal.store.snapshot()
    removed = 0
    for transaction in transactions(removal.groups, removal.store.capabilities):
        await removal.store.apply(transaction)
        removed += len(transaction.operations)
    await removal.store.purge()
    return removed
