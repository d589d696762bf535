"""Returning routes to jupyterhub-traefik-proxy: writing them in its form, and removing kvproxy's own keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from ...errors import InvalidRouteError, KVProxyError
from ...proxy.base import KVTraefikProxy
from ...reconcile.plan import transactions
from ...routing.legacy import PeerEntry, is_lowering, peer_entry
from ...routing.route import Route
from ...store.base import Operation, Space, Store
from ..hub.config import Hub
from ..hub.liveness import hub_answers, hub_at_work
from ..routes.observe import opened
from .plan import Kind, Plan, Step
from .run import Outcome, Progress
from .sources import configuration_at, own_store, reading, remove


async def give_back(hub: Hub, execute: bool, progress: Progress = lambda done, total: None) -> Outcome:
    """Plan the return of all routes in the hub's own store and, if requested, run it.

    The new routers have precedence over those that are removed after them, so requests always reach the same servers.

    Args:
        hub: the hub, as configured for kvproxy.
        execute: True to write.
        progress: receives the progress of writing.

    Raises:
        KVProxyError: if it must not run now.
        StoreError: if the store cannot be read or written. Running it again does the remaining work.
    """
    async with reading(own_store(hub)) as source, opened(hub.proxy) as store:
        await store.check()
        config = (await store.snapshot()).config
        steps, entries = _steps(source.routes, hub.proxy.traefik_entrypoint)
        groups = [_changes(entry, config) for entry in entries]
        steps += [Step(Kind.REFUSE, routespec, why=why) for routespec, why in source.refused]
        due = bool(groups) or any(group for removal in source.removals for group in removal.groups)
        outcome = Outcome(Plan(steps, groups), 0, await _obstacles(hub, store), due)
        if not execute:
            return outcome
        if outcome.warnings:
            raise KVProxyError(" ".join(outcome.warnings))
        async with _records(hub.proxy, store) as (records, prefix):
            keys = [_sets({prefix + key: value for key, value in entry.records.items()}) for entry in entries]
            await _apply(records, keys, progress)
        await _apply(store, groups, progress)
        removed = sum([await remove(removal) for removal in source.removals])
        return replace(outcome, written=due, removed=removed)


def _steps(routes: Sequence[Route], entry_point: str) -> tuple[list[Step], list[PeerEntry]]:
    steps, entries = [], []
    for route in sorted(routes, key=lambda route: route.key):
        try:
            entries.append(peer_entry(route, entry_point))
            steps.append(Step(Kind.ADD, route.routespec, route.target))
        except InvalidRouteError as error:
            steps.append(Step(Kind.REFUSE, route.routespec, why=str(error)))
    return steps, entries


def _changes(entry: PeerEntry, config: dict[str, str]) -> list[Operation]:
    """Return the operations for a route's router, which may exist with a lower priority than kvproxy's."""
    priority = f"http/routers/{entry.name}/priority"
    lowered = is_lowering(priority, config.get(priority, ""))
    return [*_sets(entry.config), *([Operation(Space.CONFIG, priority, None)] if lowered else [])]


def _sets(keys: dict[str, str]) -> list[Operation]:
    return [Operation(Space.CONFIG, key, value) for key, value in keys.items()]


async def _obstacles(hub: Hub, store: Store) -> tuple[str, ...]:
    if await hub_answers(hub):
        return (f"A hub is running at {hub.app.hub.url}; stop it first, as it would undo the changes.",)
    holder = await hub_at_work(store)
    return (f"A hub ({holder}) is using these routes; stop it first.",) if holder else ()


@asynccontextmanager
async def _records(proxy: KVTraefikProxy, store: Store) -> AsyncIterator[tuple[Store, str]]:
    """Return the records' store, as the configuration of a store with another root, and the prefix of keys there."""
    if proxy.provider_name == "file":
        yield store, "jupyterhub/"
        return
    async with opened(proxy, configuration_at(proxy.jupyterhub_root)) as records:
        await records.snapshot()
        yield records, ""
        await records.purge()


async def _apply(store: Store, groups: Sequence[Sequence[Operation]], progress: Progress) -> None:
    total = sum(map(len, groups))
    done = 0
    for transaction in transactions(groups, store.capabilities):
        await store.apply(transaction)
        done += len(transaction.operations)
        progress(done, total)
