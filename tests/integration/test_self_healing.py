"""Drift in the store and in Traefik is noticed and repaired without being asked; on a virtual clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from kvproxy.errors import RouteNotReadyError, StoppedError, StoreAuthError, StoreUnavailableError, TraefikError
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.encode import encode_record
from kvproxy.routing.entry import QUARANTINE
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Capabilities, Transaction
from kvproxy.testing.clock import ClockLoop
from kvproxy.testing.memory import MemoryStore, MemoryTraefik
from kvproxy.traefik.api import Table

LOG = logging.getLogger("test")
SETUP = {"http": {"routers": {"kvproxy-api": {"rule": "PathPrefix(`/api`)", "service": "api@internal"}}}}
#: Seconds within which everything must be right again.
SECONDS = 5.0


def route(name: str, port: int = 1) -> Route:
    """A user's route."""
    return make_route(f"/user/{name}/", f"http://127.0.0.1:{port}", {"user": name})


class World:
    """A store with ten routes, and who reads it."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.traefik = self.store.traefik
        self.reconciler = Reconciler(self.store, self.traefik, log=LOG, setup=SETUP)

    def right(self) -> dict[str, str]:
        """The configuration but for the revision."""
        return {key: value for key, value in self.store.config.items() if key != ALONE.revision_key}

    async def begin(self) -> None:
        """Add the routes."""
        await self.reconciler.start()
        for number in range(10):
            await self.reconciler.add(route(f"u{number}"), SECONDS)


Scene = Callable[[World], Awaitable[None]]


def play(scene: Scene, store: MemoryStore | None = None) -> None:
    """Play a scene on a clock of its own, with a store of its own if there is none."""
    loop = ClockLoop()

    async def whole() -> None:
        world = World(store)
        await world.begin()
        try:
            await scene(world)
        finally:
            await world.reconciler.aclose()

    try:
        loop.run(whole())
    finally:
        loop.close_all()


def empty(world: World) -> None:
    """As a restart without persistence leaves it."""
    world.store.config.clear()
    world.store.records.clear()


def old(world: World) -> None:
    """As a restart leaves it that has not saved the last routes; one that was deleted since is there again."""
    for key in [
        key for key in world.store.config if "u9" in key or key.startswith(f"http/routers/{ALONE.route('/user/u9/')}")
    ]:
        del world.store.config[key]
    world.store.records.pop("/user/u9/")
    world.store.records["/user/gone/"] = encode_record(route("gone"))
    world.store.config[f"http/routers/{ALONE.route('/user/gone/')}/rule"] = "Path(`/user/gone`)"
    world.store.config[ALONE.revision_key] = "0000000000001"


def keys_gone(world: World) -> None:
    """An administrator's mistake."""
    for key in list(world.store.config)[::3]:
        if key != ALONE.revision_key:
            del world.store.config[key]


def records_gone(world: World) -> None:
    """Another one."""
    world.store.records.pop("/user/u3/")


def keys_changed(world: World) -> None:
    """A target is changed by hand, and a router of ours gets a field that Traefik does not know."""
    name = ALONE.route("/user/u1/")
    world.store.config[f"http/services/{name}/loadBalancer/servers/0/url"] = "http://127.0.0.1:9"
    world.store.config[f"http/routers/{name}/nosuchfield"] = "x"


def setup_gone(world: World) -> None:
    """The router of Traefik's API."""
    del world.store.config["http/routers/kvproxy-api/rule"]


@pytest.mark.parametrize("fault", [empty, old, keys_gone, records_gone, keys_changed, setup_gone])
def test_a_store_that_is_not_as_it_was_left_is_put_right(
    fault: Callable[[World], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Within seconds, with a word about it, and Traefik has it too."""

    async def scene(world: World) -> None:
        config, records = world.right(), dict(world.store.records)
        caplog.clear()
        fault(world)
        world.traefik.wake()
        await asyncio.sleep(SECONDS)
        assert (world.right(), world.store.records) == (config, records)
        assert await world.traefik.revision() == int(world.store.config[ALONE.revision_key])
        assert sum("The store" in message for message in caplog.messages) == 1

    play(scene)


class EmptiedStore(MemoryStore):
    """Loses everything at the very moment before a transaction, if it is told to; tells of every transaction."""

    def __init__(self, capabilities: Capabilities) -> None:
        super().__init__(capabilities)
        self.tells_all = True
        self.loses = False
        #: The configuration that Traefik had loaded after each transaction.
        self.seen: list[Table] = []

    async def apply(self, transaction: Transaction) -> None:
        """As the memory store, or as one that has just lost everything."""
        if self.loses:
            self.loses = False
            self.config.clear()
            self.records.clear()
            self.move_fence()
        await super().apply(transaction)
        self.seen.append(await self.traefik.table())


def test_traefik_never_loads_a_part_of_what_an_emptied_store_had() -> None:
    """Not what is added at that moment alone, and not the first of several transactions."""
    store = EmptiedStore(Capabilities(max_operations=10, fenced=True))

    async def scene(world: World) -> None:
        everybody = {ALONE.route(f"/user/u{number}/") for number in range(10)}
        store.seen.clear()
        store.loses = True
        await world.reconciler.add(route("new"), SECONDS)
        assert store.seen
        assert all(everybody <= table.routers.keys() for table in store.seen)
        assert ALONE.route("/user/new/") in store.seen[-1].routers
        assert ALONE.hold_key not in store.config

    play(scene, store)


@pytest.mark.parametrize("fault", [empty, old])
def test_traefik_is_let_in_when_all_is_as_it_should_be(fault: Callable[[World], None]) -> None:
    """And not before: it comes at once to a store that was restarted, and again and again until the hub looks."""

    async def scene(world: World) -> None:
        before = await world.traefik.table()
        fault(world)
        world.store.restarted()
        while not world.store.readable:
            world.traefik.wake()
            assert await world.traefik.table() == before
            await asyncio.sleep(0.01)
        assert await world.traefik.table() == before
        await world.reconciler.add(route("new"), SECONDS)

    play(scene, MemoryStore(admits=True))


def test_commits_do_not_wait_for_an_unadmitted_traefik() -> None:
    """A Traefik that was still at work on something cannot end it before it is let in again."""

    async def scene(world: World) -> None:
        world.traefik.frozen = True
        adding = asyncio.create_task(world.reconciler.add(route("new"), SECONDS))
        await asyncio.sleep(0.1)
        empty(world)
        world.store.restarted()
        world.traefik.frozen = False
        await asyncio.wait_for(adding, 1.5)
        assert len((await world.traefik.table()).routers) > 10

    play(scene, MemoryStore(admits=True))


def test_a_store_that_does_not_let_the_hub_admit_traefik_is_told_at_start() -> None:
    """By its own words."""

    class Refusing(MemoryStore):
        async def admit_traefik(self) -> None:
            raise StoreAuthError("Not you.")

    with pytest.raises(StoreAuthError, match="Not you"):
        play(lambda world: asyncio.sleep(0), Refusing())


def test_a_store_that_was_left_half_written_is_completed() -> None:
    """As by a hub that has died just then: what kept Traefik from loading it goes, and it loads the whole."""

    async def scene(world: World) -> None:
        world.store.config[ALONE.hold_key] = "true"
        await asyncio.sleep(SECONDS)
        assert ALONE.hold_key not in world.store.config
        await world.reconciler.add(route("new"), SECONDS)

    play(scene)


def test_nothing_is_written_while_all_is_well() -> None:
    """An hour of looks."""

    async def scene(world: World) -> None:
        written, reads = len(world.store.applied), world.store.reads
        await asyncio.sleep(3600)
        assert len(world.store.applied) == written
        assert world.store.reads > reads

    play(scene)


def test_a_traefik_that_has_missed_the_message_is_told_again() -> None:
    """As after a failover, when it listens to no server for a moment; more and more rarely if that is in vain."""

    async def scene(world: World) -> None:
        world.traefik.frozen = True
        adding = asyncio.create_task(world.reconciler.add(route("new"), 60))
        await asyncio.sleep(1)
        world.traefik.frozen = False
        await asyncio.wait_for(adding, SECONDS)
        world.traefik.frozen = True
        await asyncio.gather(world.reconciler.add(route("newer"), 1), return_exceptions=True)
        before = world.traefik.reloads
        await asyncio.sleep(600)
        assert world.traefik.reloads - before < 40

    play(scene)


class SlowTraefik(MemoryTraefik):
    """Takes its time for each message, one after another, as one with ten thousand routes does."""

    seconds = 0.0

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self._left = 0
        self._work: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Read the store when its turn has come."""
        self.reloads += 1
        self._left += 1
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        while self._left:
            self._left -= 1
            read = dict(self._store.config)
            await asyncio.sleep(self.seconds)
            self._loaded = read


@pytest.mark.parametrize("seconds", [1.9, 2.1, 2.5, 3.9, 4.1, 5, 9, 15, 29, 40, 70])
def test_a_traefik_that_is_slow_is_not_kept_from_ever_coming_to_rest(seconds: float) -> None:
    """It is told again what it has not got round to, as its speed is not known yet; then it is known."""
    store = MemoryStore()
    store.traefik = traefik = SlowTraefik(store)

    async def scene(world: World) -> None:
        traefik.seconds = seconds
        await world.reconciler.add(route("new"), 600)
        await asyncio.sleep(300)
        before = traefik.reloads
        await asyncio.sleep(300)
        assert traefik.reloads == before
        await world.reconciler.add(route("newer"), 600)
        await asyncio.sleep(300)
        assert traefik.reloads == before + 1

    play(scene, store)


def test_a_traefik_that_follows_nothing_is_told_of_with_the_key_that_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    """In the log and in the error of who adds a route; when the key is gone, so is the trouble."""

    caplog.set_level(logging.INFO)

    async def scene(world: World) -> None:
        world.store.config["http/routers/mine/rool"] = "Path(`/mine`)"
        world.traefik.frozen = True
        await asyncio.sleep(SECONDS)
        with pytest.raises(RouteNotReadyError, match="http/routers/mine/rool"):
            await world.reconciler.add(route("new"), 30)
        assert any("does not follow" in m and "http/routers/mine/rool" in m for m in caplog.messages)
        del world.store.config["http/routers/mine/rool"]
        world.traefik.frozen = False
        await asyncio.sleep(SECONDS)
        await world.reconciler.add(route("new"), SECONDS)
        assert any("follows the store again" in message for message in caplog.messages)

    play(scene)


def test_a_traefik_that_was_away_is_not_believed_to_serve_what_it_served() -> None:
    """A route that is added again is waited for again."""

    async def scene(world: World) -> None:
        world.traefik.failure = TraefikError("It is away.")
        await asyncio.sleep(SECONDS)
        adding = asyncio.create_task(world.reconciler.add(route("u1"), 60))
        await asyncio.sleep(SECONDS)
        assert not adding.done()
        world.traefik.failure = None
        await asyncio.wait_for(adding, SECONDS)

    play(scene)


def test_a_store_that_is_away_delays_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is noticed without a call, and a caller learns the reason of the wait."""

    async def scene(world: World) -> None:
        world.store.failure = StoreUnavailableError("The memory is away.")
        await asyncio.sleep(SECONDS)
        assert sum("The memory is away." in message for message in caplog.messages) == 1
        with pytest.raises(RouteNotReadyError, match="The memory is away"):
            await world.reconciler.add(route("late"), 3)
        adding = asyncio.create_task(world.reconciler.add(route("new"), 60))
        deleting = asyncio.create_task(world.reconciler.delete("/user/u1/", 60))
        await asyncio.sleep(SECONDS)
        world.store.failure = None
        await asyncio.gather(adding, deleting)
        names = {f"/user/u{number}/" for number in range(10) if number != 1} | {"/user/new/"}
        assert set(world.store.records) - {"setup"} == names

    play(scene)


def test_an_unreadable_record_is_set_aside(caplog: pytest.LogCaptureFixture) -> None:
    """It is reported and kept, what belongs to it is removed, and everything else goes on; at start and later."""

    async def scene(world: World) -> None:
        good = set(world.store.records)
        name = ALONE.route("/user/broken/")
        for number, value in enumerate(["{", "null", "[]", '{"target": 1}', "x" * 100_000]):
            world.store.records["/user/broken/"] = value
            world.store.config[f"http/routers/{name}/rule"] = "Path(`/user/broken`)"
            if number % 2:
                await world.reconciler.aclose()
                world.reconciler = Reconciler(world.store, world.traefik, log=LOG, setup=SETUP)
                await world.reconciler.start()
            await asyncio.sleep(SECONDS)
            assert set(world.store.records) == {*good, QUARANTINE + "/user/broken/"}
            assert value.startswith(world.store.records[QUARANTINE + "/user/broken/"])
            assert not any(key.startswith(f"http/routers/{name}") for key in world.store.config)
        assert sum(QUARANTINE in message for message in caplog.messages) == 5

    play(scene)


class Several:
    """A fleet."""

    def __init__(self, *members: MemoryTraefik) -> None:
        self.replicas = list(members)

    async def members(self) -> list[MemoryTraefik]:
        """See :meth:`kvproxy.traefik.replicas.Fleet.members`."""
        return self.replicas


def with_replicas(scene: Callable[[World, MemoryTraefik], Awaitable[None]]) -> None:
    """Play a scene with a second replica."""

    async def whole(world: World) -> None:
        await world.reconciler.aclose()
        other = MemoryTraefik(world.store)
        wake = world.traefik.wake

        def both() -> None:
            wake()
            other.wake()

        world.traefik.wake = both  # type: ignore[method-assign]
        world.reconciler = Reconciler(world.store, Several(world.traefik, other), log=LOG, setup=SETUP, grace=3)
        await world.reconciler.start()
        await world.reconciler.add(route("first"), SECONDS)
        await scene(world, other)

    play(whole)


def test_a_route_is_ready_when_every_replica_serves_it() -> None:
    """One that lags is waited for."""

    async def scene(world: World, other: MemoryTraefik) -> None:
        other.frozen = True
        adding = asyncio.create_task(world.reconciler.add(route("new"), 60))
        await asyncio.sleep(1)
        assert not adding.done()
        other.frozen = False
        await asyncio.wait_for(adding, SECONDS)
        assert await other.router(ALONE.route("/user/new/")) is not None

    with_replicas(scene)


def test_a_dead_replica_delays_no_route_beyond_the_grace_period(caplog: pytest.LogCaptureFixture) -> None:
    """It is named in the log, left out, and counts again when it is back."""

    async def scene(world: World, other: MemoryTraefik) -> None:
        loop = asyncio.get_running_loop()
        other.failure = TraefikError("The other one cannot be reached.")
        start = loop.time()
        await world.reconciler.add(route("new"), 60)
        assert loop.time() - start < 4
        assert any("The other one cannot be reached." in message for message in caplog.messages)
        start = loop.time()
        await world.reconciler.add(route("newer"), 60)
        assert loop.time() - start < 0.5
        other.failure = None
        other.frozen = True
        await asyncio.sleep(SECONDS)
        adding = asyncio.create_task(world.reconciler.add(route("newest"), 60))
        await asyncio.sleep(1)
        assert not adding.done()
        other.frozen = False
        await asyncio.wait_for(adding, SECONDS)

    with_replicas(scene)


def test_a_replica_that_hangs_is_a_dead_one() -> None:
    """It takes connections and never answers."""

    async def scene(world: World, other: MemoryTraefik) -> None:
        loop = asyncio.get_running_loop()

        async def never() -> int | None:
            await asyncio.sleep(1e6)
            return None

        other.revision = never  # type: ignore[method-assign]
        start = loop.time()
        await world.reconciler.add(route("new"), 60)
        assert loop.time() - start < 7
        for name in ("a", "b", "c"):
            start = loop.time()
            await world.reconciler.add(route(name), 60)
            assert loop.time() - start < 0.5

    with_replicas(scene)


def test_a_traefik_that_is_being_stopped_is_not_complained_of(caplog: pytest.LogCaptureFixture) -> None:
    """However long that takes; routes can be removed meanwhile, and calls that wait for Traefik need not wait on."""

    async def scene(world: World) -> None:
        world.traefik.frozen = True
        adding = asyncio.create_task(world.reconciler.add(route("late"), 60))
        await asyncio.sleep(0.1)
        world.traefik.failure = TraefikError("Traefik's API cannot be reached.")
        await world.reconciler.leave_traefik()
        with pytest.raises(StoppedError):
            await adding
        with pytest.raises(StoppedError):
            await world.reconciler.add(route("later"), SECONDS)
        await asyncio.sleep(60)
        await world.reconciler.delete("/user/u1/", SECONDS)
        assert "/user/u1/" not in world.store.records

    play(scene)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_an_unintelligible_answer_does_not_end_the_watch(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged once, with where it came from; Traefik is asked again, and waiting calls are served."""

    async def scene(world: World) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("not understood")

        with monkeypatch.context() as patch:
            patch.setattr(world.traefik, "router", broken)
            patch.setattr(world.traefik, "table", broken)
            adding = asyncio.create_task(world.reconciler.add(route("late"), 60))
            await asyncio.sleep(10)
        await adding

    play(scene)
    assert caplog.text.count("kvproxy does not understand Traefik's answers. Retrying.") == 1
    assert caplog.text.count("RuntimeError: not understood") == 1


def test_lost_routes_are_not_held_back_for_a_traefik_that_cannot_catch_up() -> None:
    """It was told of a revision that the store has lost with the routes, as when another server takes over."""
    changed: list[Callable[[], None]] = []

    class Replaced(MemoryStore):
        """Notices by itself that another server has taken over."""

        def watch(self, changed_now: Callable[[], None]) -> None:
            """Remember the callback."""
            changed.append(changed_now)

    async def scene(world: World) -> None:
        config, records = dict(world.store.config), dict(world.store.records)
        world.traefik.frozen = True
        adding = asyncio.create_task(world.reconciler.add(route("late"), SECONDS))
        await asyncio.sleep(0.1)
        right = world.right()
        world.store.config.clear()
        world.store.config.update(config)
        world.store.records.clear()
        world.store.records.update(records)
        changed[0]()
        await asyncio.sleep(0.1)
        assert world.right() == right
        world.traefik.frozen = False
        await adding

    play(scene, Replaced())
