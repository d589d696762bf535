"""A migration's input from jupyterhub-traefik-proxy's keys, and its output."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kvproxy.cli.migrate.plan import Kind, Plan, chunks, missing, plan_migration
from kvproxy.cli.routes.compare import StoreState, store_state
from kvproxy.errors import InvalidRouteError
from kvproxy.hooks.customize import Hook, customizing
from kvproxy.routing.encode import encode_route, encode_setup
from kvproxy.routing.entry import Entry, Layout
from kvproxy.routing.legacy import (
    is_lowering,
    is_peers,
    is_peers_record,
    left_routes,
    lowering,
    peer_entry,
    peer_groups,
    peer_routes,
)
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route
from kvproxy.routing.table import DesiredTable
from kvproxy.store import Snapshot

from ..strategies import applied, routes

#: All keys that jupyterhub-traefik-proxy 2.1.0 had in a real Redis after it had set up its API and added nine routes,
#: as its own `_setup_traefik_dynamic_config` and `_apply_dynamic_config` wrote them.
KEYS: dict[str, str] = json.loads(
    Path(__file__).parents[2].joinpath("data/jupyterhub-traefik-proxy-2.1.0.json").read_text()
)
CONFIG = {key.removeprefix("traefik/"): value for key, value in KEYS.items() if key.startswith("traefik/")}
RECORDS = {key.removeprefix("jupyterhub/"): value for key, value in KEYS.items() if key.startswith("jupyterhub/")}

TARGET = "http://127.0.0.1:1"


def held(*known: Route, foreign: dict[str, str] | None = None, layout: Layout | None = None) -> StoreState:
    """A store with some routes."""
    return StoreState(
        {ALONE.route(route.key): encode_route(route, layout or Layout()) for route in known}, 7, foreign or {}
    )


def after(plan: Plan, before: StoreState) -> StoreState:
    """The store's contents after the plan has been carried out."""
    config = {key: value for entry in before.entries.values() for key, value in entry.config.items()} | {
        **before.foreign
    }
    records = {key: value for entry in before.entries.values() for key, value in entry.records.items()}
    operations = [operation for group in plan.groups for operation in group]
    whole = applied(Entry("", config, records), operations)
    return store_state(Snapshot({**whole.config}, {**whole.records}))


def kinds(plan: Plan) -> dict[str, str]:
    return {step.routespec: step.kind.value for step in plan.steps}


def test_all_routes_of_the_peer_are_found_with_their_data() -> None:
    """Text where the peer made it text, but for what JupyterHub itself gives as booleans."""
    found = peer_routes(RECORDS)
    assert found.refused == []
    assert {route.routespec: (route.target, route.as_dict()["data"]) for route in found.routes} == {
        "/": ("http://127.0.0.1:8081", {"hub": True}),
        "/user/ada/": ("http://127.0.0.1:4001", {"user": "ada", "server_name": ""}),
        "/user/ada/gpu/": ("http://127.0.0.1:4002", {"user": "ada", "server_name": "gpu"}),
        "/user/jos%C3%A9@example.org/": ("http://127.0.0.1:4003", {"user": "josé@example.org", "server_name": ""}),
        "/services/cull/": ("http://127.0.0.1:4004", {"service": "cull"}),
        "/extra/": ("http://127.0.0.1:9999/test", {"extra": True}),
        "/custom/": ("http://127.0.0.1:4005", {"tags": ["a", "b"], "deep": {"n": "1", "on": "false"}}),
        "/nothing/": ("http://127.0.0.1:4006", {}),
        "ada.example.org/user/ada/": ("http://127.0.0.1:4007", {"user": "ada", "server_name": ""}),
    }


@given(order=st.permutations(sorted(RECORDS.items())))
def test_the_order_in_which_a_store_gives_keys_makes_no_difference(order: list[tuple[str, str]]) -> None:
    """Redis gives them in any, which was told as other data of a route that was there already."""
    assert peer_routes(dict(order)) == peer_routes(RECORDS)


def test_data_in_another_order_are_the_same_data() -> None:
    """The hub writes the user first; what is there is kept, and nothing is missing after the migration."""
    data = {"user": "ada", "server_name": "gpu"}
    one, other = (make_route("/user/ada/gpu/", TARGET, dict(pairs)) for pairs in (data.items(), reversed(data.items())))
    assert kinds(plan_migration([other], [], held(one), Layout())) == {"/user/ada/gpu/": "keep"}
    assert missing([other], held(one)) == []


def test_a_configuration_file_of_the_peer_holds_the_same() -> None:
    """Records stand below ``jupyterhub`` there."""
    in_file = {**CONFIG, **{f"jupyterhub/{key}": value for key, value in RECORDS.items()}}
    assert peer_routes(in_file) == peer_routes({f"jupyterhub/{key}": value for key, value in RECORDS.items()})
    assert len(peer_routes(in_file).routes) == 9


def test_every_key_of_the_peer_is_known_as_such_and_none_of_kvproxys() -> None:
    """So that all can be removed, and nothing else."""
    assert all(map(is_peers, CONFIG))
    assert sorted(key for group in peer_groups(CONFIG) for key in group) == sorted(CONFIG)
    assert sorted(key for record in peer_routes(RECORDS).records for key in record) == sorted(RECORDS)
    assert all(is_peers_record(key.removeprefix("routes/")) for key in RECORDS)
    ours = encode_route(make_route("/user/ada/", TARGET + "/x", {}), Layout(("http",)))
    assert not any(map(is_peers, ours.config))
    assert not any(map(is_peers_record, [*ours.records, "router.example.org/target/", "setup", "group:x-kvg"]))
    assert not any(map(ALONE.owner, CONFIG))
    assert peer_routes({"routes//user/ada/": "{}", "hub": "{}"}).routes == []


def test_routes_are_given_back_just_as_the_peer_wrote_them() -> None:
    """Key by key; a path that its rules cannot hold is refused."""
    given = [peer_entry(route, "http") for route in peer_routes(RECORDS).routes]
    assert {key: value for entry in given for key, value in entry.records.items()} == RECORDS
    routes = {key: value for key, value in CONFIG.items() if re.match("http/(routers/router_|services/)", key)}
    assert {key: value for entry in given for key, value in entry.config.items()} == routes
    with pytest.raises(InvalidRouteError, match="back quote"):
        peer_entry(make_route("/user/a%60b/", TARGET, {}), "http")


@given(routes())
def test_routes_given_back_can_be_taken_over_again(route: Route) -> None:
    """With any name that JupyterHub can give a user."""
    assume("%60" not in route.routespec)
    [found] = peer_routes(peer_entry(route, "http").records).routes
    assert (found.key, found.target) == (route.key, route.target)


#: Rules by router, as one that has left them wrote them, and somebody's own.
RULES = {
    f"http/routers/{name}/rule": f"PathPrefix(`{path}`)"
    for name, path in {
        "router__2F": "/",
        "router__2Fuser_2Fada_2F": "/user/ada/",
        "route_api": "/api",
        "mine": "/mine",
    }.items()
}


def test_routes_of_the_peer_come_last_in_their_own_order() -> None:
    """The API's router at once, as its password is unknown; the rest when there is something to be behind."""
    assert lowering(RULES, False).keys() == {"http/routers/route_api/priority"}
    found = lowering(RULES, True)
    hub, ada, api = (f"http/routers/{name}/priority" for name in ("router__2F", "router__2Fuser_2Fada_2F", "route_api"))
    assert found.keys() == {hub, ada, api}
    assert all(is_lowering(key, value) for key, value in found.items())
    assert int(found[hub]) < int(found[ada]) < 0
    assert lowering({**RULES, **found}, False) == found, "as an earlier start has left it"
    assert lowering(found, True) == {}, "nothing is left of a router whose rule is gone"
    own = {hub: "7"}
    assert own.keys().isdisjoint(lowering({**RULES, **own}, True)), "a key that is not ours is never changed"
    assert left_routes(RULES) == 2


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"routespec": "/user/ada/"}, "no target"),
        ({"target": TARGET}, "no routespec"),
        ({"routespec": "/user/%zz/", "target": TARGET}, "cannot be routed"),
        ({"routespec": "/user/ada/", "target": "unix:///x"}, "must begin with http"),
    ],
)
def test_records_that_cannot_be_served_are_refused_with_the_reason(record: dict[str, str], said: str) -> None:
    """The others are taken all the same."""
    found = peer_routes({**RECORDS, **{f"routes/router_bad/{key}": value for key, value in record.items()}})
    assert len(found.routes) == 9
    [(_, why)] = found.refused
    assert said in why


def test_a_plan_says_what_becomes_of_each_route() -> None:
    """Added, changed, kept, refused; others are left alone."""
    ada, bob, eve = (make_route(f"/user/{name}/", TARGET, {"user": name}) for name in ("ada", "bob", "eve"))
    moved = make_route("/user/ada/", "http://127.0.0.1:2", {"user": "ada"})
    other = make_route("/user/bob/", TARGET, {})
    before = held(moved, bob, eve)
    plan = plan_migration([ada, bob, make_route("/new/", TARGET, {})], [("/bad/", "No.")], before, Layout())
    assert kinds(plan) == {"/user/ada/": "change", "/user/bob/": "keep", "/new/": "add", "/bad/": "refuse"}
    assert [step.why for step in plan.steps if step.why] == ["now leads to http://127.0.0.1:2", "No."]
    assert {route.routespec for route in after(plan, before).routes.values()} == {
        *("/user/ada/", "/user/bob/", "/user/eve/", "/new/")
    }
    assert missing([ada, bob], after(plan, before)) == []
    assert missing([ada], before) == [ada]
    assert plan_migration([other], [], before, Layout()).steps[0].why == "now has other data"


def test_existing_routes_are_not_written_again() -> None:
    """A migration that was interrupted goes on where it was."""
    found = peer_routes(RECORDS).routes
    before = held(*found[:5])
    plan = plan_migration(found, [], before, Layout())
    assert plan.counts == {Kind.KEEP: 5, Kind.ADD: 4}
    done = after(plan, before)
    assert plan_migration(found, [], done, Layout()).groups == []


def test_foreign_keys_are_copied_only_if_they_are_to_be() -> None:
    """And only those that are not there."""
    before = held(foreign={"http/routers/mine/rule": "x"})
    foreign = {"http/routers/mine/rule": "x", "http/routers/mine/service": "y"}
    assert plan_migration([], [], before, Layout()).groups == []
    plan = plan_migration([], [], before, Layout(), foreign)
    assert plan.copied == 1
    assert after(plan, before).foreign == foreign


def test_the_store_is_as_the_hub_would_have_it() -> None:
    """So that a hub that starts on it has nothing to write, whatever was there."""
    found = peer_routes(RECORDS).routes
    layout = Layout(("http",))
    before = held(make_route("/user/", TARGET, {}), layout=layout)
    done = after(plan_migration(found, [], before, layout), before)
    table = DesiredTable(layout, encode_setup({}))
    table.restore(done.entries)
    assert table.entries == dict(done.entries)


@given(st.lists(routes(), max_size=8), st.lists(routes(), max_size=8))
def test_after_a_migration_all_routes_are_there(source: list[Route], there: list[Route]) -> None:
    """Those of the source as they are, and every other one that was there before."""
    wanted = {route.key: route for route in source}
    before = held(*{route.key: route for route in there}.values())
    done = after(plan_migration(wanted.values(), [], before, Layout()), before)
    assert missing(wanted.values(), done) == []
    others = [route for route in before.routes.values() if route.key not in wanted]
    assert missing(others, done) == []
    assert len(done.routes) == len(wanted) + len(others)


def test_keys_are_removed_in_pieces_that_a_transaction_takes() -> None:
    """None is left out."""
    assert chunks([["a", "b", "c"], [], ["d"]], 2) == [["a", "b"], ["c"], ["d"]]
    assert chunks([["a", "b", "c"]], None) == [["a", "b", "c"]]


def test_a_route_whose_hook_fails_is_taken_along_and_not_served() -> None:
    """The hub finds it, and says why; the others have what the hook adds."""

    def fail(route: Route, configuration: dict[str, Any]) -> None:
        if "ada" in route.routespec:
            raise LookupError("no ada")
        configuration["middlewares"]["zip"] = {"compress": {}}

    layout = Layout(customize=customizing([Hook("the hook", fail)]))
    table = [make_route(f"/user/{name}/", TARGET, {}) for name in ("ada", "bob")]
    before = held()
    plan = plan_migration(table, [], before, layout)
    then = after(plan, before)
    assert missing(table, then) == []
    assert then.entries[ALONE.route("/user/ada/")].config == {}
    assert then.entries[ALONE.route("/user/bob/")] == encode_route(table[1], layout)
