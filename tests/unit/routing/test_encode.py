"""The laws of the translation layer and of the plan."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.errors import InvalidRouteError, StoreError
from kvproxy.reconcile.plan import diff, transactions
from kvproxy.routing.decode import decode_record, parse_snapshot, route_of
from kvproxy.routing.encode import encode_route, encode_setup
from kvproxy.routing.entry import SETUP, Entry, Layout
from kvproxy.routing.flatten import flatten
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Capabilities, Operation, Space

from ..strategies import applied, routes

NOTHING = Entry("r", {}, {})
tables = st.lists(routes(), max_size=5).map(lambda rs: {r.key: r for r in rs})
layouts = st.sampled_from([Layout(), Layout(("web",))])
keys = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"), max_size=5)
entries = st.one_of(st.none(), st.builds(Entry, st.just("r"), keys, keys)).map(
    lambda entry: entry if entry and (entry.config or entry.records) else None
)


@given(tables, layouts)
def test_a_table_comes_back_from_the_store(table: dict[str, Route], layout: Layout) -> None:
    """``decode(encode_route(table)) == table``, data included, among keys of others."""
    config = {"http/routers/mine/rule": "Path(`/mine`)"}
    records: dict[str, str] = {}
    for route in table.values():
        entry = encode_route(route, layout)
        config |= entry.config
        records |= entry.records
    found = parse_snapshot(config, records, {})
    assert {name: route_of(entry) for name, entry in found.items()} == {ALONE.route(k): r for k, r in table.items()}
    assert found == {ALONE.route(key): encode_route(route, layout) for key, route in table.items()}


@given(entries, entries)
def test_applying_a_diff_gives_what_was_wanted(before: Entry | None, after: Entry | None) -> None:
    """``apply(a, diff(a, b)) == b``, and only keys that differ are written."""
    operations = diff(before, after)
    assert applied(before or NOTHING, operations) == (after or NOTHING)
    assert diff(after, after) == ()
    for operation in operations:
        space = (before or NOTHING).config if operation.space is Space.CONFIG else (before or NOTHING).records
        assert space.get(operation.key) != operation.value


groups = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=8)


@given(groups, st.integers(4, 9), st.one_of(st.none(), st.integers(16, 40)))
def test_transactions_keep_the_limits_and_the_groups(letters: list[list[str]], most: int, size: int | None) -> None:
    """Nothing is lost, reordered or split; only the last transaction wakes Traefik."""
    wanted = [[Operation(Space.CONFIG, f"{i}{j}", letter) for j, letter in enumerate(g)] for i, g in enumerate(letters)]
    made = transactions(wanted, Capabilities(most, size), [Operation(Space.CONFIG, "last", "r")])
    assert [o for t in made for o in t.operations][:-1] == [o for g in wanted for o in g]
    assert [t.wake for t in made] == [False] * (len(made) - 1) + [True]
    for transaction in made:
        assert len(transaction.operations) <= most
        assert size is None or sum(o.size for o in transaction.operations) <= size
    for one in wanted:
        assert sum(1 for t in made if set(one) & set(t.operations)) == 1


def test_a_route_that_no_transaction_can_hold_is_an_error() -> None:
    """It is never split."""
    with pytest.raises(StoreError, match="more than one transaction"):
        transactions([[Operation(Space.CONFIG, str(n), "x") for n in range(5)]], Capabilities(4))


@given(st.text())
def test_names_are_never_numbers_and_begin_with_their_digest(key: str) -> None:
    """A name of digits only would be taken for a list index by Traefik."""
    name = ALONE.route(key)
    assert not name.isdigit()
    assert ALONE.owner(f"http/routers/{name}/rule") == name
    assert len(name) == len(ALONE.route("/"))


@pytest.mark.parametrize(
    "key",
    [
        "http/routers/mine/rule",
        "http/routers/abcdefghij-kvp/rule",
        "tls/stores/default/defaultCertificate/certFile",
        ALONE.revision_key,
        "tcp/routers/aaaaaaaaaaaaaaaa-kvp/rule",
    ],
)
def test_foreign_keys_belong_to_no_entry(key: str) -> None:
    """So they are never changed or deleted."""
    assert ALONE.owner(key) is None
    assert parse_snapshot({key: "x"}, {}, {}) == {}


def test_the_setup_remembers_its_keys() -> None:
    """Settings that a later configuration no longer has can be found and removed."""
    old = encode_setup({"http": {"middlewares": {"m": {"compress": {}}}}})
    found = parse_snapshot({**old.config, "http/middlewares/other/compress": "true"}, old.records, {})
    assert found == {SETUP: old}
    assert [o.key for o in diff(found[SETUP], encode_setup({}))] == ["http/middlewares/m/compress", SETUP]


def test_flatten() -> None:
    """Booleans, numbers, lists and options without fields, as Traefik's decoder reads them."""
    nested = {"a": {"b": True, "c": [1, {"d": "x"}], "e": {}, "f": None}}
    assert flatten(nested) == {"a/b": "true", "a/c/0": "1", "a/c/1/d": "x", "a/e": "true"}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"target":"http://h"}',
        '{"target":"x","data":{}}',
        '{"target":"http://h","data":1}',
        json.dumps({"target": "http://h", "data": {}, "routespec": "/other/"}),
        "null",
        '{"target":1,"data":{}}',
    ],
)
def test_a_corrupt_record_is_named(value: str) -> None:
    """And spoils nothing else: it counts as an entry without a route."""
    with pytest.raises(InvalidRouteError):
        decode_record("/x/", value)
    assert route_of(parse_snapshot({}, {"/x/": value}, {})[ALONE.route("/x/")]) is None


def test_two_spellings_are_one_route_and_the_given_one_comes_back() -> None:
    """JupyterHub compares routespecs as texts."""
    raw, quoted = make_route("/user/a@b/", "http://h", {}), make_route("/user/a%40b/", "http://h", {})
    assert raw.key == quoted.key
    back = decode_record(quoted.key, encode_route(quoted, Layout()).records[quoted.key])
    assert back.routespec == "/user/a%40b/"


def test_a_target_with_a_path_gets_a_prefix() -> None:
    """As configurable-http-proxy does for ``extra_routes``."""
    config = encode_route(make_route("/x/", "http://localhost:9999/test", {}), Layout()).config
    name = ALONE.route("/x/")
    assert config[f"http/middlewares/{name}/addPrefix/prefix"] == "/test"
    assert config[f"http/services/{name}/loadBalancer/servers/0/url"] == "http://localhost:9999"
