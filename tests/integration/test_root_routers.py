"""Routes come behind the root routers, and out from there, without a state in which a request leads elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kvproxy.routing.entry import Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.root_routers import RootRouters
from kvproxy.store import Capabilities
from kvproxy.testing import rule_model
from kvproxy.testing.conformance import oracle
from kvproxy.testing.conformance.proxy_tree import groups_in
from kvproxy.testing.memory import MemoryStore

from .test_reconciler import SOON, key, route, running, until

PAGED = Layout(roots=RootRouters(pages=ALONE.pages))
UNPAGED = replace(PAGED, roots=RootRouters())
INTERNAL = "noop@internal"
#: Seconds that a read of Traefik takes at most.
READ = 0.1
#: A version of Traefik without root routers.
TOO_OLD = "3.5.3"
ROUTES = [route(name) for name in ("ada", "ada/lab", "bob", "bob/lab/x")]


class Watched(MemoryStore):
    """Notes what a Traefik could load that is woken by each transaction."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.states: list[dict[str, str]] = []
        #: The same for one that lists the keys before some transactions, and reads their values after these.
        self.overlapping: list[dict[str, str]] = []
        self._earlier: list[tuple[float, dict[str, str]]] = []

    async def apply(self, transaction: Any) -> None:
        now = asyncio.get_running_loop().time()
        self._earlier.append((now, dict(self.config)))
        await super().apply(transaction)
        self._keep(self.config, self.states)
        for end, before in self._earlier:
            if now - end < READ:
                self._keep({key: self.config[key] for key in before if key in self.config}, self.overlapping)

    def forget(self) -> None:
        """Begin again, with the store as it is."""
        for states in (self.states, self.overlapping, self._earlier):
            states.clear()

    def _keep(self, config: Mapping[str, str], states: list[dict[str, str]]) -> None:
        # As long as the hold key is there, Traefik goes on with what it has.
        if ALONE.hold_key not in config:
            states.append(dict(config))


def served(config: Mapping[str, str], path: str, headers: Mapping[str, str]) -> str | None:
    """The service that a request reaches."""
    routers: dict[str, dict[str, str]] = {}
    for name, value in config.items():
        parts = name.split("/")
        if parts[:2] == ["http", "routers"]:
            routers.setdefault(parts[2], {})[parts[3]] = value
    name = rule_model.lead(routers, "h.org", path, headers)
    return None if name is None or routers[name]["service"] == INTERNAL else routers[name]["service"]


def check(states: list[dict[str, str]], routes: list[Any]) -> None:
    """In each state each request leads where the longest prefix is."""
    assert states
    for config in states:
        for path in ("/user/ada", "/user/ada/lab/tree", "/user/bob/lab/", "/user/bob/lab/x/y", "/user/nobody/"):
            wanted = oracle.lead(routes, "h.org", path)
            for headers in ({}, {"Upgrade": "websocket"}):
                assert served(config, path, headers) == (wanted and ALONE.route(wanted.key)), path


async def fill(store: MemoryStore, **options: Any) -> None:
    """Have an earlier hub add the routes."""
    async with running(store, **{"layout": PAGED, **options}) as it:
        await asyncio.gather(*(it.add(one, SOON) for one in ROUTES))


def rooted(store: MemoryStore) -> set[str]:
    """The routes' keys that name the root routers."""
    return {name for name, value in store.config.items() if value == ALONE.roots}


@pytest.mark.parametrize("most", [None, 12])
@pytest.mark.parametrize("layout", [PAGED, UNPAGED])
async def test_a_restart_with_other_pages_moves_all_routes_at_once(most: int | None, layout: Layout) -> None:
    """Also where a transaction takes a few keys only: Traefik loads nothing in between."""
    store = Watched(capabilities=Capabilities(max_operations=most))
    other = UNPAGED if layout is PAGED else PAGED
    await fill(store, layout=layout, groups_allowed=True)
    assert bool(rooted(store)) is (layout is PAGED)
    store.states.clear()
    async with running(store, layout=other, groups_allowed=True) as it:
        await it.add(ROUTES[0], SOON)
        assert bool(rooted(store)) is (other is PAGED)
    check(store.states, ROUTES)


@pytest.mark.parametrize("count", [3, 300])
async def test_a_restart_with_the_same_pages_writes_nothing(count: int) -> None:
    """Neither in a flat table nor in groups."""
    store = MemoryStore()
    async with running(store, layout=PAGED, groups_allowed=True) as it:
        await asyncio.gather(*(it.add(route(f"student{n:05d}"), SOON) for n in range(count)))
        await until(lambda: count < 256 or groups_in(store.config) > 3)
        await until(lambda: not it.waiting)
    written = len(store.applied)
    async with running(store, layout=PAGED, groups_allowed=True) as it:
        assert it.count == count
    assert len(store.applied) == written


async def test_nothing_is_assumed_about_an_unknown_traefik() -> None:
    """Routes come behind the root routers as soon as it has shown that it can have them, and leave if it cannot."""
    store = Watched()
    async with running(store, layout=PAGED) as it:
        await asyncio.gather(*(it.add(one, SOON) for one in ROUTES))
        await until(lambda: len([name for name in rooted(store) if "-kvp/" in name]) == len(ROUTES))
        check(store.states[-1:], ROUTES)
    store.traefik.release = TOO_OLD
    store.states.clear()
    async with running(store, layout=PAGED) as it:
        await it.add(route("eve"), SOON)
        await until(lambda: not rooted(store))
        check(store.states, [*ROUTES, route("eve")])


@pytest.mark.parametrize("most", [None, 12])
@pytest.mark.parametrize("leave", [False, True])
async def test_a_read_that_overlaps_the_change_loads_no_part_of_it(leave: bool, most: int | None) -> None:
    """Traefik lists the keys of some stores first and reads their values later, and it may do so at any time."""
    store = Watched(capabilities=Capabilities(max_operations=most))
    old, new = TOO_OLD, store.traefik.release
    store.traefik.release = new if leave else old
    await fill(store, groups_allowed=leave)
    assert bool(rooted(store)) is leave
    store.forget()
    store.traefik.release = old if leave else new
    async with running(store, layout=PAGED):
        await until(lambda: bool(rooted(store)) is not leave and ALONE.hold_key not in store.config)
        check(store.overlapping, ROUTES)


async def test_edits_that_arrive_during_the_change_are_commits_as_usual() -> None:
    """Traefik is kept from reading once, however busy the hub is."""
    store = Watched()
    new, store.traefik.release = store.traefik.release, TOO_OLD
    await fill(store)
    written, store.traefik.release = len(store.applied), new
    async with running(store, layout=PAGED) as it:
        for number in range(100):
            await asyncio.gather(*(it.add(route(f"new{number}x{n}"), SOON) for n in range(2)), asyncio.sleep(0.01))
        assert rooted(store)
    operations = [o for transaction in store.applied[written:] for o in transaction.operations]
    assert [o.value for o in operations if o.key == ALONE.hold_key] == ["true", None]


async def test_a_hub_that_ends_during_the_change_lets_traefik_read_again() -> None:
    """JupyterHub cancels all tasks at its end; a Traefik that is restarted meanwhile must find the routes."""
    store = Watched()
    new, store.traefik.release = store.traefik.release, TOO_OLD
    await fill(store)
    store.states.clear()
    store.traefik.release = new
    async with running(store, layout=PAGED):
        await until(lambda: ALONE.hold_key in store.config)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert ALONE.hold_key not in store.config
    check(store.states, ROUTES)


async def test_a_store_that_traefik_reads_as_a_whole_is_changed_at_once() -> None:
    """Nothing keeps it from reading meanwhile, which would be an error in its log."""
    store = Watched(capabilities=Capabilities(whole_reads=True))
    await fill(store, groups_allowed=True)
    store.states.clear()
    store.traefik.release = TOO_OLD
    written = len(store.applied)
    async with running(store, layout=PAGED):
        await until(lambda: not rooted(store))
        check(store.states, ROUTES)
    assert all(o.key != ALONE.hold_key for transaction in store.applied[written:] for o in transaction.operations)


async def test_all_are_out_while_a_hook_gives_a_route_what_only_root_routers_may_have() -> None:
    """And behind them again when it is gone."""
    from kvproxy.hooks.customize import Hook, customizing

    def secure(one: Any, configuration: dict[str, Any]) -> None:
        if one.routespec.endswith("/safe/"):
            configuration["router"]["tls"] = {"certResolver": "le"}

    store = Watched()
    layout = replace(PAGED, customize=customizing([Hook("h", secure)]))
    async with running(store, layout=layout, groups_allowed=True) as it:
        await asyncio.gather(*(it.add(one, SOON) for one in ROUTES))
        store.states.clear()
        await it.add(route("ada/safe"), SOON)
        assert not rooted(store)
        check(store.states, [*ROUTES, route("ada/safe")])
        store.states.clear()
        await it.delete(key("ada/safe"), SOON)
        await until(lambda: bool(rooted(store)))
        check(store.states, ROUTES)


async def test_a_set_up_larger_than_a_transaction_is_loaded_as_a_whole() -> None:
    """As a long extra configuration is on Consul, which takes 64 keys at once."""
    middlewares = {f"m{n}": {"headers": {"customResponseHeaders": {"X": str(n)}}} for n in range(40)}
    store = Watched(capabilities=Capabilities(max_operations=12))
    for number in (40, 30):
        store.states.clear()
        setup = {"http": {"middlewares": dict(list(middlewares.items())[:number])}}
        async with running(store, layout=PAGED, setup=setup, groups_allowed=True) as it:
            await it.add(route("ada"), SOON)
        counts = [sum(name.startswith("http/middlewares/m") for name in state) for state in store.states]
        assert set(counts) == {number}
        assert ALONE.hold_key not in store.config
