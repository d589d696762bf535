"""The sources of a migration: another store of kvproxy, or the keys of jupyterhub-traefik-proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError
from ...plugins import import_proxy_class, load_backends
from ...proxy.base import KVTraefikProxy
from ...reconcile.plan import diff, transactions
from ...routing.legacy import is_peers, peer_groups, peer_routes
from ...routing.names import is_kvproxys
from ...routing.route import Route
from ...store.base import Operation, Roots, Space, Store, make_roots
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


@dataclass(frozen=True)
class Origin:
    """The store to read from.

    Args:
        proxy: names the store by its settings.
        roots: of what is read there.
        hub: the proxy's hub, if its configuration names the store; None otherwise.
    """

    proxy: KVTraefikProxy
    roots: Roots
    hub: Hub | None = None


def own_store(hub: Hub) -> Origin:
    """Return the hub's own store."""
    return Origin(hub.proxy, hub.proxy.roots)


def origin_of(text: str, hub: Hub, prefixes: tuple[str | None, str | None]) -> Origin:
    """Find the store to read from.

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
    own = proxy.kv_traefik_prefix, proxy.kv_jupyterhub_prefix
    traefik, jupyterhub = (mine if prefix is None else prefix for mine, prefix in zip(own, prefixes, strict=True))
    return Origin(proxy, make_roots(traefik, jupyterhub, proxy.hub_id), other)


def _from_url(url: str, hub: Hub) -> KVTraefikProxy:
    backend = load_backends().for_url(url)
    proxy: KVTraefikProxy = import_proxy_class(backend)(log=hub.app.log)
    setattr(proxy, backend.url_trait, url)
    proxy.kv_traefik_prefix, proxy.kv_jupyterhub_prefix = hub.proxy.kv_traefik_prefix, hub.proxy.kv_jupyterhub_prefix
    return proxy


def same_store(one: Origin, other: Origin) -> bool:
    """Return True if two origins are the same keys of the same store, judging by their settings."""
    return _place(one) == _place(other)


def _place(origin: Origin) -> tuple[Any, ...]:
    [(name, options)] = origin.proxy.traefik_provider().items()
    return name, {**options, "rootKey": origin.roots.traefik}, origin.roots


@asynccontextmanager
async def reading(origin: Origin) -> AsyncIterator[Source]:
    """Read the routes of another hub's kvproxy; its store stays open until the end, for removals.

    Raises:
        StoreError: if it cannot be read.
    """
    async with opened(origin.proxy, origin.roots) as store:
        snapshot = await store.snapshot()
        held = store_state(snapshot, origin.proxy.names)
        refused = [(name, "There is no readable record of it.") for name in held.unreadable]
        groups = [diff(entry, None) for entry in held.entries.values()]
        key = held.names.revision_key
        revision = [Operation(Space.CONFIG, key, None)] if key in snapshot.config else []
        removals = [Removal(store, [*groups, revision])]
        at_work = await hub_at_work(store)
        yield Source(list(held.routes.values()), refused, _foreign(held), removals, held.revision, at_work)


@asynccontextmanager
async def reading_peer(origin: Origin) -> AsyncIterator[Source]:
    """Read the routes of jupyterhub-traefik-proxy; its store stays open until the end, for removals.

    Raises:
        StoreError: if it cannot be read.
    """
    async with opened(origin.proxy, origin.roots) as store:
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
        async with _records(origin) as (records, keys):
            found = peer_routes(keys, config)
            removals.append(Removal(records, deletions(chunks(found.records, most))))
            yield Source(found.routes, found.refused, _foreign(store_state(snapshot)), removals, older=found.older)


def _foreign(held: StoreState) -> dict[str, str]:
    return {key: value for key, value in held.foreign.items() if not is_peers(key) and not is_kvproxys(key)}


@asynccontextmanager
async def _records(origin: Origin) -> AsyncIterator[tuple[Store, dict[str, str]]]:
    """Return the peer's records as the configuration of a store with another root, and all keys there.

    For the peer, a slash at the beginning of a prefix is a part of the keys.
    """
    proxy, root = origin.proxy, origin.roots.jupyterhub
    async with opened(proxy, configuration_at(root)) as plain:
        keys = (await plain.snapshot()).config
        if peer_routes(keys).records:
            yield plain, keys
            return
    async with opened(proxy, configuration_at(f"/{root}")) as slashed:
        yield slashed, (await slashed.snapshot()).config


def configuration_at(root: str) -> Roots:
    """Return this root as the configuration's, and an unused one for the records."""
    return Roots(root, f"{root}/kvproxy-none")


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
