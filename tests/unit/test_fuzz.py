"""Input from strangers: for every input, a pure function gives a value or the one error that it names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvproxy.errors import InvalidRouteError
from kvproxy.reconcile.plan import diff, transactions
from kvproxy.routing.decode import decode_record, group_of, parse_revision, parse_snapshot, route_of, stored_revision
from kvproxy.routing.encode import encode_route, encode_setup
from kvproxy.routing.entry import SETUP, Entry, Layout
from kvproxy.routing.group import Group, stem
from kvproxy.routing.manifest import setup_keys
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route, parse_routespec
from kvproxy.store import Capabilities, Operation, Space
from kvproxy.traefik.readiness import Pending, Ready, Rejected, judge, revision_of

from .strategies import HOSTILE, applied, routes

#: Any text, halves of surrogate pairs included, and what looks like the real thing.
texts = st.text(max_size=12)
paths = st.text(st.sampled_from("/%2fFaA.é\udc80\0 :@" + HOSTILE), max_size=16)
routespecs = st.one_of(texts, paths, paths.map("/user/{}/".format), st.builds("{}/{}".format, texts, paths))
targets = st.one_of(
    texts,
    st.builds(
        "{}://{}{}".format,
        st.sampled_from(["http", "https", "HTTP", "http+unix", "ws", "", "javascript"]),
        st.one_of(texts, st.text(st.sampled_from("aZ09.-_:@[]%\\`{}\"' "), max_size=12), st.just("127.0.0.1:8888")),
        st.one_of(texts, paths),
    ),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(texts, st.integers(), st.none(), st.tuples(texts)), inner, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=6,
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
DEEP = "[" * 200_000


def outcome(make: Callable[..., Any], *arguments: Any) -> Any:
    """Return a function's result, or the error that it may raise; any other is a fault."""
    try:
        return make(*arguments)
    except InvalidRouteError as error:
        return error


# -- routes


@given(st.one_of(routespecs, anything), st.one_of(targets, anything), anything)
@example("/x/", "http://h", {"n": 10**5000})
@example("/x/", "http://٣:80", {})
@example("/x/", "http://h:٣", {})
@example("/x/", "http://[::1", {})
def test_a_route_is_made_or_refused(routespec: Any, target: Any, data: Any) -> None:
    """And one that is made can be stored, read back, laid out, and looked for in the same words."""
    route = outcome(make_route, routespec, target, data)
    if isinstance(route, InvalidRouteError):
        assert str(route)
        return
    entry = encode_route(route, Layout(transport="t"))
    assert route_of(entry) == route
    assert parse_routespec(route.key).key == route.key
    assert stem(route.spec)
    for key, value in entry.config.items():
        assert ALONE.owner(key) == ALONE.route(route.key)
        assert value.isprintable()
        assert value


def test_data_that_is_nested_too_deep_is_refused() -> None:
    """Or in itself."""
    deep: dict[str, Any] = {}
    for _ in range(200_000):
        deep = {"x": deep}
    endless: dict[str, Any] = {}
    endless["x"] = endless
    for data in (deep, endless):
        with pytest.raises(InvalidRouteError, match="cannot be written as JSON"):
            make_route("/x/", "http://h", data)


@given(routespecs)
def test_a_refused_routespec_is_named(routespec: str) -> None:
    """In the error that the administrator sees."""
    seen = outcome(parse_routespec, routespec)
    assert not isinstance(seen, InvalidRouteError) or repr(routespec) in str(seen)


@pytest.mark.parametrize(
    "target",
    [
        "http://a`b",
        "http://a\\b:1",
        "http://a b",
        "http://{x}",
        "http://a:+80",
        "http://a:8_0",
        "http://[::g]",
        "http://%41",
    ],
)
def test_a_host_that_traefik_could_not_parse_is_refused(target: str) -> None:
    """At once, instead of by Traefik after a write and a wait."""
    with pytest.raises(InvalidRouteError):
        make_route("/x/", target, {})


@pytest.mark.parametrize(
    "target", ["http://a_b.c-d:80", "https://127.0.0.1", "http://[::1]:8888", "http://[fe80::1%25eth0]:1", "http://A/x"]
)
def test_usual_hosts_are_taken(target: str) -> None:
    """Names of containers among them."""
    assert make_route("/x/", target, {}).target == target


# -- what a store holds


@given(texts, st.one_of(texts, json_values.map(json.dumps)))
@example("/x/", DEEP)
@example("/x/", '{"target":"http://h","data":{"n":1e999}}')
@example("/x/", '{"target":"http://h","data":{"n":' + "9" * 5000 + "}}")
@example("/x/", '{"target":"http://h","data":{},"routespec":null}')
@example("/\udc80/", '{"target":"http://h","data":{}}')
def test_a_record_is_a_route_or_refused(key: str, value: str) -> None:
    """With any contents."""
    seen = outcome(decode_record, key, value)
    assert str(seen) if isinstance(seen, InvalidRouteError) else seen.key == key


group_texts = st.one_of(
    texts,
    json_values.map(json.dumps),
    st.lists(texts, max_size=3).map(json.dumps),
    st.builds(lambda prefix, symbols: json.dumps([prefix, *symbols]), paths, st.lists(paths, max_size=3)),
    st.sampled_from([DEEP, "[]", '[""]', '["/a",""]', '["/a","b","b"]', '["/a","c","b"]', '["(","a"]', '["\\udc80"]']),
)


@given(group_texts)
def test_a_record_of_a_group_is_one_that_kvproxy_makes_or_none(value: str) -> None:
    """Rules are made from its result."""
    try:
        prefix, *symbols = json.loads(value)
        found = Group(prefix, tuple(symbols))
        key = f"group:{ALONE.group(found)}"
    except (ValueError, TypeError, RecursionError):
        found, key = None, "group:aaaaaaaaaaaaaaaa-kvg"
    seen = group_of(Entry("", {}, {key: value}))
    if seen is not None:
        assert seen == found
        assert seen.rule.isascii()
        assert seen.covers(seen.reaches[0])
        assert list(seen.symbols) == sorted(set(seen.symbols))
        assert "" not in seen.reaches


owned = routes().map(lambda route: f"http/routers/{ALONE.route(route.key)}/rule")


@given(
    st.dictionaries(st.one_of(texts, owned, st.just(ALONE.revision_key)), texts, max_size=8),
    st.dictionaries(st.one_of(texts, texts.map("group:{}".format), st.just(SETUP)), texts, max_size=5),
    st.one_of(texts, json_values.map(json.dumps), st.lists(st.one_of(texts, owned), max_size=4).map(json.dumps)),
)
@example({ALONE.revision_key: "1785000000000", "x": "y"}, {}, json.dumps([ALONE.revision_key, "x"]))
def test_no_manifest_claims_what_is_a_routes(config: dict[str, str], records: dict[str, str], manifest: str) -> None:
    """Any contents of a store are sorted, and the revision and routes stay the same."""
    records[SETUP] = manifest
    found = parse_snapshot(config, records, {})
    assert all(isinstance(key, str) for key in setup_keys(records.get(SETUP, "")))
    for name, entry in found.items():
        assert ALONE.revision_key not in entry.config
        for key in entry.config:
            assert ALONE.owner(key) == name or (
                name == SETUP and ALONE.owner(key) is None and key in setup_keys(records.get(SETUP, ""))
            )
    claimed = {key for entry in found.values() for key in entry.config}
    assert {key for key in config if ALONE.owner(key) is not None} <= claimed


def test_the_deepest_manifest_is_no_manifest() -> None:
    """It counts as lost."""
    assert list(setup_keys(DEEP)) == []
    assert parse_snapshot({"a": "b"}, {SETUP: DEEP}, {"a": "b"})[SETUP].config == {"a": "b"}


@given(routes(), st.integers(1, 60), st.integers(6, 20), st.booleans())
def test_leftovers_below_a_routes_name_are_removed_whatever_their_number(
    route: Route, count: int, most: int, wanted: bool
) -> None:
    """Keys that are set stay together; only deletions may follow."""
    name = ALONE.route(route.key)
    junk = {f"http/routers/{name}/x{n}": "y" for n in range(count)}
    before, after = Entry(name, junk, {}), encode_route(route, Layout()) if wanted else None
    operations = diff(before, after)
    made = transactions([operations], Capabilities(most))
    for transaction in made:
        assert len(transaction.operations) <= most
    assert sorted(map(str, operations)) == sorted(str(o) for t in made for o in t.operations)
    left = before
    for transaction in made:
        left = applied(left, transaction.operations)
    assert left == (after or Entry(name, {}, {}))
    if wanted:
        assert sum(any(o.value is not None for o in t.operations) for t in made) == 1


@given(texts, texts)
def test_every_operation_has_a_size(key: str, value: str) -> None:
    """Even of what UTF-8 has no bytes for."""
    assert Operation(Space.CONFIG, key, value).size >= len(key) + len(value)


@given(st.one_of(texts, st.text("0123456789²٣", max_size=20)))
@example("9999999999999")
@example("²")
@example("9" * 5000)
def test_a_revision_is_a_number_or_none(text: str) -> None:
    """And after one that a store is believed to hold there are more that Traefik's answers are believed to show."""
    seen, stored = parse_revision(text), stored_revision(text)
    assert seen is None or (text.isascii() and text.isdigit() and seen == int(text))
    if stored is not None:
        assert parse_revision(f"{stored + 10**9:013d}") == stored + 10**9


def test_a_present_revision_is_believed() -> None:
    """It is the time in milliseconds."""
    assert stored_revision("1785000000000") == 1785000000000


# -- what Traefik's API says

ROUTE = make_route("ada.example.org/user/ada/", "https://127.0.0.1:1/base", {})
NAME = ALONE.route(ROUTE.key)
ENTRY = encode_route(ROUTE, Layout(("web",), transport="t"))
ROUTER = {
    "rule": ENTRY.config[f"http/routers/{NAME}/rule"],
    "priority": int(ENTRY.config[f"http/routers/{NAME}/priority"]),
    "service": f"{NAME}@redis",
    "entryPoints": ["web"],
    "middlewares": [f"{NAME}@redis"],
    "status": "enabled",
}
SERVICE = {
    "loadBalancer": {"servers": [{"url": "https://127.0.0.1:1"}], "serversTransport": "t@redis"},
    "status": "enabled",
}
MIDDLEWARE = {"headers": {"customResponseHeaders": {"X-Kvproxy-Revision": "1785000000000"}}}


@st.composite
def spoiled(draw: st.DrawFn, right: Any) -> Any:
    """A right answer with something in it replaced, removed or added."""
    if not isinstance(right, (Mapping, list)) or not right or draw(st.integers(0, 3)) == 0:
        return draw(json_values)
    places = list(right) if isinstance(right, Mapping) else list(range(len(right)))
    at, made = draw(st.sampled_from(places)), dict(right) if isinstance(right, Mapping) else list(right)
    if draw(st.booleans()):
        del made[at]  # type: ignore[arg-type]
    else:
        made[at] = draw(spoiled(right[at]))
    return made


def test_the_right_answers_are_right() -> None:
    """Those that are spoiled below."""
    assert judge(ENTRY, ROUTER, SERVICE) == Ready()
    assert revision_of(MIDDLEWARE) == 1785000000000


@given(st.one_of(st.just(ROUTER), spoiled(ROUTER), json_values), st.one_of(st.just(SERVICE), spoiled(SERVICE)))
@example({**ROUTER, "priority": float("inf")}, SERVICE)
@example({**ROUTER, "priority": "x"}, SERVICE)
@example({**ROUTER, "status": "disabled", "error": "text"}, SERVICE)
@example({**ROUTER, "status": "disabled", "error": {"a": None}}, SERVICE)
@example(ROUTER, {"loadBalancer": "x"})
@example(ROUTER, {"loadBalancer": {"servers": [None, "x"]}})
def test_any_answer_about_a_route_comes_to_a_verdict(router: Any, service: Any) -> None:
    """Ready only if all that counts is right."""
    verdict = judge(ENTRY, router, service)
    assert isinstance(verdict, (Ready, Pending, Rejected))
    if isinstance(verdict, Ready):
        assert router["rule"] == ROUTER["rule"]
        assert service["loadBalancer"]["servers"][0]["url"] == "https://127.0.0.1:1"
    else:
        assert verdict.why


@given(st.one_of(spoiled(MIDDLEWARE), json_values))
@example({"headers": {"customResponseHeaders": {"X-Kvproxy-Revision": "²"}}})
@example({"headers": {"customResponseHeaders": {"X-Kvproxy-Revision": "9" * 5000}}})
@example({"headers": []})
def test_any_answer_about_the_revision_is_a_number_or_none(middleware: Any) -> None:
    """None means that Traefik has loaded nothing of ours."""
    seen = revision_of(middleware)
    assert seen is None or seen >= 0


@given(json_values)
def test_the_setup_is_found_again_whatever_is_beside_it(value: Any) -> None:
    """A manifest that is right counts."""
    setup = encode_setup({"http": {"middlewares": {"m": {"compress": {}}}}})
    found = parse_snapshot({**setup.config, "other": "x"}, {**setup.records, "/x/": json.dumps(value)}, {})
    assert found[SETUP] == setup
