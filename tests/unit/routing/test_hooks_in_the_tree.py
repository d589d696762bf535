"""Routes that hooks have changed, in the routing tree: what leads where, and through which middlewares."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kvproxy.hooks.customize import Hook
from kvproxy.routing.entry import Entry
from kvproxy.routing.names import ALONE
from kvproxy.routing.root_routers import RootRouters
from kvproxy.routing.route import Route
from kvproxy.testing import rule_model

from .test_tree import HEADERS, Hub, flat, near_requests, rooting, routers_of, specs


def secure_some(route: Route, configuration: dict[str, Any]) -> None:
    """A certificate of its own for what has an 'a' at its end, and for the default route."""
    if route.routespec.endswith("a/") or route.routespec == "/":
        configuration["router"]["tls"] = {"certResolver": "le"}


def name_all(route: Route, configuration: dict[str, Any]) -> None:
    """A middleware for each route, and a second one for some."""
    configuration["middlewares"]["own"] = {"headers": {"customResponseHeaders": {"X-Route": route.key}}}
    if len(route.key) % 2:
        configuration["router"]["middlewares"] = ["shared@file"]


def look(hub: Hub, chance: random.Random, count: int = 4) -> None:
    for request in near_requests(hub, chance, count):
        hub.expect(flat(hub.table.entries), *request)


@given(st.booleans(), rooting, st.data(), st.randoms(use_true_random=True))
def test_requests_lead_right_while_a_route_of_its_own_kind_gives_up_the_tree(
    hosts: bool, roots: RootRouters | None, data: st.DataObject, chance: random.Random
) -> None:
    """At each moment, whichever route it is, above the others or below them."""
    hub = Hub(hosts, roots=roots)
    for routespec in ["/", *data.draw(st.lists(specs(hosts), max_size=20, unique=True))]:
        if not hosts or routespec != "/":
            hub.toggle(routespec)
    for _ in range(chance.randrange(9)):
        hub.table.step(lambda name: False, chance.choice([None, 2]))
    hub.table._layout = Hub(hosts, hooks=(Hook("h", secure_some),), roots=roots).table._layout
    for _ in range(6):
        hub.toggle(data.draw(specs(hosts)) if chance.random() < 0.6 or not hub.routes else some(hub, chance))
        look(hub, chance)
        if chance.random() < 0.5:
            hub.table.step(lambda name: False, chance.choice([None, 1, 2]))
            look(hub, chance)
    hub.settle()
    look(hub, chance, 8)
    outermost = [entry for entry in hub.table.entries.values() if entry.outermost]
    if outermost:
        assert not any("parentRefs" in router for router in routers_of(flat(hub.table.entries)).values())


def some(hub: Hub, chance: random.Random) -> str:
    return chance.choice(list(hub.routes.values())).routespec


@given(st.lists(specs(False), max_size=20, unique=True), st.randoms(use_true_random=True))
def test_a_restart_with_a_hook_finds_the_tree_and_gives_it_up_if_it_has_to(
    routespecs: list[str], chance: random.Random
) -> None:
    """Requests lead right from the first commit on."""
    hub, again = Hub(False), Hub(False, hooks=(Hook("h", secure_some),))
    for routespec in ["/", *routespecs]:
        hub.toggle(routespec)
    for _ in range(chance.randrange(9)):
        hub.table.step(lambda name: False, None)
    assert again.table.restore({name: Entry(name, e.config, e.records) for name, e in hub.table.entries.items()}) == []
    again.routes = hub.routes
    look(again, chance, 8)
    again.settle()
    look(again, chance, 8)
    # The default route has a certificate of its own.
    assert not any(router.get("parentRefs") for router in routers_of(flat(again.table.entries)).values())


@given(st.lists(specs(False), max_size=20, unique=True), st.randoms(use_true_random=True))
def test_every_request_to_a_service_passes_its_middlewares(routespecs: list[str], chance: random.Random) -> None:
    """Also through the last child of a group, which leads to the route above it: a password there must be asked for."""
    hub = Hub(False, hooks=(Hook("h", name_all),))
    for routespec in ["/", *routespecs]:
        hub.toggle(routespec)
        if chance.random() < 0.3:
            hub.table.step(lambda name: False, None)
        protected(hub)
    hub.settle()
    protected(hub)
    look(hub, chance)
    # The default route gets one middleware less.
    hub.table._layout = Hub(False, hooks=(Hook("h", plain_root),)).table._layout
    root = hub.routes[ALONE.route("/")]
    hub.table.put(hub.table.entry(root))
    protected(hub)


def plain_root(route: Route, configuration: dict[str, Any]) -> None:
    if route.routespec != "/":
        name_all(route, configuration)


def protected(hub: Hub) -> None:
    config = flat(hub.table.entries)
    lists: dict[str, list[str]] = {}
    for key, value in sorted(config.items()):
        _, kind, name, field = key.split("/")[:4]
        if kind == "routers" and field == "middlewares":
            lists.setdefault(name, []).append(value)
    for key, service in config.items():
        if key.endswith("/service"):
            assert lists.get(key.split("/")[2]) == lists.get(service)


def test_a_move_into_a_group_asks_no_hook() -> None:
    """It is one key, and the hook's answer stays what it was."""
    asked: list[str] = []

    def count(route: Route, configuration: dict[str, Any]) -> None:
        asked.append(route.key)
        name_all(route, configuration)

    hub = Hub(False, hooks=(Hook("h", count),))
    specs = ["/", *(f"/user/student{n:02d}/" for n in range(30))]
    for routespec in specs:
        hub.toggle(routespec)
    hub.settle()
    assert sum("parentRefs" in key and "-kvp/" in key for key in flat(hub.table.entries)) > 20
    hub.table.allow_groups(False)
    assert sorted(asked) == sorted(specs)


@given(st.lists(specs(False), max_size=20, unique=True), st.booleans(), st.randoms(use_true_random=True))
def test_a_request_comes_through_the_hubs_pages_once(
    routespecs: list[str], hooked: bool, chance: random.Random
) -> None:
    """Wherever its route is, before the middlewares that a hook gives it, and after each step."""
    hub = Hub(False, hooks=(Hook("h", name_all),) if hooked else (), roots=RootRouters(pages=ALONE.pages))
    for routespec in ["/", *routespecs]:
        hub.toggle(routespec)
        if chance.random() < 0.3:
            hub.table.step(lambda name: False, chance.choice([None, 1]))
        paged(hub, chance)
    hub.settle()
    paged(hub, chance)
    hub.table.allow_groups(False)
    paged(hub, chance, everybody=True)


def paged(hub: Hub, chance: random.Random, everybody: bool = False) -> None:
    """Check the middlewares that requests pass. Without root routers, there is one way for all."""
    routers = routers_of(flat(hub.table.entries))
    for host, path, headers in near_requests(hub, chance, 4):
        way = rule_model.ways(routers, host, path, headers)
        passed = [one for name in way for one in str(routers[name].get("middlewares", "")).split(",") if one]
        assert passed.count(ALONE.pages) == (1 if everybody or headers in HEADERS[:2] else 0)
        assert ALONE.pages not in passed[1:]
