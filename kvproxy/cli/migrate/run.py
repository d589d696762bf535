"""Running a migration: read both sides, plan, and, if requested, write, verify and remove."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from ..._text import counted
from ...errors import ConfigurationError, KVProxyError, StoreError
from ...proxy.base import KVTraefikProxy
from ...reconcile.plan import revision_operation, transactions
from ...routing.entry import without_pages
from ...routing.legacy import is_peers
from ...store.base import Store
from ..hub.config import Hub
from ..hub.liveness import hub_answers, hub_at_work
from ..routes.compare import StoreState, store_state
from ..routes.observe import layout_of, opened
from .plan import Kind, Plan, missing, plan_migration
from .sources import Source, origin_of, own_store, reading, reading_peer, remove, same_store

#: Called with the number of operations that are written, and their total number.
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class Wish:
    """The options of a migration.

    Args:
        source: a store's URL or a hub's configuration file; empty for the hub's own store.
        peer: True if the routes there are those of jupyterhub-traefik-proxy.
        prefixes: ``kv_traefik_prefix`` and ``kv_jupyterhub_prefix`` there, None for the usual ones.
        execute: True to write.
        delete_old: True to remove the copied routes from the source.
        copy_foreign: True to copy keys below the root that belong to neither proxy.
    """

    source: str = ""
    peer: bool = False
    prefixes: tuple[str | None, str | None] = (None, None)
    execute: bool = False
    delete_old: bool = False
    copy_foreign: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of a migration.

    Args:
        plan: the plan.
        foreign: the number of keys at the source that belong to neither proxy.
        warnings: sentences about obstacles to writing, or about remaining work.
        due: True if there is anything to write or to remove.
        written: True if anything was written or removed.
        removed: the number of removed keys.
        older: the number of outdated routes of the source, which are not copied.
    """

    plan: Plan
    foreign: int
    warnings: tuple[str, ...] = ()
    due: bool = True
    written: bool = False
    removed: int = 0
    older: int = 0


async def migrate(hub: Hub, wish: Wish, progress: Progress = lambda done, total: None) -> Outcome:
    """Plan a migration to a hub's store and, if requested, run it.

    Raises:
        ConfigurationError: if source and target do not fit.
        KVProxyError: if it must not run now.
        StoreError: if a store cannot be read or written. Running it again does the remaining work.
    """
    origin = origin_of(wish.source, hub, wish.prefixes)
    in_place = same_store(origin, own_store(hub))
    if in_place and not wish.peer:
        raise ConfigurationError("The source of the migration is the hub's own store; name another one with --from.")
    reader = reading_peer if wish.peer else reading
    async with reader(origin) as source, opened(hub.proxy) as store:
        await store.check()
        held = store_state(await store.snapshot(), hub.proxy.names)
        if source.revision is not None and source.revision == held.revision:
            raise ConfigurationError("Both addresses lead to the same store; name another one with --from.")
        foreign = source.foreign if wish.copy_foreign else {}
        # The hub sets up its pages only at its start: a route that names them before would not be served.
        layout = without_pages(layout_of(hub.proxy))
        plan = plan_migration(source.routes, source.refused, held, layout, foreign)
        warnings = await _obstacles(hub, origin.hub, wish, held, (source.at_work, await hub_at_work(store)))
        due = bool(plan.groups) or (wish.delete_old and any(removal.groups for removal in source.removals))
        outcome = Outcome(plan, 0 if in_place else len(source.foreign), warnings, due, older=source.older)
        if not wish.execute:
            return outcome
        if warnings:
            raise KVProxyError(" ".join(warnings))
        return await _carry_out(wish, source, store, held, outcome, progress)


async def _obstacles(
    hub: Hub, other: Hub | None, wish: Wish, held: StoreState, at_work: Iterable[str]
) -> tuple[str, ...]:
    """Return the reasons that nothing may be written yet."""
    found = []
    for one in filter(None, (hub, other)):
        if await hub_answers(one):
            found.append(f"A hub is running at {one.app.hub.url}; stop it first, as it would undo the changes.")
    if not found:
        found = [f"A hub ({holder}) is using these routes; stop it first." for holder in at_work if holder]
    if any(map(is_peers, held.foreign)) and not (wish.peer and wish.delete_old):
        found.append(
            "The store holds keys of jupyterhub-traefik-proxy below the root that kvproxy is to use, and Traefik would "
            "prefer them to the new routes. Remove them in the same run (--from-peer --delete-old), or give "
            "kvproxy another root (c.KVTraefikProxy.kv_traefik_prefix), which your own Traefik must use "
            "too."
        )
    return tuple(dict.fromkeys(found))


async def _carry_out(
    wish: Wish, source: Source, store: Store, held: StoreState, outcome: Outcome, progress: Progress
) -> Outcome:
    if outcome.plan.groups:
        await _write(store, held, outcome.plan, progress)
    if lost := missing(source.routes, store_state(await store.snapshot(), held.names)):
        raise StoreError(
            f"The store does not hold {counted(len(lost), 'route')} as written, such as {lost[0].routespec!r}. Another "
            "program writes there; nothing was removed."
        )
    refused = outcome.plan.counts[Kind.REFUSE]
    removed = sum([await remove(removal) for removal in source.removals]) if wish.delete_old else 0
    verb = "was" if refused == 1 else "were"
    left = f"{counted(refused, 'route')} that cannot be migrated {verb} removed with the rest."
    return replace(outcome, warnings=(left,) if refused and removed else (), written=outcome.due, removed=removed)


async def _write(store: Store, held: StoreState, plan: Plan, progress: Progress) -> None:
    """Write the planned operations, and notify a running Traefik."""
    revision = max((held.revision or 0) + 1, time.time_ns() // 1_000_000)
    last = [revision_operation(held.names, revision)]
    total = sum(map(len, plan.groups)) + len(last)
    done = 0
    progress(done, total)
    for transaction in transactions(plan.groups, store.capabilities, last):
        await store.apply(transaction)
        done += len(transaction.operations)
        progress(done, total)


def place_of(proxy: KVTraefikProxy) -> str:
    """Return the location of a proxy's routes, for messages."""
    return f"{proxy.store_place()} ({proxy.provider_name})"
