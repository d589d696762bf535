"""The model test of two tiers: whatever happens, a request that only settled routes concern reaches the right server.

Two stores in memory, each with a Traefik that may be slow, dead or see half of a commit; a hub that adds, changes and
deletes routes, that is restarted between any two steps, and that moves routes from tier to tier all the time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kvproxy.errors import KVProxyError, StoreUnavailableError, TraefikError
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.reconcile.tiers import Doors, Tiers
from kvproxy.routing.entry import Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, RouteSpec, make_route
from kvproxy.testing import rule_model
from kvproxy.testing.clock import ClockLoop
from kvproxy.testing.conformance.oracle import lead
from kvproxy.testing.memory import MemoryServer, MemoryStore

LOG = logging.getLogger("test.tiers")
LOG.disabled = True
NAMES = [f"/user/{name}/" for name in ("ada", "ada/lab", "ada/lab/deep", "bob")]
PATHS = [*(name + "tree" for name in NAMES), "/hub/home", "/elsewhere"]
HUB = make_route("/", "http://127.0.0.1:8081", {"hub": True})
DOORS = Doors("http://127.0.0.1:8097", RouteSpec("", ("hub",)))
TIMEOUT = 30.0
#: Seconds after which all that can be mended must be mended.
AFTERWARDS = 120.0


class Pair(RuleBasedStateMachine):
    """Events of a hub, its two tiers, and their Traefiks."""

    layout = Layout(kind="flat")

    def __init__(self) -> None:
        super().__init__()
        self.loop = ClockLoop()
        server = MemoryServer()
        self.stores = server.open("traefik", "jupyterhub"), server.open("hot-traefik", "hot-jupyterhub")
        self.wanted: dict[str, Route] = {"/": HUB}
        self.busy: dict[str, asyncio.Task[None]] = {}
        # Names of routes about which a Traefik may not know the latest yet.
        self.unclear: set[str] = set()

    @initialize()
    def start(self) -> None:
        """The hub starts while all is well."""
        self.loop.run(self._start())

    async def _start(self) -> None:
        layouts = self.layout, Layout(kind="flat")
        self.base, self.hot = (
            Reconciler(store, store.traefik, log=LOG, layout=layout, patience=3)
            for store, layout in zip(self.stores, layouts, strict=True)
        )
        await self.hot.start()
        await self.base.start()
        self.tiers = Tiers(self.base, self.hot, DOORS, TIMEOUT, LOG, many=3, old=20.0)
        self.moving = asyncio.create_task(self.tiers.run())
        await self.tiers.add(HUB, TIMEOUT)

    @rule(name=st.sampled_from(NAMES), port=st.integers(1, 3))
    def add(self, name: str, port: int) -> None:
        """A route is asked for; time goes on while it is waited for."""
        if name not in self.busy:
            route = make_route(name, f"http://127.0.0.1:{port}", {"port": port})
            self.busy[name] = self.loop.create_task(self._add(name, route))

    async def _add(self, name: str, route: Route) -> None:
        self.unclear.add(name)
        try:
            await self.tiers.add(route, TIMEOUT)
        except KVProxyError:
            return
        self.wanted[name] = route
        self.unclear.discard(name)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        """A route is to go."""
        if name not in self.busy:
            self.busy[name] = self.loop.create_task(self._delete(name))

    async def _delete(self, name: str) -> None:
        self.unclear.add(name)
        self.wanted.pop(name, None)
        while True:
            try:
                return await self.tiers.delete(name, TIMEOUT)
            except KVProxyError:
                await asyncio.sleep(1)

    @rule()
    def restart(self) -> None:
        """The hub dies, and the next one checks its routes as JupyterHub does."""
        for store in self.stores:
            store.failure = store.traefik.failure = None
        self.loop.run(self._restart())

    async def _restart(self) -> None:
        self.moving.cancel()
        for task in self.busy.values():
            task.cancel()
        await asyncio.gather(self.moving, *self.busy.values(), return_exceptions=True)
        self.unclear |= set(self.busy)
        await self.base.aclose()
        await self.hot.aclose()
        for store in self.stores:
            store.traefik.frozen = False
            store.traefik.wake()
        await self._start()
        for name in NAMES:
            route = self.wanted.get(name)
            self.busy[name] = asyncio.create_task(self._add(name, route) if route else self._delete(name))

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.5, 3.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        """As it does."""
        self.loop.run(asyncio.sleep(seconds))

    @rule(tier=st.sampled_from([0, 1]), away=st.booleans())
    def store_away(self, tier: int, away: bool) -> None:
        """The store cannot be reached, or can again."""
        self.stores[tier].failure = StoreUnavailableError("It is away.") if away else None

    @rule(tier=st.sampled_from([0, 1]), frozen=st.booleans())
    def traefik_deaf(self, tier: int, frozen: bool) -> None:
        """A Traefik takes long to load what it is told, or has loaded it."""
        self.stores[tier].traefik.frozen = frozen
        if not frozen:
            self.stores[tier].traefik.wake()

    @rule(tier=st.sampled_from([0, 1]), away=st.booleans())
    def traefik_away(self, tier: int, away: bool) -> None:
        """The API of a Traefik cannot be reached, or can again."""
        self.stores[tier].traefik.failure = TraefikError("It is away.") if away else None

    @rule(chance=st.randoms(use_true_random=False))
    def half_read(self, chance: Any) -> None:
        """The base Traefik, which is loading, sees some of the routes of a commit."""
        store = self.stores[0]
        if not store.traefik.frozen:
            return
        new, seen = dict(store.config), store.traefik._loaded
        groups = {key.split("/")[2] for key in {**new, **seen} if key.count("/") >= 2} - {ALONE.revision}
        for name in sorted(groups):
            if chance.random() < 0.5:
                for key in [key for key in {**new, **seen} if key.split("/")[2:3] == [name]]:
                    seen.pop(key, None)
                    seen |= {key: new[key]} if key in new else {}

    def _answer(self, store: MemoryStore, path: str) -> str | None:
        loaded = store.traefik._loaded
        routers: dict[str, dict[str, str]] = {}
        for key, value in loaded.items():
            if key.startswith("http/routers/"):
                _, _, name, field = key.split("/", 3)
                routers.setdefault(name, {})[field] = value
        name = rule_model.lead(routers, "", path)
        service = str(routers[name]["service"]) if name is not None else ""
        return loaded.get(f"http/services/{service}/loadBalancer/servers/0/url")

    @invariant()
    def requests_reach_their_servers(self) -> None:
        """After any event, if all routes that the path concerns are settled."""
        self.busy = {name: task for name, task in self.busy.items() if not task.done()}
        self._clear_up()
        for path in PATHS:
            if any(path.startswith(name) for name in self.unclear | self.busy.keys()):
                continue
            route = lead(self.wanted.values(), "", path)
            assert route is not None
            target = self._answer(self.stores[0], path)
            if target == DOORS.hot:
                target = self._answer(self.stores[1], path)
            assert target == route.target, path

    def _clear_up(self) -> None:
        """A deleted route is known to be gone when both Traefiks have loaded what their stores hold."""
        for store in self.stores:
            if store.traefik._loaded != store.config:
                return
        if not self.base.waiting and not self.hot.waiting:
            self.unclear &= self.busy.keys()

    def teardown(self) -> None:
        """All is mended, and all must come right."""
        for store in self.stores:
            store.failure = store.traefik.failure = None
            store.traefik.frozen = False
            store.traefik.wake()
        try:
            self.loop.run(self._all_is_right())
        finally:
            self.loop.close_all()

    async def _all_is_right(self) -> None:
        await asyncio.sleep(AFTERWARDS)
        assert all(task.done() for task in self.busy.values())
        both = self.tiers.merge(await self.base.all(TIMEOUT), await self.hot.all(TIMEOUT))
        assert both == {name: route.as_dict() for name, route in self.wanted.items()}
        assert not self.tiers.hot
        self.requests_reach_their_servers()
        assert not self.unclear
        self.moving.cancel()
        await self.base.aclose()
        await self.hot.aclose()


class PairWithGroups(Pair):
    """The base tier has its routes in groups; each of them is loaded in one piece, as the test of the tree has parts."""

    layout = Layout(kind="tree")

    @rule()
    def half_read(self) -> None:  # type: ignore[override]
        """Nothing."""


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestPairWithGroups = PairWithGroups.TestCase
TestPairWithGroups.settings = settings(max_examples=75, stateful_step_count=30, deadline=None)
