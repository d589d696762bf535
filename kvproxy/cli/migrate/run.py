"""Carrying out a migration: read both sides, plan, and, if wanted, write, look again, remove."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from ...errors import ConfigurationError, KVProxyError, StoreError
from ...proxy.base import KVTraefikProxy
from ...reconcile.plan import revision_operation, transactions
from ...routing.entry import without_pages
from ...routing.legacy import is_peers
from ...store.base import Store
from ..hub.config import Hub
from ..hub.liveness import hub_answers, hub_at_work
from ..routes.compare import Held, hold
from ..routes.observe import layout_of, opened
from .plan import Kind, Plan, missing, plan_migration
from .sources import Origin, Source, origin_of, reading, reading_peer, remove, same_store

#: Called with how many groups of operations there are in all, and how many are written.
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class Wish:
    """What a migration is to do.

    Args:
        source: a store's URL or a hub's configuration file; empty for the hub's own store.
        peer: whether jupyterhub-traefik-proxy has written there.
        prefixes: ``kv_traefik_prefix`` and ``kv_jupyterhub_prefix`` there, None for the usual ones.
        execute: whether to write.
        delete_old: whether to remove what was copied from where it was.
        copy_foreign: whether to copy keys below the root that are neither's.
    """

    source: str = ""
    peer: bool = False
    prefixes: tuple[str | None, str | None] = (None, None)
    execute: bool = False
    delete_old: bool = False
    copy_foreign: bool = False


@dataclass(frozen=True)
class Outcome:
    """What has been done.

    Args:
        plan: what was to be written.
        foreign: how many keys there are at the source that are neither's.
        warnings: what stands in the way of writing, or is left to do; sentences.
        due: whether there is anything to write or to remove.
        written: whether anything was written or removed.
        removed: how many keys were removed.
        older: how many routes of the source the hub has gone on without, so that they are not copied.
    """

    plan: Plan
    foreign: int
    warnings: tuple[str, ...] = ()
    due: bool = True
    written: bool = False
    removed: int = 0
    older: int = 0


async def migrate(hub: Hub, wish: Wish, progress: Progress = lambda done, total: None) -> Outcome:
    """Plan a migration to a hub's store and, if that is wished, carry it out.

    Raises:
        ConfigurationError: if it makes no sense.
        KVProxyError: if it must not be done now.
        StoreError: if a store cannot be read or written. Running it again does what is left.
    """
    origin = origin_of(wish.source, hub, wish.prefixes)
    in_place = same_store(origin, Origin(hub.proxy, hub.proxy.roots))
    if in_place and not wish.peer:
        raise ConfigurationError("The source of the migration is the hub's own store; name another one with --from.")
    reader = reading_peer if wish.peer else reading
    async with reader(origin) as source, opened(hub.proxy) as store:
        await store.check()
        held = hold(await store.snapshot(), hub.proxy.names)
        if source.revision is not None and source.revision == held.revision:
            raise ConfigurationError("Both addresses lead to the same store; name another one with --from.")
        foreign = source.foreign if wish.copy_foreign else {}
        # The hub's pages are set up by the hub: a route that named them before would not be served.
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


async def _obstacles(hub: Hub, other: Hub | None, wish: Wish, held: Held, at_work: Iterable[str]) -> tuple[str, ...]:
    """Why nothing may be written yet."""
    found = []
    for one in filter(None, (hub, other)):
        if await hub_answers(one):
            found.append(f"A hub is running at {one.app.hub.url}; stop it first, as it would undo what is written.")
    if not found:
        found = [f"A hub ({who}) is at work on these routes; stop it first." for who in at_work if who]
    if any(map(is_peers, held.foreign)) and not (wish.peer and wish.delete_old):
        found.append(
            "The store holds keys of jupyterhub-traefik-proxy below the root that kvproxy is to use, and Traefik would "
            "prefer them to what is written now. Remove them in the same run (--from-peer --delete-old), or give "
            "kvproxy another root (c.KVTraefikProxy.kv_traefik_prefix), which a Traefik of your own must know of as "
            "well."
        )
    return tuple(dict.fromkeys(found))


async def _carry_out(
    wish: Wish, source: Source, store: Store, held: Held, outcome: Outcome, progress: Progress
) -> Outcome:
    if outcome.plan.groups:
        await _write(store, held, outcome.plan, progress)
    if lost := missing(source.routes, hold(await store.snapshot(), held.names)):
        raise StoreError(
            f"{len(lost)} routes are not in the store as they were written, such as {lost[0].routespec!r}. Somebody "
            "else writes there; nothing was removed."
        )
    refused = outcome.plan.counts[Kind.REFUSE]
    removed = sum([await remove(removal) for removal in source.removals]) if wish.delete_old else 0
    left = f"{refused} routes that cannot be taken were removed with the rest." if refused and removed else ""
    return replace(outcome, warnings=(left,) if left else (), written=outcome.due, removed=removed)


async def _write(store: Store, held: Held, plan: Plan, progress: Progress) -> None:
    """Write what is planned, and wake a Traefik that is reading the store."""
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
    """Where a proxy's routes are, for people."""
    return f"{proxy.store_place()} ({proxy.provider_name})"
