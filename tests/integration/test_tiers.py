"""The model test of two tiers: whatever happens, a request that only settled routes concern reaches the right server.

Two stores in memory, each with a Traefik that may be slow, dead or see half of a commit; a hub that adds, changes and
deletes routes, that is restarted between any two steps, and that moves routes from tier to tier all the time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kvproxy.errors import KVProxyError, StoreUnavailableError, TraefikError
from kvproxy.reconcile.plan import revision_operation
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.reconcile.tiers import Tiers, drop_unreachable
from kvproxy.routing.entry import Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, RouteSpec, make_route
from kvproxy.routing.tiers import CatchAll
from kvproxy.testing import rule_model
from kvproxy.testing.clock import ClockLoop, until_for
from kvproxy.testing.conformance.oracle import lead
from kvproxy.testing.memory import MemoryServer, MemoryStore

from .examples import share

LOG = logging.getLogger("test.tiers")
LOG.disabled = True
ADA, LAB = NAMES = ["/user/ada/", "/user/ada/lab/"]
PATHS = [*(name + "tree" for name in NAMES), "/hub/home", "/elsewhere"]
HUB = make_route("/", "http://127.0.0.1:8081", {"hub": True})
CATCH_ALL = CatchAll("http://127.0.0.1:8097", hub_pages=RouteSpec("", ("hub",)))
TIMEOUT = 30.0
#: Seconds for which deletions may wait for another commit.
GRACE = 5.0
#: Seconds after which all that can be mended must be mended, and for which it then stays so.
AFTERWARDS, LONGER = 120.0, 5.0


class Pair(RuleBasedStateMachine):
    """Events of a hub, its two tiers, and their Traefiks."""

    layout = Layout(kind="flat")
    grace = 0.0
    #: See :class:`.Tiers`.
    margin = 0.0
    #: See :class:`.Reconciler`.
    serves_already: Callable[[], Awaitable[bool]] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = ClockLoop()
        server = MemoryServer()
        self.stores = server.open("traefik", "jupyterhub"), server.open("hot-traefik", "hot-jupyterhub")
        self.wanted: dict[str, Route] = {"/": HUB}
        self.busy: dict[str, asyncio.Task[None]] = {}
        # Names of routes about which a Traefik may not know the latest yet.
        self.unclear: set[str] = set()

    @initialize(grace=st.sampled_from([0.0, GRACE]))
    def start(self, grace: float = 0.0) -> None:
        """The hub starts while all is well; deletions of settled routes may wait for other changes."""
        self.grace = grace
        self.loop.run(self._start())
        self.loop.run(asyncio.sleep(1))

    async def _start(self) -> None:
        await self.open()
        await self.begin()

    async def open(self) -> None:
        """Open both tiers."""
        base, hot = self.stores
        again, grace = self.serves_already, self.grace
        self.base = Reconciler(
            *(base, base.traefik), log=LOG, layout=self.layout, patience=3, delete_grace=grace, serves_already=again
        )
        self.hot = Reconciler(hot, hot.traefik, log=LOG, layout=Layout(kind="flat"), patience=3, serves_already=again)
        await self.hot.start()
        await self.base.start()

    async def begin(self) -> None:
        """Have the routes in two tiers from now on."""
        self.tiers = Tiers(self.base, self.hot, CATCH_ALL, TIMEOUT, LOG, many=3, old=1.0, margin=self.margin)
        self.moving = asyncio.create_task(self.tiers.run())
        self.busy["/"] = asyncio.create_task(self._add("/", HUB))

    @rule(name=st.sampled_from(NAMES), port=st.integers(1, 2), seconds=st.sampled_from([0.0, 0.5, 4.0]))
    def add(self, name: str, port: int, seconds: float = 0.5) -> None:
        """A route is asked for; time may go on before it is served."""
        if name not in self.busy:
            route = make_route(name, f"http://127.0.0.1:{port}", {"port": port})
            self.busy[name] = self.loop.create_task(self._add(name, route))
            self.time_passes(seconds)

    async def _add(self, name: str, route: Route) -> None:
        self.unclear.add(name)
        try:
            await self.tiers.add(route, TIMEOUT)
        except KVProxyError:
            # JupyterHub adds what it needs again at its next check.
            if name in self.wanted:
                await asyncio.sleep(1)
                await self._add(name, self.wanted[name])
            return
        self.wanted[name] = route
        self.unclear.discard(name)

    @rule(name=st.sampled_from(NAMES), seconds=st.sampled_from([0.0, 0.5, 4.0]))
    def delete(self, name: str, seconds: float = 0.5) -> None:
        """A route is to go."""
        if name not in self.busy:
            self.busy[name] = self.loop.create_task(self._delete(name))
            self.time_passes(seconds)

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
        await self._start()
        for name in NAMES:
            route = self.wanted.get(name)
            self.busy[name] = asyncio.create_task(self._add(name, route) if route else self._delete(name))

    @rule(seconds=st.sampled_from([0.01, 0.5, 4.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        """As it does."""
        self.loop.run(asyncio.sleep(seconds))

    @rule(frozen=st.booleans())
    def base_loads_slowly(self, frozen: bool) -> None:
        """The base Traefik takes long to load what it is told, or has loaded it."""
        self._freeze(0, frozen)

    def _freeze(self, tier: int, frozen: bool) -> None:
        self.stores[tier].traefik.frozen = frozen
        if not frozen:
            self.stores[tier].traefik.wake()

    @rule(name=st.sampled_from(NAMES))
    def half_read(self, name: str) -> None:
        """The base Traefik, which is loading a commit, sees one route as it is now."""
        store = self.stores[0]
        if store.traefik.frozen:
            for key in [*store.config, *store.traefik._loaded]:
                if f"/{ALONE.route(name)}/" in key:
                    store.traefik._loaded.pop(key, None)
                    store.traefik._loaded |= {key: store.config[key]} if key in store.config else {}

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
            route = lead(self.wanted.values(), "", path)
            assert route is not None
            unclear = [name for name in self.unclear | self.busy.keys() if path.startswith(name)]
            if any(len(name) >= len(route.routespec) for name in unclear):
                continue
            target = self._answer(self.stores[0], path)
            if target == CATCH_ALL.url:
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
        await until_for(self._all_is_done, AFTERWARDS)
        await asyncio.sleep(LONGER)
        assert all(task.done() for task in self.busy.values())
        both = self.tiers.merge(await self.base.all(TIMEOUT), await self.hot.all(TIMEOUT))
        assert both == {name: route.as_dict() for name, route in self.wanted.items()}
        assert not self.tiers.hot
        self.requests_reach_their_servers()
        assert not self.unclear
        self.moving.cancel()
        await self.base.aclose()
        await self.hot.aclose()

    def _all_is_done(self) -> bool:
        self.requests_reach_their_servers()
        return not (self.busy or self.tiers.hot or self.unclear)


class PairWithFaults(Pair):
    """Stores and Traefiks fail, too."""

    @rule(tier=st.sampled_from([0, 1]), away=st.booleans())
    def store_away(self, tier: int, away: bool) -> None:
        """The store cannot be reached, or can again."""
        self.stores[tier].failure = StoreUnavailableError("It is away.") if away else None

    @rule(frozen=st.booleans())
    def hot_loads_slowly(self, frozen: bool) -> None:
        """The hot Traefik takes long to load what it is told, or has loaded it."""
        self._freeze(1, frozen)

    @rule(tier=st.sampled_from([0, 1]), away=st.booleans())
    def traefik_away(self, tier: int, away: bool) -> None:
        """The API of a Traefik cannot be reached, or can again."""
        self.stores[tier].traefik.failure = TraefikError("It is away.") if away else None


class PairWithGroups(PairWithFaults):
    """The base tier has its routes in groups, each loaded in one piece: the test of the tree has parts of them."""

    layout = Layout(kind="tree")

    @rule()
    def half_read(self) -> None:  # type: ignore[override]
        """Nothing."""


def scene(*events: Callable[[PairWithFaults], None], grace: float = 0.0) -> None:
    """Play events, look after each of them, and then let all be mended."""
    pair = PairWithFaults()
    pair.start(grace)
    for event in events:
        event(pair)
        pair.requests_reach_their_servers()
    pair.teardown()


SETTLED = (lambda pair: pair.add(ADA, 1), lambda pair: pair.time_passes(40.0))
SLOW = (lambda pair: pair.base_loads_slowly(True),)


@pytest.mark.parametrize("name", NAMES)
def test_a_deleted_route_that_may_still_be_served_keeps_others_out_of_the_hot_tier(name: str) -> None:
    """The route was deleted, and the base Traefik has not noticed yet; the new one is led to all the same."""
    scene(*SETTLED, *SLOW, lambda pair: pair.delete(ADA), lambda pair: pair.add(name, 2))


def test_a_new_hub_does_not_know_what_the_base_traefik_serves() -> None:
    """It is the former one that deleted the route."""
    events = [
        lambda pair: pair.delete(ADA),
        lambda pair: pair.restart(),
        lambda pair: pair.time_passes(0.5),
        lambda pair: pair.add(ADA, 2),
    ]
    scene(*SETTLED, *SLOW, *events)


def test_a_route_is_moved_after_those_below_it() -> None:
    """A base Traefik that sees a part of a commit with both would answer for them."""
    scene(
        lambda pair: pair.add(ADA, 1, 0.0),
        lambda pair: pair.add(LAB, 2),
        *SLOW,
        lambda pair: pair.time_passes(4.0),
        lambda pair: pair.half_read(ADA),
    )


def test_a_changed_route_that_is_in_both_tiers_is_as_it_was_changed() -> None:
    """The hub ends amid the move; the next one changes the route, and then goes on with the move."""
    scene(
        lambda pair: pair.add(ADA, 1),
        *SLOW,
        lambda pair: pair.time_passes(4.0),
        lambda pair: pair.restart(),
        lambda pair: pair.time_passes(0.5),
        lambda pair: pair.add(ADA, 2, 0.0),
        lambda pair: pair.base_loads_slowly(False),
        lambda pair: pair.time_passes(4.0),
    )


def test_a_route_is_not_hot_before_the_base_traefik_leads_to_the_hot_one() -> None:
    """It led to the hub so far, as with one tier."""
    pair = PairWithFaults()
    pair.loop.run(pair.open())
    pair.loop.run(pair.base.add(HUB, TIMEOUT))
    pair.hot_loads_slowly(True)
    pair.loop.run(pair.begin())
    pair.time_passes(0.5)
    pair.add(ADA, 1)
    pair.base_loads_slowly(True)
    pair.hot_loads_slowly(False)
    pair.time_passes(4.0)
    pair.requests_reach_their_servers()
    pair.teardown()


@pytest.mark.parametrize("name", ["/user/bob/", ADA])
@pytest.mark.parametrize("grace", [0.0, GRACE])
def test_a_deleted_route_never_leads_to_a_new_server_nor_takes_its_requests(name: str, grace: float) -> None:
    """The new route has the deleted one's address, or is above it: it is served when the base Traefik has lost that."""
    answers: list[tuple[bool, str | None]] = []

    def ask(pair: PairWithFaults) -> None:
        answers.append((name in pair.busy, pair._answer(pair.stores[0], LAB)))

    scene(
        lambda pair: pair.add(LAB, 1),
        lambda pair: pair.time_passes(40.0),
        ask,
        *SLOW,
        lambda pair: pair.delete(LAB),
        lambda pair: pair.add(name, 1),
        ask,
        lambda pair: pair.base_loads_slowly(False),
        lambda pair: pair.time_passes(0.5),
        ask,
        grace=grace,
    )
    server = "http://127.0.0.1:1"
    assert answers == [(False, server), (True, server), (False, server if name == ADA else CATCH_ALL.url)]


def test_a_settled_route_whose_address_a_hot_one_has_is_deleted_at_once() -> None:
    """Its server has been replaced before the hub noticed."""
    scene(
        lambda pair: pair.add(ADA, 1),
        lambda pair: pair.time_passes(40.0),
        lambda pair: pair.add("/user/bob/", 1),
        lambda pair: pair.delete(ADA, 0.1),
        lambda pair: _assert(not pair.stores[0].records.keys() & {ADA}),
        grace=GRACE,
    )


def test_deletions_of_settled_routes_wait_and_those_of_hot_ones_do_not() -> None:
    """A change of the hot tier costs little, and does not end the wait."""
    both = [
        lambda pair: pair.delete(ADA, 0.1),
        lambda pair: pair.delete("/user/bob/", 0.1),
        lambda pair: pair.add("/user/eve/", 3, 0.1),
        lambda pair: _assert("/user/eve/" not in pair.busy and set(pair.tiers.hot) == {RouteSpec("", ("user", "eve"))}),
        lambda pair: _assert(ADA in pair.stores[0].records),
        lambda pair: pair.time_passes(GRACE),
        lambda pair: _assert(ADA not in pair.stores[0].records),
    ]
    scene(
        lambda pair: pair.add(ADA, 1),
        lambda pair: pair.time_passes(40.0),
        lambda pair: pair.add("/user/bob/", 2, 0.1),
        *both,
        grace=GRACE,
    )


def _assert(truth: bool) -> None:
    assert truth


def test_hot_routes_are_kept_if_the_hot_traefik_gets_another_address() -> None:
    """The base Traefik leads to the former one until the hub has told it the new one."""
    pair = PairWithFaults()
    pair.start()
    pair.add(ADA, 1)
    elsewhere = CatchAll("http://127.0.0.1:8099", hub_pages=CATCH_ALL.hub_pages)
    pair.loop.run(drop_unreachable(pair.base, pair.hot, elsewhere, TIMEOUT))
    assert RouteSpec("", ("user", "ada")) in pair.tiers.hot
    pair.loop.run(pair.base.add(HUB, TIMEOUT))
    pair.loop.run(drop_unreachable(pair.base, pair.hot, elsewhere, TIMEOUT))
    assert not pair.tiers.hot
    pair.moving.cancel()
    for tier in (pair.base, pair.hot):
        pair.loop.run(tier.aclose())
    pair.loop.close_all()


def test_a_route_that_the_base_traefik_refuses_stays_hot_and_keeps_no_other_one_there() -> None:
    """It is tried again later."""
    refused = "rule: not understood"
    scene(
        lambda pair: pair.stores[0].traefik.rejects.update({ALONE.route(ADA): refused}),
        lambda pair: pair.add(ADA, 1, 0.0),
        lambda pair: pair.add("/user/bob/", 2),
        lambda pair: pair.time_passes(10.0),
        lambda pair: _assert(set(pair.tiers.hot) == {RouteSpec("", ("user", "ada"))}),
        lambda pair: pair.stores[0].traefik.rejects.clear(),
    )


def test_without_a_hot_traefik_all_is_as_with_one_tier() -> None:
    """It is unreachable for long: the base one has all routes, and leads to the hub; and then it is back."""

    def away(pair: PairWithFaults, target: str) -> None:
        pair.traefik_away(1, True)
        pair.time_passes(40.0)
        assert pair._answer(pair.stores[0], "/elsewhere") == HUB.target
        assert pair._answer(pair.stores[0], PATHS[0]) == target
        assert pair.tiers.count == len(pair.wanted)
        assert pair.tiers.get("/") == HUB.as_dict()

    def back(pair: PairWithFaults) -> None:
        pair.traefik_away(1, False)
        pair.time_passes(40.0)
        assert pair._answer(pair.stores[0], "/elsewhere") == CATCH_ALL.url

    scene(
        lambda pair: pair.add(ADA, 1),
        lambda pair: away(pair, "http://127.0.0.1:1"),
        lambda pair: pair.add(ADA, 2),
        lambda pair: pair.restart(),
        lambda pair: away(pair, "http://127.0.0.1:2"),
        back,
    )


def test_a_moved_route_stays_hot_for_a_base_traefik_that_the_hub_does_not_know_yet() -> None:
    """For as long as it may take the hub to learn of it."""
    pair = PairWithFaults()
    pair.margin = 10.0
    pair.start()
    pair.add(ADA, 1)
    pair.time_passes(4.0)
    for seconds, hot in ((2.0, True), (10.0, False)):
        pair.time_passes(seconds)
        assert pair._answer(pair.stores[0], PATHS[0]) == "http://127.0.0.1:1"
        assert (pair._answer(pair.stores[1], PATHS[0]) == "http://127.0.0.1:1") == hot
    pair.teardown()


def test_a_hot_traefik_keeps_its_routes_until_the_base_one_has_them() -> None:
    """The stores were emptied while no hub ran, so nobody knows which routes the hot Traefik still serves."""

    async def serves() -> bool:
        return True

    async def check() -> None:
        with pair.tiers.checking():
            await asyncio.gather(*(pair.tiers.add(route, TIMEOUT) for route in (HUB, make_route(ADA, HUB.target, {}))))

    pair = PairWithFaults()
    pair.serves_already = serves
    before = revision_operation(ALONE, 1)
    for store in pair.stores:
        store.traefik._loaded = {before.key: str(before.value)}
    pair.loop.run(pair._start())
    pair.base_loads_slowly(True)
    checking = pair.loop.create_task(check())
    pair.time_passes(4.0)
    assert pair.stores[0].config
    assert not pair.stores[1].config
    pair.base_loads_slowly(False)
    pair.time_passes(4.0)
    assert checking.done()
    assert pair._answer(pair.stores[0], PATHS[0]) == HUB.target
    assert pair._answer(pair.stores[0], "/elsewhere") == CATCH_ALL.url
    pair.wanted[ADA] = make_route(ADA, HUB.target, {})
    pair.teardown()


@pytest.mark.parametrize("tier", [0, 1])
def test_a_traefik_that_is_too_old_has_one_tier(tier: int) -> None:
    """It would change X-Forwarded-For."""

    def old(pair: PairWithFaults) -> None:
        pair.stores[tier].traefik.release = "3.6.9"
        pair.restart()
        pair.time_passes(0.5)

    def in_base(pair: PairWithFaults) -> None:
        assert pair._answer(pair.stores[0], PATHS[0]) == "http://127.0.0.1:1"
        assert pair._answer(pair.stores[1], PATHS[0]) != "http://127.0.0.1:1"

    scene(old, lambda pair: pair.add(ADA, 1, 0.5), in_base)


@pytest.mark.parametrize("tier", [0, 1])
def test_a_traefik_that_is_found_to_be_too_old_later_is_no_longer_used_as_a_pair(tier: int) -> None:
    """As after a downgrade of Traefiks that the hub has not started."""

    def replaced(pair: PairWithFaults) -> None:
        pair.traefik_away(tier, True)
        pair.time_passes(5.0)
        pair.stores[tier].traefik.release = "3.6.9"
        pair.traefik_away(tier, False)

    def base_alone(pair: PairWithFaults) -> None:
        assert pair._answer(pair.stores[0], PATHS[0]) == "http://127.0.0.1:1"
        assert pair._answer(pair.stores[0], "/elsewhere") == HUB.target

    scene(lambda pair: pair.add(ADA, 1, 0.5), replaced, lambda pair: pair.time_passes(30.0), base_alone)


TestPair = Pair.TestCase
TestPair.settings = share(1)
TestPairWithFaults = PairWithFaults.TestCase
TestPairWithFaults.settings = share(0.5)
TestPairWithGroups = PairWithGroups.TestCase
TestPairWithGroups.settings = share(0.5)
