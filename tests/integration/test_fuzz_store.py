"""A start over a store with any contents: it begins to work, and good routes in it are served."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from kvproxy.errors import InvalidRouteError
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.decode import decode_record
from kvproxy.routing.encode import encode_group, encode_route, encode_setup
from kvproxy.routing.entry import SETUP, Entry, Layout
from kvproxy.routing.group import Group, Limits
from kvproxy.routing.manifest import setup_keys
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Capabilities
from kvproxy.testing.clock import on_a_clock
from kvproxy.testing.memory import MemoryStore
from kvproxy.traefik.readiness import Ready, judge

LOG = logging.getLogger("test-fuzz")
# Its messages about each junk key do not matter here, and would bury the example that failed.
LOG.disabled = True
SOON = 10.0
SETTING = {"http": {"middlewares": {"m": {"compress": {}}}}}
#: Small groups, so that a few routes are enough for some.
LAYOUTS = [Layout(), Layout(kind="flat"), Layout(kind="tree", limits=Limits(3, 2)), Layout(transport="t")]

#: Text that a real store can give back.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
names = st.sampled_from(["ada", "adam", "alan", "bob", "b%40b", "x%60%29", "na%C3%AFve"])
good = st.builds(
    lambda host, name, port: make_route(f"{host}/user/{name}/", f"http://127.0.0.1:{port}", {"user": name}),
    st.sampled_from(["", "", "h.example.org"]),
    names,
    st.integers(1, 9),
)
groups = st.one_of(
    st.sampled_from(
        [Group("/user/a"), Group("/user/", ("a", "b")), Group("/user/ada"), Group("h"), Group("/u", ("s",))]
    ),
    st.builds(Group, texts, st.lists(texts, max_size=2).map(tuple)),
)


@st.composite
def stored_groups(draw: st.DrawFn) -> Entry:
    """A group with its own record; its parent, and whether it is in use, are random."""
    group, parent = draw(groups), draw(st.one_of(st.none(), groups))
    parent = group if draw(st.integers(0, 3)) == 0 else parent
    fallback = draw(st.one_of(st.none(), texts.map(lambda name: Entry(name, {}, {}))))
    return encode_group(group, parent, draw(st.booleans()), fallback, Layout())


@st.composite
def contents(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, str]]:
    """Configuration and records: good routes, halves of them, groups, and junk under names of ours and of others."""
    config: dict[str, str] = {}
    records: dict[str, str] = {}
    known = draw(st.lists(good, max_size=6))
    for entry in [*(encode_route(route, Layout()) for route in known), *draw(st.lists(stored_groups(), max_size=3))]:
        config |= entry.config
        records |= entry.records
    for key in draw(st.lists(st.sampled_from(sorted(config) or ["x"]), max_size=4)):
        config.pop(key, None)
    ours = [ALONE.route(route.key) for route in known] + ["aaaaaaaaaaaaaaaa-kvp", "aaaaaaaaaaaaaaaa-kvg"]
    fields = st.sampled_from(["rule", "parentRefs", "parentRefs/0", "service", "nosuchfield", "rule/x"])
    junk = st.one_of(
        texts,
        st.builds("http/{}/{}/{}".format, st.sampled_from(["routers", "services"]), st.sampled_from(ours), fields),
        st.builds("http/routers/{}/rule".format, texts),
        st.sampled_from([ALONE.revision_key, "http/middlewares/m/compress", "http/middlewares/other/compress"]),
    )
    config |= draw(st.dictionaries(junk, st.one_of(texts, st.sampled_from(ours)), max_size=6))
    values = st.one_of(texts, json_values.map(json.dumps), st.just('{"target":"http://h","data":{}}'))
    keys = st.one_of(texts, texts.map("group:{}".format), names.map("/user/{}/".format), st.just("group:" + ours[0]))
    for key, value in draw(st.dictionaries(keys, values, max_size=5)).items():
        records.setdefault(key, value)
    claims = st.lists(st.one_of(texts, st.sampled_from([*sorted(config), ALONE.revision_key])), max_size=4)
    if draw(st.booleans()):
        records[SETUP] = draw(st.one_of(texts, claims.map(json.dumps), json_values.map(json.dumps)))
    return config, records


def routes_in(records: Mapping[str, str]) -> dict[str, Route]:
    """The routes among records, by the names of their routers."""
    found = {}
    for key, value in records.items():
        try:
            found[ALONE.route(key)] = decode_record(key, value)
        except InvalidRouteError:
            continue
    return found


def of_others(config: Mapping[str, str], records: Mapping[str, str]) -> dict[str, str]:
    """Keys of the configuration that neither are kvproxy's nor were said to be."""
    claimed = {*setup_keys(records.get(SETUP, "")), *encode_setup(SETTING).config, ALONE.revision_key}
    return {key: value for key, value in config.items() if ALONE.owner(key) is None and key not in claimed}


async def wait_for_rest(store: MemoryStore, reconciler: Reconciler) -> None:
    """Wait until full reads find nothing more to do."""
    quiet = 0
    while quiet < 3:
        written = len(store.applied)
        await reconciler.all(SOON)
        await asyncio.sleep(0.004)
        quiet = quiet + 1 if len(store.applied) == written else 0


@on_a_clock
async def start_over(
    config: Mapping[str, str], records: Mapping[str, str], layout: Layout, capabilities: Capabilities | None = None
) -> None:
    """Start, and see that what is good is served, that what is others' is there, and that it comes to rest."""
    store = MemoryStore(capabilities)
    store.config.update(config)
    store.records.update(records)
    wanted, theirs = routes_in(records), of_others(config, records)
    reconciler = Reconciler(store, store.traefik, log=LOG, layout=layout, setup=SETTING, groups_allowed=True)
    await asyncio.wait_for(reconciler.start(), SOON)
    try:
        await asyncio.wait_for(wait_for_rest(store, reconciler), SOON)
        found = await reconciler.all(SOON)
        assert found == {route.routespec: route.as_dict() for route in wanted.values()}
        for name, route in wanted.items():
            entry = reconciler.desired[name]
            assert {key: value for key, value in store.config.items() if ALONE.owner(key) == name} == entry.config
            assert store.records[route.key] == entry.records[route.key]
            assert judge(entry, await store.traefik.router(name), await store.traefik.service(name)) == Ready()
        for key, value in theirs.items():
            assert store.config[key] == value
        for key, value in encode_setup(SETTING).config.items():
            assert store.config[key] == value
        for transaction in store.applied:
            written = [(operation.space, operation.key) for operation in transaction.operations]
            assert len(set(written)) == len(written), "etcd refuses a transaction with a key in it twice"
        assert store.config[ALONE.revision_key] == f"{reconciler.revision:013d}"
        assert await store.traefik.revision() == reconciler.revision
        await reconciler.add(make_route("/user/new/", "http://127.0.0.1:99", {}), SOON)
    finally:
        await reconciler.aclose()


ROUTE = encode_route(make_route("/user/ada/", "http://127.0.0.1:1", {}), Layout())
NAME = ALONE.route("/user/ada/")
OWN_PARENT = encode_group(Group("/user/a"), Group("/user/a"), False, None, Layout())
EMPTY_SYMBOL = encode_group(Group("/user/a", ("",)), Group("/user/a"), False, None, Layout())
EACH_OTHERS = encode_group(Group("/user/a"), Group("/user/a", ("",)), False, None, Layout())


@given(contents(), st.sampled_from(LAYOUTS))
@example((dict(OWN_PARENT.config), dict(OWN_PARENT.records)), LAYOUTS[2])
@example(({**EMPTY_SYMBOL.config, **EACH_OTHERS.config}, {**EMPTY_SYMBOL.records, **EACH_OTHERS.records}), LAYOUTS[2])
@example(({ALONE.revision_key: "²"}, {}), LAYOUTS[0])
@example(({ALONE.revision_key: "9" * 5000}, {}), LAYOUTS[0])
@example(({ALONE.revision_key: "9999999999999"}, {}), LAYOUTS[0])
@example(({ALONE.revision_key: "999999999999999"}, {}), LAYOUTS[0])
@example((dict(ROUTE.config), {**ROUTE.records, SETUP: json.dumps([*ROUTE.config, ALONE.revision_key])}), LAYOUTS[0])
@example(({}, {"/user/ada/": "[" * 200_000, f"group:{NAME}": "[" * 200_000, SETUP: "[" * 200_000}), LAYOUTS[0])
@example(({}, {"/user/ada/": json.dumps({"target": "http://h", "data": {"x": "y" * 3_000_000}})}), LAYOUTS[0])
def test_a_start_over_anything(held: tuple[dict[str, str], dict[str, str]], layout: Layout) -> None:
    """It ends with all good routes served, and with nothing of others' touched."""
    start_over(*held, layout)


def test_more_leftovers_than_a_transaction_takes() -> None:
    """Under a route's own name, and under one that belongs to none."""
    for name in (NAME, "aaaaaaaaaaaaaaaa-kvp"):
        junk = {f"http/routers/{name}/x{n}": "y" for n in range(50)}
        start_over({**ROUTE.config, **junk}, ROUTE.records, Layout(), Capabilities(max_operations=16))


def test_a_record_that_no_transaction_could_write_does_not_stop_the_start() -> None:
    """It is there already, and its keys are as they should be; the other routes are served."""
    big: Any = {"x": "y" * 10_000}
    entry = encode_route(make_route("/user/big/", "http://127.0.0.1:1", big), Layout())
    held = {**ROUTE.config, **entry.config}, {**ROUTE.records, **entry.records}
    start_over(*held, Layout(), Capabilities(max_bytes=5_000))


def test_a_route_that_no_transaction_could_repair_does_not_stop_the_others() -> None:
    """Its record is there, its keys are not."""
    big: Any = {"x": "y" * 10_000}
    entry = encode_route(make_route("/user/big/", "http://127.0.0.1:1", big), Layout())
    start_over({}, {**ROUTE.records, **entry.records}, Layout(), Capabilities(max_bytes=5_000))


def test_the_examples_are_what_they_are_said_to_be() -> None:
    """A group that is its own parent, and two that are each other's."""
    name = ALONE.group(Group("/user/a"))
    assert OWN_PARENT.config[f"http/routers/{name}/parentRefs"] == name
    assert EACH_OTHERS.config[f"http/routers/{name}/parentRefs"] == ALONE.group(Group("/user/a", ("",)))
