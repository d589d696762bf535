"""The model test: any sequence of edits, faults and restarts ends with the store as the hub wants it.

A state machine on the memory store, with a clock of its own. It knows what the hub has asked for and been told; after
each run everything is mended, some time passes, and the store must hold just what is desired, Traefik must serve it,
and keys of others must be as they were.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from kvproxy.errors import KVProxyError, StoreUnavailableError, TraefikError
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.entry import QUARANTINE, SETUP, Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Capabilities, Snapshot, Transaction
from kvproxy.testing.clock import ClockLoop, until_for
from kvproxy.testing.memory import MemoryStore

from .examples import share

LOG = logging.getLogger("test.model")
LOG.disabled = True
NAMES = [f"/user/{name}/" for name in ("ada", "ada/lab", "bob", "bobby", "eve", "")] + ["/"]
CONFIGURATION = {"http": {"routers": {"kvproxy-api": {"rule": "PathPrefix(`/api`)", "service": "api@internal"}}}}
FOREIGN = {"http/routers/mine/rule": "Path(`/mine`)", "http/routers/mine/service": "mine"}
TIMEOUT = 30.0
#: Seconds after which all that can be mended must be mended: the longest pause between two tellings and two tries. And
#: seconds for which it then stays so.
AFTERWARDS, LONGER = 90.0, 5.0


class TornStore(MemoryStore):
    """A store that may fail after it has done what it was asked for."""

    fails_after = False

    async def apply(self, transaction: Transaction) -> None:
        """As the memory store, and then perhaps an error all the same."""
        await super().apply(transaction)
        if self.fails_after:
            self.fails_after = False
            raise StoreUnavailableError("The answer was lost.")


class Hub(RuleBasedStateMachine):
    """Events of a hub, its store and its Traefik."""

    calls = Bundle("calls")
    capabilities = Capabilities()

    admits = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = ClockLoop()
        self.store = TornStore(self.capabilities, admits=self.admits)
        self.store.config |= FOREIGN
        self.saved = Snapshot(dict(self.store.config), {})
        self.wanted: dict[str, Route | None] = {}
        self.busy: dict[str, asyncio.Task[None]] = {}
        self.reconciler = self.make()

    def make(self, grace: float = 0.0) -> Reconciler:
        """A hub's reconciler; groups are tried out with few routes."""
        layout = Layout(kind="tree")
        return Reconciler(
            *(self.store, self.store.traefik),
            log=LOG,
            setup=CONFIGURATION,
            layout=layout,
            patience=3,
            delete_grace=grace,
        )

    @initialize(grace=st.sampled_from([0.0, 5.0]))
    def start(self, grace: float) -> None:
        """The hub starts while all is well; deletions may wait for other changes."""
        self.grace = grace
        self.reconciler = self.make(grace)
        self.loop.run(self.reconciler.start())

    # -- what the hub does

    @rule(name=st.sampled_from(NAMES), port=st.integers(1, 3))
    def add(self, name: str, port: int) -> None:
        """A route is asked for; time goes on while it is waited for."""
        if name in self.busy:
            return
        route = make_route(name, f"http://127.0.0.1:{port}", {"port": port})
        self.busy[name] = self.loop.create_task(self._add(name, route))

    async def _add(self, name: str, route: Route) -> None:
        try:
            await self.reconciler.add(route, TIMEOUT)
        except KVProxyError:
            return
        self.wanted[name] = route

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        """A route is to go; it goes sooner or later, whatever the call says."""
        if name not in self.busy:
            self.busy[name] = self.loop.create_task(self._delete(name))

    async def _delete(self, name: str) -> None:
        self.wanted[name] = None
        try:
            await self.reconciler.delete(route_key(name), TIMEOUT)
        except KVProxyError:
            return

    @rule(name=st.sampled_from(NAMES))
    def cancel(self, name: str) -> None:
        """The caller goes away."""
        task = self.busy.get(name)
        if task is not None and task.get_coro().__name__ == "_add":  # type: ignore[union-attr]
            task.cancel()

    @precondition(lambda self: self.store.failure is None)
    @rule()
    def restart(self) -> None:
        """The hub dies and is started again; as JupyterHub does, it then checks its routes."""
        for task in self.busy.values():
            task.cancel()
        self.loop.run(self._restart())

    async def _restart(self) -> None:
        await asyncio.gather(*self.busy.values(), return_exceptions=True)
        await self.reconciler.aclose()
        self.reconciler = self.make(self.grace)
        try:
            await self.reconciler.start()
        except KVProxyError:
            self.store.fails_after = False
            await self.reconciler.start()
        for name in {**self.wanted, **{route.routespec: None for route in found_routes(self.reconciler)}}:
            if route := self.wanted.get(name):
                self.busy[name] = asyncio.create_task(self._check(name, route))
            else:
                self.busy[name] = asyncio.create_task(self._delete(name))

    async def _check(self, name: str, route: Route) -> None:
        """JupyterHub adds a route that is missing at its check, and again at each one until that works."""
        while True:
            try:
                return await self.reconciler.add(route, TIMEOUT)
            except KVProxyError:
                await asyncio.sleep(1)

    # -- what happens to it

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.5, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        """As it does."""
        self.loop.run(asyncio.sleep(seconds))
        self.busy = {name: task for name, task in self.busy.items() if not task.done()}

    @rule(away=st.booleans())
    def store_away(self, away: bool) -> None:
        """The store cannot be reached, or can again."""
        self.store.failure = StoreUnavailableError("It is away.") if away else None

    @rule()
    def answer_lost(self) -> None:
        """The next transaction is applied and fails."""
        self.store.fails_after = True

    @rule()
    def save(self) -> None:
        """The store saves its data."""
        self.saved = Snapshot(dict(self.store.config), dict(self.store.records))

    @rule()
    def store_old(self) -> None:
        """The store is restarted with the data that it saved last."""
        self._become(self.saved)

    @rule()
    def store_empty(self) -> None:
        """The store is restarted empty, but for what others write again."""
        self._become(Snapshot(dict(FOREIGN), {}))

    def _become(self, snapshot: Snapshot) -> None:
        self.store.restarted()
        for space, saved in ((self.store.config, snapshot.config), (self.store.records, snapshot.records)):
            space.clear()
            space |= saved
        self.store.move_fence()

    @rule(chance=st.randoms(use_true_random=False), changed=st.booleans())
    def keys_by_hand(self, chance: Any, changed: bool) -> None:
        """Another program deletes or changes keys of ours."""
        for space in (self.store.config, self.store.records):
            for key in [key for key in sorted(space) if key not in FOREIGN and chance.random() < 0.3]:
                if changed:
                    space[key] = "changed"
                else:
                    del space[key]

    @rule(frozen=st.booleans())
    def traefik_deaf(self, frozen: bool) -> None:
        """Traefik misses what it is told, or hears again."""
        self.store.traefik.frozen = frozen

    @rule(away=st.booleans())
    def traefik_away(self, away: bool) -> None:
        """Traefik dies, or comes back and reads what is there."""
        self.store.traefik.failure = TraefikError("It is away.") if away else None
        if not away:
            self.store.traefik.wake()

    # -- what must be so

    @invariant()
    def foreign_keys_are_left_alone(self) -> None:
        """After any event."""
        assert FOREIGN.items() <= self.store.config.items()

    def teardown(self) -> None:
        """All is mended, and all must come right."""
        self.store.failure, self.store.fails_after = None, False
        self.store.traefik.failure, self.store.traefik.frozen = None, False
        try:
            self.loop.run(self._all_is_right())
        finally:
            self.loop.close_all()

    def _all_is_done(self) -> bool:
        records = {key for key in self.store.records if not key.startswith((QUARANTINE, "group:"))}
        wanted = {route.key for route in self.wanted.values() if route is not None}
        loaded = self.store.traefik._loaded == self.store.config
        return loaded and records - {SETUP} == wanted and all(task.done() for task in self.busy.values())

    async def _all_is_right(self) -> None:
        await until_for(self._all_is_done, AFTERWARDS)
        await asyncio.sleep(LONGER)
        assert all(task.done() for task in self.busy.values())
        routes = await self.reconciler.all(TIMEOUT)
        wanted = {name: route for name, route in self.wanted.items() if route is not None}
        assert routes == {name: route.as_dict() for name, route in wanted.items()}
        await asyncio.sleep(1)
        records = {key for key in self.store.records if not key.startswith((QUARANTINE, "group:"))}
        assert records - {SETUP} == {route.key for route in wanted.values()}
        assert await self.store.traefik.revision() == int(self.store.config[ALONE.revision_key])
        for route in wanted.values():
            name = ALONE.route(route.key)
            assert await self.store.traefik.router(name) is not None
            service = await self.store.traefik.service(name)
            assert service is not None
            assert service["loadBalancer"]["servers"] == [{"url": route.target}]
        desired = {k: v for entry in self.reconciler.desired.values() for k, v in entry.config.items()}
        assert {k: v for k, v in self.store.config.items() if k != ALONE.revision_key and k not in FOREIGN} == desired
        await self.reconciler.aclose()


def found_routes(reconciler: Reconciler) -> list[Route]:
    """The routes that a hub finds at its start."""
    return [entry.route for entry in reconciler.desired.values() if entry.route is not None]


def route_key(name: str) -> str:
    """The key of a route."""
    return make_route(name, "http://127.0.0.1:1", {}).key


class HubOfSmallTransactions(Hub):
    """On a store like Consul: fenced, with few keys in a transaction."""

    capabilities = Capabilities(max_operations=12, fenced=True)


class HubThatAdmitsTraefik(Hub):
    """On a store that lets Traefik in when the hub says so, and has forgotten it when it is restarted."""

    admits = True

    @rule()
    def store_empty(self) -> None:
        """The store is restarted empty, and Traefik is there at once to read."""
        super().store_empty()
        self.store.traefik.wake()

    @rule()
    def keys_by_hand(self) -> None:
        """The store of a server that works is not touched: Traefik loads each change there at once."""

    @invariant()
    def nobody_is_lost(self) -> None:
        """Traefik, which has been there all the time, serves every route that was reported as served."""
        loaded = self.loop.run(self.store.traefik.table()) if self.store.traefik.failure is None else None
        for name, route in self.wanted.items():
            if loaded is not None and route is not None and name not in self.busy:
                assert ALONE.route(route.key) in loaded.routers, name


TestModel = Hub.TestCase
TestModel.settings = share(1)
TestModelOfSmallTransactions = HubOfSmallTransactions.TestCase
TestModelOfSmallTransactions.settings = share(0.5)
TestModelOfAdmission = HubThatAdmitsTraefik.TestCase
TestModelOfAdmission.settings = share(0.5)
