"""Hooks applied to a route's configuration, as values."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.errors import HookError, InvalidRouteError
from kvproxy.hooks.customize import Hook, customizing
from kvproxy.reconcile.plan import diff
from kvproxy.routing.decode import parse_snapshot, route_of
from kvproxy.routing.encode import encode_route, reparent
from kvproxy.routing.entry import Entry, Layout
from kvproxy.routing.names import ALONE, Names, is_kvproxys
from kvproxy.routing.route import Route, make_route
from kvproxy.traefik.schema import MIDDLEWARE, SERVICE, Entries, Fields

from ..strategies import applied, routes
from ..test_fuzz import anything

ADA = make_route("/user/ada/", "http://127.0.0.1:1", {"user": "ada", "server_name": ""})
NAME = ALONE.route(ADA.key)
LIMIT = {"rateLimit": {"average": 10, "burst": 20, "period": "1s"}}

Change = Callable[[Route, dict[str, Any]], Any]


def shaped(*changes: Change, route: Route = ADA, names: Names = ALONE, **layout: Any) -> Entry:
    """The route as hooks leave it, called ``hook 0``, ``hook 1`` …"""
    hooks = tuple(Hook(f"hook {number}", change) for number, change in enumerate(changes))
    return encode_route(route, Layout(customize=customizing(hooks), names=names, **layout))


def of_router(entry: Entry, route: Route = ADA, names: Names = ALONE) -> dict[str, str]:
    """The router's keys."""
    start = f"http/routers/{names.route(route.key)}/"
    return {key.removeprefix(start): value for key, value in entry.config.items() if key.startswith(start)}


def middlewares(entry: Entry, **of: Any) -> list[str]:
    """The router's middlewares, in order."""
    return list(filter(None, of_router(entry, **of).get("middlewares", "").split(",")))


def use(**made: Any) -> Change:
    """A hook that adds middlewares."""

    def change(route: Route, configuration: dict[str, Any]) -> None:
        configuration["middlewares"] |= made

    return change


def part(**parts: Any) -> Change:
    """A hook that gives back another configuration."""
    return lambda route, configuration: {**configuration, **parts}


def test_a_hook_is_given_the_route_and_what_can_be_changed() -> None:
    """In the words of Traefik's file provider; a copy, so that nothing else can be changed by it."""
    seen: list[Any] = []

    def look(route: Route, configuration: dict[str, Any]) -> None:
        route.data["user"] = "eve"
        seen.append((route.routespec, route.target, route.data, configuration))

    entry = shaped(look)
    assert seen == [
        (
            "/user/ada/",
            "http://127.0.0.1:1",
            {"user": "ada", "server_name": ""},
            {
                "router": {"middlewares": []},
                "service": {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}},
                "middlewares": {},
            },
        )
    ]
    assert entry == encode_route(ADA, Layout())


def test_it_may_change_in_place_or_give_back_another() -> None:
    """With the same outcome."""
    one, other = shaped(use(limit=LIMIT)), shaped(part(middlewares={"limit": LIMIT}))
    assert one == other
    name = ALONE.middleware(ADA.key, "limit")
    assert one.config[f"http/middlewares/{name}/rateLimit/average"] == "10"
    assert middlewares(one) == [name]


def test_several_are_called_one_after_another() -> None:
    """The last one has the last word."""

    def twice(route: Route, configuration: dict[str, Any]) -> None:
        configuration["middlewares"]["limit"]["rateLimit"]["average"] *= 2

    def none(route: Route, configuration: dict[str, Any]) -> None:
        del configuration["middlewares"]["limit"]

    name = ALONE.middleware(ADA.key, "limit")
    assert shaped(use(limit=LIMIT), twice).config[f"http/middlewares/{name}/rateLimit/average"] == "20"
    assert shaped(use(limit=LIMIT), none) == encode_route(ADA, Layout())
    assert LIMIT["rateLimit"]["average"] == 10, "what the first one gave is copied"


def test_middlewares_come_in_order() -> None:
    """First those that the router names, then the others, then kvproxy's own; names that are not the hook's stay."""
    route = make_route("/x/", "http://127.0.0.1:1/path", {})

    def change(route: Route, configuration: dict[str, Any]) -> None:
        configuration["router"]["middlewares"] = ["second", "shared@file", "extra"]
        configuration["middlewares"] = {"third": LIMIT, "second": {"compress": {}}, "fourth": LIMIT}

    own = [ALONE.middleware(route.key, name) for name in ("second", "third", "fourth")]
    entry = shaped(change, route=route)
    assert middlewares(entry, route=route) == [own[0], "shared@file", "extra", own[1], own[2], ALONE.route(route.key)]
    assert entry.config[f"http/middlewares/{own[0]}/compress"] == "true"


def test_many_middlewares_stay_in_order() -> None:
    """Also more than the ten that Traefik would keep so as keys of their own."""
    many = [f"m{number}@file" for number in range(12)]
    assert middlewares(shaped(part(router={"middlewares": many}))) == many


def test_a_chain_names_the_routes_own_and_others() -> None:
    """Middlewares in a chain are used by it, and not once more."""
    made = {"limit": LIMIT, "both": {"chain": {"middlewares": ["limit", "shared"]}}}
    entry, limit, both = shaped(use(**made)), *(ALONE.middleware(ADA.key, name) for name in made)
    assert middlewares(entry) == [both]
    assert [entry.config[f"http/middlewares/{both}/chain/middlewares/{n}"] for n in (0, 1)] == [limit, "shared"]


def test_the_service_can_be_changed() -> None:
    """More servers, other options."""

    def change(route: Route, configuration: dict[str, Any]) -> None:
        balancer = configuration["service"]["loadBalancer"]
        balancer["servers"].append({"url": "http://127.0.0.1:2", "weight": 3})
        balancer |= {"passHostHeader": False, "sticky": {"cookie": {}}}
        balancer["healthCheck"] = {"path": "/up", "interval": "5s"}

    entry, start = shaped(change), f"http/services/{NAME}/loadBalancer"
    found = {key.removeprefix(start): value for key, value in entry.config.items() if key.startswith(start)}
    assert found == {
        "/servers/0/url": "http://127.0.0.1:1",
        "/servers/1/url": "http://127.0.0.1:2",
        "/servers/1/weight": "3",
        "/passHostHeader": "false",
        "/healthCheck/path": "/up",
        "/healthCheck/interval": "5s",
        "/sticky/cookie": "true",
    }


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("tls", {"certResolver": "le", "domains": [{"main": "h.org"}]}, "tls/certResolver"),
        ("tls", {}, "tls"),
        ("observability", {"accessLogs": False}, "observability/accessLogs"),
    ],
)
def test_fields_of_routers_without_a_parent_take_the_route_out_of_its_group(field: str, value: Any, key: str) -> None:
    """And it is on its entry points again."""

    def change(route: Route, configuration: dict[str, Any]) -> None:
        configuration["router"][field] = value

    entry = shaped(change, entry_points=("web",))
    router = of_router(entry)
    assert entry.outermost
    assert key in router
    assert "parentRefs" not in router
    assert router["entryPoints/0"] == "web"
    assert reparent(entry, Layout(), None) is entry


def explode(route: Route, configuration: dict[str, Any]) -> None:
    raise KeyError("nobody")


async def later(route: Route, configuration: dict[str, Any]) -> None:
    """It is not awaited."""


def future(route: Route, configuration: dict[str, Any]) -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop.create_future()
    finally:
        loop.close()


def loop_of(value: dict[str, Any]) -> dict[str, Any]:
    value["again"] = value
    return value


def middleware(**made: Any) -> Change:
    """A hook that adds one middleware, ``m``."""
    return use(m=made)


WRONG = {
    "failed for the route '/user/ada/': KeyError: 'nobody'": explode,
    "is asynchronous; what changes the route '/user/ada/' must not be": later,
    "hook 0 is asynchronous": future,
    "'/user/ada/' a list instead of a configuration or None": lambda route, configuration: [],
    "'/user/ada/' 'services', which is not one of router, service, middlewares": part(services={}),
    "no mapping 'service'": lambda route, configuration: {"router": {}, "middlewares": {}},
    "no mapping 'middlewares'": part(middlewares=[]),
    "router.rule, which is kvproxy's": part(router={"rule": "PathPrefix(`/`)"}),
    "router.parentRefs, which is kvproxy's": part(router={"parentRefs": []}),
    "router.priority, which is kvproxy's": part(router={"priority": 9}),
    "router.service, which is kvproxy's": part(router={"service": "api@internal"}),
    "router.entryPoints, which is kvproxy's": part(router={"entryPoints": ["x"]}),
    "router.midlewares, which Traefik does not know there (is middlewares meant?)": part(router={"midlewares": ["x"]}),
    "router.middlewares that is not a list but of type str": part(router={"middlewares": "x"}),
    "router.tls that is not a mapping but of type bool": part(router={"tls": True}),
    "a service without a loadBalancer": part(service={"weighted": {"services": []}}),
    "a service without servers": part(service={"loadBalancer": {"servers": []}}),
    "a server without a url": part(service={"loadBalancer": {"servers": [{"weight": 1}]}}),
    "an invalid server: The target 'ftp://x' cannot be used": part(
        service={"loadBalancer": {"servers": [{"url": "ftp://x"}]}}
    ),
    "service.mirroring, which Traefik does not know there": part(
        service={"loadBalancer": {"servers": [{"url": "http://h:1"}]}, "mirroring": {}}
    ),
    "a middleware with the name 'a/b'": use(**{"a/b": LIMIT}),
    "a middleware with the name 7": part(middlewares={7: LIMIT}),
    "middlewares 'a-b' and 'A_b', whose names are too much alike": use(**{"a-b": LIMIT, "A_b": LIMIT}),
    "middlewares.m.rateLimits, which Traefik does not know there (is rateLimit meant?)": middleware(rateLimits={}),
    "middlewares.m.rateLimit.avrage, which Traefik does not know": middleware(rateLimit={"avrage": 1}),
    "middlewares.m.rateLimit.average that is not a whole number": middleware(rateLimit={"average": "ten"}),
    "middlewares.m.rateLimit.period that is not a duration such as 10s": middleware(rateLimit={"period": "1 minute"}),
    "middlewares.m.headers.frameDeny that is neither True nor False": middleware(headers={"frameDeny": "yes"}),
    "middlewares.m of several kinds, compress, rateLimit": middleware(compress={}, **LIMIT),
    "middlewares.m with nothing in it": middleware(),
    "middlewares.m.headers with nothing in it": middleware(headers={"frameDeny": None}),
    "middlewares.m.basicAuth.users with nothing in it": middleware(basicAuth={"users": []}),
    "middlewares.m.basicAuth.users[0] with a comma": middleware(basicAuth={"users": ["a:secret,b:secret"]}),
    "middlewares.m.headers.customRequestHeaders.X-A that is empty": middleware(
        headers={"customRequestHeaders": {"X-A": ""}}
    ),
    "with the name '12', which cannot be a part of a key": middleware(headers={"customRequestHeaders": {"12": "x"}}),
    "names that differ in upper and lower case only": middleware(
        headers={"customRequestHeaders": {"X": "1", "x": "2"}}
    ),
    "of type bytes, which is not of JSON": middleware(headers={"customRequestHeaders": {"X": b"secret"}}),
    "of type float, which is not of JSON": middleware(plugin={"p": {"x": float("nan")}}),
    "half of a surrogate pair": middleware(headers={"customRequestHeaders": {"X": "\udc80"}}),
    "nested too deep": middleware(plugin=loop_of({})),
    "middlewares.one, a chain, inside of a chain": use(
        one={"chain": {"middlewares": ["x"]}}, two={"chain": {"middlewares": ["one"]}}
    ),
}


@pytest.mark.parametrize("words", WRONG)
def test_errors_name_the_hook_and_the_route(words: str) -> None:
    """Before anything is written, as a ValueError; no value is shown, as it may be secret."""
    with pytest.raises(HookError, match=re.escape(words)) as refused:
        shaped(WRONG[words])
    assert str(refused.value).startswith("hook 0 ")
    assert "'/user/ada/'" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert refused.value.routespec == "/user/ada/"
    assert isinstance(refused.value, InvalidRouteError)


def test_the_error_of_a_hook_keeps_its_traceback() -> None:
    """Its author has to find the line."""
    with pytest.raises(HookError) as failed:
        shaped(explode)
    assert isinstance(failed.value.__cause__, KeyError)


def samples(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a kind."""
    words = st.text(st.sampled_from("abcXYZ/:._-{}é"), min_size=1, max_size=6)
    simple: dict[str, st.SearchStrategy[Any]] = {
        "text": words,
        "whole": st.integers(0, 99),
        "flag": st.booleans(),
        "time": st.sampled_from(["10s", "1m30s", 5]),
        "texts": st.lists(words, min_size=1, max_size=3),
        "names": st.dictionaries(st.sampled_from(["X-A", "X-B"]), words, min_size=1),
        "statuses": st.dictionaries(st.sampled_from(["404", "500-599"]), st.integers(0, 9), min_size=1),
        "any": st.dictionaries(st.just("x"), words),
    }
    if isinstance(kind, str):
        return simple[kind]
    if isinstance(kind, tuple):
        return st.lists(samples(kind[0]), min_size=1, max_size=2)
    if isinstance(kind, Entries):
        return st.dictionaries(st.just("p"), samples(kind.kind), min_size=1)
    assert isinstance(kind, Fields)
    chosen = st.sets(st.sampled_from(sorted(kind.known)), min_size=0 if kind.may_be_empty else 1, max_size=3)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: samples(kind.known[name]) for name in names}))


made_middlewares = st.dictionaries(
    st.sampled_from(["limit", "auth", "Head-ers", "x_1"]),
    st.sampled_from(sorted(MIDDLEWARE.known)).flatmap(
        lambda kind: st.fixed_dictionaries({kind: samples(MIDDLEWARE.known[kind])})
    ),
    max_size=3,
)
balancers = samples(SERVICE.known["loadBalancer"]).map(lambda made: {**made, "servers": [{"url": "http://h:1"}]})
HUBS = [ALONE, Names("a"), Names("a-b"), Names("b")]


@given(st.lists(routes(), max_size=3, unique_by=lambda route: route.key), made_middlewares, balancers)
def test_additions_of_a_hook_belong_to_the_route(table: list[Route], made: dict[str, Any], balancer: Any) -> None:
    """It is found again with its route, goes with it, and nothing else goes: no other route's, no other hub's."""
    change = part(middlewares=made, service={"loadBalancer": balancer})
    entries = {names: [shaped(change, route=route, names=names) for route in table] for names in HUBS}
    foreign = {"http/middlewares/limit/rateLimit/average": "1", "http/middlewares/kvm_limit/compress": "true"}
    config = foreign | {key: text for ours in entries.values() for entry in ours for key, text in entry.config.items()}
    assert len(config) == len(foreign) + sum(len(entry.config) for ours in entries.values() for entry in ours)
    for names in HUBS:
        records = {key: value for entry in entries[names] for key, value in entry.records.items()}
        found = parse_snapshot(config, records, {}, names)
        assert found == {names.route(route.key): entry for route, entry in zip(table, entries[names], strict=True)}
        assert all(route_of(entry) is not None for entry in found.values())
        for entry in entries[names]:
            assert {operation.key for operation in diff(entry, None)} == {*entry.config, *entry.records}
            assert applied(entry, diff(entry, None)) == Entry(entry.name, {}, {})
    assert not any(map(is_kvproxys, foreign))


@given(anything)
def test_every_answer_of_a_hook_is_an_error_or_can_be_stored(answer: Any) -> None:
    """The error is the one that is promised."""
    for change in (
        lambda route, configuration: answer,
        part(router=answer),
        part(service=answer),
        part(middlewares=answer),
        part(middlewares={"m": answer}),
        part(middlewares={"m": {"plugin": answer}}),
        part(service={"loadBalancer": answer}),
    ):
        try:
            entry = shaped(change)
        except HookError:
            continue
        assert all(isinstance(value, str) and value and value.encode() for value in entry.config.values())


def test_without_hooks_nothing_is_asked() -> None:
    """A route costs what it did."""
    assert customizing([]) is None
    assert encode_route(ADA, Layout(customize=None)).config
