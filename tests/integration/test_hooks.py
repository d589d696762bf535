"""Hooks on the one loop, on a store in memory: what is written, what is not, and who is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvproxy.errors import HookError, InvalidRouteError, RouteNotReadyError, StoreUnavailableError
from kvproxy.hooks.customize import Hook, Hooks, customizing
from kvproxy.hooks.notify import HookNotifier
from kvproxy.reconcile.observer import Observer
from kvproxy.routing.entry import Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route
from kvproxy.store import Capabilities
from kvproxy.testing.clock import on_a_clock
from kvproxy.testing.conformance.proxy_tree import groups_in
from kvproxy.testing.memory import MemoryStore

from .test_reconciler import LOG, SOON, foreign, key, route, running, until

LIMIT = {"rateLimit": {"average": 10}}


def limit(route: Route, configuration: dict[str, Any]) -> None:
    """A rate limit for users' servers."""
    if "/user/" in route.routespec:
        configuration["middlewares"]["limit"] = LIMIT


def fail_for_ada(route: Route, configuration: dict[str, Any]) -> None:
    """The error after a slip in a hook."""
    limit(route, configuration)
    if "ada" in route.routespec:
        raise LookupError("nobody knows ada")


def hooked(call: Any, **layout: Any) -> Layout:
    """A layout with this hook."""
    return Layout(customize=customizing([Hook("c.TraefikProxy.route_hook", call)]), **layout)


def of(store: MemoryStore, name: str) -> list[str]:
    """The configuration's keys of a user's route."""
    return [found for found in store.config if ALONE.owner(found) == ALONE.route(key(name))]


async def test_additions_of_a_hook_come_and_go_with_the_route() -> None:
    """Nothing is left of it; two routes have one each."""
    store = MemoryStore()
    async with running(store, layout=hooked(limit)) as it:
        await asyncio.gather(it.add(route("ada"), SOON), it.add(route("bob"), SOON))
        limits = [found for found in store.config if found.endswith("/rateLimit/average")]
        assert len(limits) == 2
        await it.delete(key("ada"), SOON)
        assert of(store, "ada") == []
        assert sum(found.endswith("/rateLimit/average") for found in store.config) == 1
        await it.delete(key("bob"), SOON)
        assert foreign(store) == {}


async def test_a_hook_that_fails_leaves_everything_as_it_was() -> None:
    """The caller is told; others are not concerned."""
    store = MemoryStore()
    async with running(store, layout=hooked(fail_for_ada)) as it:
        written = len(store.applied)
        with pytest.raises(HookError, match="route_hook failed for the route '/user/ada/': LookupError: nobody knows"):
            await it.add(route("ada"), SOON)
        assert len(store.applied) == written
        assert it.get(key("ada")) is None
        await it.add(route("bob"), SOON)
        await it.delete(key("ada"), SOON)
        assert set(await it.all(SOON)) == {"/user/bob/"}


async def test_a_restart_with_the_same_hook_writes_nothing() -> None:
    """It is asked about each route, and says what it said."""
    store = MemoryStore()
    async with running(store, layout=hooked(limit)) as it:
        await it.add(route("ada"), SOON)
    written = len(store.applied)
    async with running(store, layout=hooked(limit)) as it:
        await it.all(SOON)
        await it.add(route("ada"), SOON)
        assert len(store.applied) == written


async def test_a_restart_with_a_changed_hook_writes_what_differs(caplog: pytest.LogCaptureFixture) -> None:
    """Additions of the earlier hook go; that is no drift to complain of."""
    store = MemoryStore()
    async with running(store, layout=hooked(limit)) as it:
        await it.add(route("ada"), SOON)

    def press(route: Route, configuration: dict[str, Any]) -> None:
        configuration["middlewares"]["zip"] = {"compress": {}}

    async with running(store, layout=hooked(press)):
        assert not any("rateLimit" in found for found in store.config)
        assert store.config[f"http/middlewares/{ALONE.middleware(key('ada'), 'zip')}/compress"] == "true"
        await until(lambda: store.traefik.reloads > 1)
    async with running(store):
        assert not any("middlewares" in found for found in foreign(store))
    assert "not as the hub left it" not in caplog.text


async def test_a_route_of_the_store_whose_hook_fails_is_known_and_not_served(caplog: pytest.LogCaptureFixture) -> None:
    """It may lack what keeps strangers out; the hub starts, serves the others, and says so."""
    store = MemoryStore()
    async with running(store) as it:
        await asyncio.gather(*(it.add(route(name, data=name), SOON) for name in ("ada", "bob")))
        table = await it.all(SOON)
    async with running(store, layout=hooked(fail_for_ada)) as it:
        assert of(store, "ada") == []
        assert of(store, "bob")
        assert await it.all(SOON) == table
        with pytest.raises(HookError, match="nobody knows ada"):
            await it.add(route("ada", data="ada"), SOON)
        assert of(store, "ada") == []
    assert "1 route in the store is not served" in caplog.text
    assert "LookupError: nobody knows ada" in caplog.text
    async with running(store, layout=hooked(limit)) as it:
        assert of(store, "ada")
        assert await it.all(SOON) == table


async def test_such_a_route_can_be_deleted_or_come_to_be_served() -> None:
    """Once its hook has an answer."""
    store, known = MemoryStore(), {"bob"}

    def by_list(route: Route, configuration: dict[str, Any]) -> None:
        if route.spec.segments[-1] not in known:
            raise LookupError(route.routespec)

    async with running(store) as it:
        await asyncio.gather(*(it.add(route(name), SOON) for name in ("ada", "bob", "eve")))
    async with running(store, layout=hooked(by_list, kind="tree")) as it:
        await it.delete(key("eve"), SOON)
        assert key("eve") not in store.records
        known.add("ada")
        await it.add(route("ada"), SOON)
        assert of(store, "ada")
        known.discard("bob")
        with pytest.raises(HookError):
            await it.add(route("bob", 2), SOON)
        assert of(store, "bob"), "what was served goes on being served"


@on_a_clock
async def test_a_route_that_traefik_does_not_serve_goes_back_to_not_being_served() -> None:
    """Never to being served without its hook."""
    store, broken = MemoryStore(), True

    def sometimes(route: Route, configuration: dict[str, Any]) -> None:
        if broken:
            raise LookupError("broken")

    async with running(store) as it:
        await it.add(route("ada"), SOON)
    async with running(store, layout=hooked(sometimes)) as it:
        broken, store.traefik.frozen = False, True
        with pytest.raises(RouteNotReadyError):
            await it.add(route("ada", 2), 0.1)
        store.traefik.frozen = False
        await until(lambda: not of(store, "ada"))
        assert (await it.all(SOON))["/user/ada/"]["target"] == "http://127.0.0.1:1"


@on_a_clock
async def test_with_many_routes_a_hook_is_asked_once_an_edit() -> None:
    """And not when routes are moved into groups, or the store is read; the route's own keys are written."""
    store, asked = MemoryStore(), 0

    def count(route: Route, configuration: dict[str, Any]) -> None:
        nonlocal asked
        asked += 1
        limit(route, configuration)

    async with running(store, layout=hooked(count)) as it:
        await asyncio.gather(*(it.add(route(f"student{n:05d}"), SOON) for n in range(600)))
        await until(lambda: sum(found.endswith("-kvp/parentRefs") for found in store.config) > 536)
        assert asked == 600
    asked = 0
    async with running(store, layout=hooked(count)) as it:
        await it.all(SOON)
        assert asked == 600
        await it.add(route("student00300x"), SOON)
        assert asked == 601
        assert len(store.applied[-1].operations) == 8
        await it.delete(key("student00300x"), SOON)
        assert asked == 601
        assert of(store, "student00300x") == []
        await it.log_notification_cost()
        assert asked == 601


async def test_a_route_with_a_certificate_of_its_own_gives_up_the_tree(caplog: pytest.LogCaptureFixture) -> None:
    """Traefik allows that outside of groups only, which is said. The tree comes back when the route is gone."""
    store = MemoryStore()

    def secure(route: Route, configuration: dict[str, Any]) -> None:
        if route.data.get("secure"):
            configuration["router"]["tls"] = {"certResolver": "le"}

    def grouped() -> int:
        return sum(found.endswith("-kvp/parentRefs") for found in store.config)

    async with running(store, layout=hooked(secure, kind="tree")) as it:
        await asyncio.gather(*(it.add(route(f"student{n:05d}"), SOON) for n in range(200)))
        await until(lambda: grouped() > 100)
        await it.add(route("student00007", secure=True), SOON)
        assert not [found for found in of(store, "student00007") if "parentRefs" in found]
        await until(lambda: grouped() == 0 and groups_in(store.config) == 0)
        assert caplog.text.count("all are laid out flat") == 1
        assert "'/user/student00007/'" in caplog.text
        await it.delete(key("student00007"), SOON)
        await until(lambda: grouped() > 100)


# -- who is told


class Told:
    """Hooks that note what they are told, plain or asynchronous ones."""

    def __init__(self, asynchronous: bool) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.times: list[float] = []
        call = self._later if asynchronous else self._now
        kinds = ("added", "deleted", "failed")
        made = {f"route_{kind}": (Hook(f"hook {kind}", self._hook(kind, call)),) for kind in kinds}
        self.hooks = Hooks(**made)

    @staticmethod
    def _hook(kind: str, call: Any) -> Any:
        return lambda *said: call(kind, *said)

    def _now(self, kind: str, *said: Any) -> None:
        if kind == "added":
            self.times.append(said[1])
            said = (said[0].routespec, said[0].target)
        self.said.append((kind, *said[:1], *(type(one) if isinstance(one, Exception) else one for one in said[1:])))

    async def _later(self, *said: Any) -> None:
        await asyncio.sleep(0)
        self._now(*said)


@pytest.mark.parametrize("asynchronous", [False, True])
@on_a_clock
async def test_hooks_are_told_of_adds_deletes_and_failures(asynchronous: bool) -> None:
    """Once each, in order; hooks are not notified of changes that change nothing."""
    store, told = MemoryStore(), Told(asynchronous)
    async with running(store, layout=hooked(fail_for_ada), observer=HookNotifier(told.hooks, LOG, Observer())) as it:
        await it.add(route("bob", 1), SOON)
        await it.add(route("bob", 1), SOON)
        await it.add(route("bob", 2), SOON)
        with pytest.raises(HookError):
            await it.add(route("ada"), SOON)
        await it.delete(key("nobody"), SOON)
        await it.delete(key("bob"), SOON)
        store.failure = StoreUnavailableError("Away.")
        with pytest.raises(RouteNotReadyError):
            await it.add(route("eve"), 0.1)
        store.failure = None
    assert told.said == [
        ("added", "/user/bob/", "http://127.0.0.1:1"),
        ("added", "/user/bob/", "http://127.0.0.1:2"),
        ("failed", "/user/ada/", HookError),
        ("deleted", "/user/bob/"),
        ("failed", "/user/eve/", RouteNotReadyError),
    ]
    assert all(0 < seconds < SOON for seconds in told.times)


@on_a_clock
async def test_they_are_told_of_a_route_that_cannot_be_removed() -> None:
    """In time; JupyterHub keeps that to itself."""
    store, told = MemoryStore(), Told(False)
    async with running(store, observer=HookNotifier(told.hooks, LOG, Observer())) as it:
        await it.add(route("ada"), SOON)
        store.failure = StoreUnavailableError("Away.")
        with pytest.raises(StoreUnavailableError):
            await it.delete(key("ada"), 0.1)
        store.failure = None
    assert told.said[1:] == [("failed", "/user/ada/", StoreUnavailableError)]


async def test_they_are_told_of_routes_of_the_store_that_are_not_served() -> None:
    """At the start."""
    store, told = MemoryStore(), Told(False)
    async with running(store) as it:
        await it.add(route("ada"), SOON)
    async with running(store, layout=hooked(fail_for_ada), observer=HookNotifier(told.hooks, LOG, Observer())):
        assert told.said == [("failed", "/user/ada/", HookError)]


async def fail_later(*said: Any) -> None:
    """An asynchronous hook that fails."""
    raise RuntimeError("no line")


def fail_now(*said: Any) -> None:
    """A plain one."""
    raise RuntimeError("no line")


@pytest.mark.parametrize("fail", [fail_now, fail_later])
async def test_a_hook_that_is_told_and_fails_is_logged_and_stands_in_no_routes_way(
    fail: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Others are told all the same."""
    store, told = MemoryStore(), Told(False)
    hooks = Hooks(route_added=(Hook("the plugin 'sms'", fail),)).then(told.hooks)
    async with running(store, observer=HookNotifier(hooks, LOG, Observer())) as it:
        await it.add(route("ada"), SOON)
        assert len(told.said) == 1
        await until(lambda: "the plugin 'sms' failed (RuntimeError: no line); routes go on" in caplog.text)
        assert it.get(key("ada")) is not None


async def test_a_hook_that_never_ends_does_not_keep_the_hub_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a moment, and is ended then."""
    monkeypatch.setattr("kvproxy.hooks.notify._FAREWELL", 0.05)
    store, ended = MemoryStore(), asyncio.Event()

    async def wait(*said: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(store, observer=HookNotifier(Hooks(route_added=(Hook("slow", wait),)), LOG, Observer())) as it:
        await it.add(route("ada"), SOON)
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_a_route_too_large_with_what_a_hook_adds_is_refused() -> None:
    """As one that is too large by itself."""

    def grow(route: Route, configuration: dict[str, Any]) -> None:
        headers = {f"X-{n}": "x" for n in range(30)}
        configuration["middlewares"]["many"] = {"headers": {"customRequestHeaders": headers}}

    store = MemoryStore(Capabilities(max_operations=20))
    async with running(store, layout=hooked(grow)) as it:
        with pytest.raises(InvalidRouteError, match="cannot be stored"):
            await it.add(route("ada"), SOON)
        assert foreign(store) == {}
