"""The store's routes beside those that each Traefik serves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from kvproxy.cli.routes.compare import (
    RouteStatus,
    Row,
    State,
    StoreState,
    TraefikState,
    changes,
    compare,
    store_state,
    transient,
)
from kvproxy.cli.routes.output import Choice, page, print_document, rendered, whose
from kvproxy.hooks.customize import Hook, customizing
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.decode import parent_name
from kvproxy.routing.entry import Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Snapshot
from kvproxy.testing.memory import MemoryStore

from .test_output import plain_console

TARGET = "http://127.0.0.1:4001"
ADA, BOB = ALONE.route("/user/ada/"), ALONE.route("/user/bob/")
SERVED = RouteStatus(State.SERVED)


class Filled:
    """A store that a reconciler has filled, and the Traefik that reads it."""

    def __init__(self, *specs: str, layout: Layout | None = None) -> None:
        self.store = MemoryStore()
        self.layout = layout or Layout()
        asyncio.run(self._fill(specs))

    async def _fill(self, specs: tuple[str, ...]) -> None:
        import logging

        reconciler = Reconciler(self.store, self.store.traefik, log=logging.getLogger("test"), layout=self.layout)
        await reconciler.start()
        await asyncio.gather(*(reconciler.add(make_route(spec, TARGET, {"user": spec}), 10) for spec in specs))
        # Groups come into use step by step.
        for _ in range(200):
            if self.layout.kind != "tree" or any(key.endswith("-kvp/parentRefs") for key in self.store.config):
                break
            await asyncio.sleep(0.02)
        await reconciler.aclose()

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(dict(self.store.config), dict(self.store.records))

    def seen(self, name: str = "one") -> TraefikState:
        async def ask() -> TraefikState:
            traefik = self.store.traefik
            table = await traefik.table()
            loaded, stored = await traefik.revision(), store_state(self.snapshot).revision
            return TraefikState(name, table.routers, table.services, loaded, stored, await traefik.version())

        return asyncio.run(ask())

    def rows(self, *seen: TraefikState) -> dict[str, Row]:
        return {row.name: row for row in compare(store_state(self.snapshot), seen or [self.seen()], self.layout)}


@pytest.fixture(scope="module")
def filled() -> Filled:
    """Two routes, which tests must not change."""
    return Filled("/user/ada/", "/user/bob/")


def changed(answers: Mapping[str, Mapping[str, Any]], name: str, **fields: Any) -> dict[str, Mapping[str, Any]]:
    """A Traefik's answers, with one of them changed."""
    return {**answers, name: {**answers[name], **fields}}


def test_routes_in_sync_differ_nowhere(filled: Filled) -> None:
    """All routes, with what the hub knows of them."""
    rows = filled.rows(filled.seen("one"), filled.seen("two"))
    assert rows.keys() == {ADA, BOB}
    assert not any(row.differs for row in rows.values())
    assert rows[ADA].as_dict() == {
        "routespec": "/user/ada/",
        "target": TARGET,
        "data": {"user": "/user/ada/"},
        "name": ADA,
        "differs": False,
        "store": "",
        "replicas": {"one": {"state": "served", "why": ""}, "two": {"state": "served", "why": ""}},
    }


def test_a_replica_that_lags_is_told_from_one_that_does_not(filled: Filled) -> None:
    """Replicas that do not know a route, or lead elsewhere."""
    now = filled.seen("one")
    without = replace(now, name="two", routers={name: r for name, r in now.routers.items() if name != ADA})
    elsewhere = {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:9"}]}}
    old = replace(now, name="three", services=changed(now.services, BOB, **elsewhere))
    rows = filled.rows(now, without, old)
    assert rows[ADA].replicas["one"] == SERVED
    assert rows[ADA].replicas["two"] == RouteStatus(State.PENDING, "Traefik does not know the router yet.")
    assert rows[BOB].replicas["three"].why == f"Traefik still leads to http://127.0.0.1:9 instead of {TARGET}."
    assert rows[ADA].replicas["three"] == rows[BOB].replicas["two"] == SERVED
    assert rows[ADA].differs
    assert rows[BOB].differs


def test_rejected_routes_have_traefiks_reason(filled: Filled) -> None:
    """In Traefik's own words."""
    now = filled.seen()
    refused = replace(now, routers=changed(now.routers, ADA, status="disabled", error=["no such middleware"]))
    assert filled.rows(refused)[ADA].replicas["one"] == RouteStatus(State.REJECTED, "no such middleware.")


def test_a_replica_that_cannot_be_asked_is_unknown(filled: Filled) -> None:
    """The others are judged all the same."""
    rows = filled.rows(filled.seen("one"), TraefikState("two", problem="It is away."))
    assert rows[ADA].replicas == {"one": SERVED, "two": RouteStatus(State.UNKNOWN, "It is away.")}


def test_keys_changed_in_the_store_are_named(filled: Filled) -> None:
    """They are not what the hub would write, though Traefik serves them so."""
    snapshot = filled.snapshot
    snapshot.config[f"http/routers/{ADA}/rule"] = "PathPrefix(`/mine`)"
    [row] = [row for row in compare(store_state(snapshot), [filled.seen()], filled.layout) if row.store]
    assert row.name == ADA
    assert row.store == f"The hub would write http/routers/{ADA}/rule otherwise."
    assert row.replicas["one"].state is State.PENDING


@pytest.mark.parametrize("record", [None, "not JSON", '{"target": 1}'])
def test_keys_without_a_readable_record_are_shown(filled: Filled, record: str | None) -> None:
    """The hub would remove them."""
    snapshot = filled.snapshot
    if record is None:
        del snapshot.records["/user/ada/"]
    else:
        snapshot.records["/user/ada/"] = record
    held = store_state(snapshot)
    assert held.unreadable == [ADA]
    [row] = [row for row in compare(held, [filled.seen()], filled.layout) if row.name == ADA]
    assert row.route is None
    assert "no readable record" in row.store
    assert row.replicas["one"] == SERVED


def test_a_record_without_keys_differs(filled: Filled) -> None:
    """Its keys are missing, and no Traefik serves it."""
    snapshot = filled.snapshot
    for key in [key for key in snapshot.config if ADA in key]:
        del snapshot.config[key]
    now = filled.seen()
    gone = replace(now, routers={BOB: now.routers[BOB]}, services={BOB: now.services[BOB]})
    [row] = [row for row in compare(store_state(snapshot), [gone], filled.layout) if row.differs]
    assert (row.name, row.replicas["one"].state) == (ADA, State.PENDING)
    assert "The hub would write" in row.store


def test_routes_served_but_not_stored_are_left_over(filled: Filled) -> None:
    """At each replica that still has it."""
    snapshot = filled.snapshot
    for space in (snapshot.config, snapshot.records):
        for key in [key for key in space if ADA in key or "/user/ada/" in key]:
            del space[key]
    now = filled.seen("one")
    gone = replace(now, name="two", routers={BOB: now.routers[BOB]})
    [row] = [row for row in compare(store_state(snapshot), [now, gone], filled.layout) if row.name == ADA]
    assert row.replicas["one"].state is State.LEFT_OVER
    assert row.replicas["two"].state is State.GONE
    assert row.differs


def test_routes_behind_a_group_that_traefik_lacks_are_not_served() -> None:
    """However right the routes' own routers are."""
    filled = Filled(*(f"/user/student{n:03d}/" for n in range(200)), layout=Layout(kind="tree"))
    held, now = store_state(filled.snapshot), filled.seen()
    assert held.groups
    assert not any(row.differs for row in compare(held, [now], filled.layout))
    group = next(above for name in held.routes if (above := parent_name(held.entries[name])) is not None)
    lacking = replace(now, routers={name: router for name, router in now.routers.items() if name != group})
    rows = [row for row in compare(held, [lacking], filled.layout) if row.differs]
    assert rows
    assert {row.replicas["one"].state for row in rows} == {State.PENDING}
    assert f"does not know the router above it yet (the group {group})" in rows[0].replicas["one"].why


def test_keys_of_others_and_the_setup_are_no_routes(filled: Filled) -> None:
    """They are told apart."""
    snapshot = filled.snapshot
    snapshot.config["http/routers/mine/rule"] = "PathPrefix(`/mine`)"
    held = store_state(snapshot)
    assert held.foreign == {"http/routers/mine/rule": "PathPrefix(`/mine`)"}
    assert held.revision == int(snapshot.config[ALONE.revision_key])
    assert set(held.routes) == {ADA, BOB}


def test_an_empty_store_is_no_trouble() -> None:
    """Before the hub's first start."""
    assert store_state(Snapshot()) == StoreState({}, None, {})
    assert compare(store_state(Snapshot()), [TraefikState("one")], Layout()) == []


def test_only_differences_that_may_pass_are_worth_a_second_look(filled: Filled) -> None:
    """Those of a Traefik that has loaded everything stay as they are."""
    held, now = store_state(filled.snapshot), filled.seen()
    fine = filled.rows().values()
    lacking = replace(now, routers={BOB: now.routers[BOB]})
    wrong = filled.rows(lacking).values()
    assert not transient(held, held, fine, [now])
    assert not transient(held, held, wrong, [lacking])
    assert transient(held, held, wrong, [replace(lacking, revision=1)])
    assert transient(held, replace(held, revision=7), wrong, [lacking])


def test_changes_are_what_is_new_gone_or_otherwise(filled: Filled) -> None:
    """One line each."""
    now = filled.rows()
    assert changes({}, now) == [("added", now[ADA]), ("added", now[BOB])]
    assert changes(now, now) == []
    other = replace(now[ADA], store="odd")
    assert changes(now, {ADA: other}) == [("changed", other), ("removed", now[BOB])]


def test_the_document_is_json_and_a_route_a_line(filled: Filled) -> None:
    """Good for jq and for grep."""
    import click

    @click.command()
    def command() -> None:
        print_document(store_state(filled.snapshot), [filled.seen()], list(filled.rows().values()))

    printed = CliRunner().invoke(command).output
    document = json.loads(printed)
    assert [route["routespec"] for route in document["routes"]] == ["/user/ada/", "/user/bob/"]
    assert document["replicas"][0]["version"] == "3.7.15"
    [line] = [line for line in printed.splitlines() if "/user/bob/" in line]
    assert json.loads(line.rstrip(","))["target"] == TARGET


def test_the_document_of_no_routes_is_json_too() -> None:
    """An empty list."""
    import click

    @click.command()
    def command() -> None:
        print_document(StoreState({}), [], [])

    assert json.loads(CliRunner().invoke(command).output)["routes"] == []


def test_the_page_says_what_is_wrong_first(filled: Filled) -> None:
    """And who says so, by number if there are several."""
    now = filled.seen("http://one")
    lacking = replace(now, name="http://two", revision=1, routers={ADA: now.routers[ADA]})
    rows = list(compare(store_state(filled.snapshot), [now, lacking], filled.layout))
    out = plain_console(width=160)
    lines = rendered(
        out, page("below 'traefik'", store_state(filled.snapshot), [now, lacking], rows, rows)
    ).splitlines()
    assert lines[0] == "[1] http://one: version 3.7.15, has loaded what the store holds"
    assert lines[1] == "[2] http://two: version 3.7.15, has not loaded what the store holds"
    assert lines[2] == "2 routes in the store, below 'traefik'; 1 differs."
    assert lines[5].split()[:5] == ["/user/bob/", TARGET, "/user/bob/", "served", "pending"]
    assert lines[5].rstrip().endswith("Traefik does not know the router yet.")
    assert lines[6].split() == ["/user/ada/", TARGET, "/user/ada/", "served", "served"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "0 routes in the store, below 'traefik'."),
        ("filtered", "2 routes in the store, below 'traefik'; all served by Traefik."),
        ("unreachable", "2 routes in the store, below 'traefik'; not every Traefik answers."),
    ],
)
def test_the_page_claims_only_what_was_seen(filled: Filled, kind: str, said: str) -> None:
    """Nothing is served of no routes, or by a Traefik that says nothing; a choice of none is said to be one."""
    seen = [
        TraefikState("http://one", problem="It cannot be reached.")
        if kind == "unreachable"
        else filled.seen("http://one")
    ]
    held = store_state(filled.snapshot)
    rows = [] if kind == "empty" else list(compare(held, seen, filled.layout))
    lines = rendered(plain_console(width=160), page("below 'traefik'", held, seen, rows, [])).splitlines()
    assert lines[1] == said
    assert lines[2:] == ([] if kind == "empty" else ["None of them matches --prefix and --differing."])


def test_texts_from_the_store_are_no_markup(filled: Filled) -> None:
    """A server's name can neither choose colours nor break the table."""
    store = Filled("/user/%5Bred%5Dx/")
    out = plain_console(width=160, colours=True)
    printed = rendered(out, page("", store_state(store.snapshot), [store.seen()], [], list(store.rows().values())))
    assert "/user/%5Bred%5Dx/" in printed
    data = {"user": "[bold red]ada[/]\x1b[2J"}
    row = replace(filled.rows()[ADA], route=make_route("/user/ada/", TARGET, data))
    assert "[bold red]ada[/]\\x1b[2J" in rendered(
        out, page("", store_state(store.snapshot), [filled.seen()], [], [row])
    )


def test_routes_are_chosen_by_prefix_and_difference(filled: Filled) -> None:
    """Both at once."""
    rows = list(filled.rows().values())
    assert [row.name for row in Choice("/user/a").of(rows)] == [ADA]
    assert Choice("", differing=True).of(rows) == []
    assert [row.name for row in Choice("/user/b", True).of([rows[0], replace(rows[1], store="x")])] == [BOB]


def test_data_says_whose_a_route_is() -> None:
    """As JupyterHub fills it in."""
    assert whose({"user": "ada", "server_name": ""}) == "ada"
    assert whose({"tags": ["x"]}) == ""


def test_additions_of_a_hook_are_compared_as_the_hub_would_write_them() -> None:
    """And where it fails now, the row says that the hub does not serve the route."""

    def change(route: Route, configuration: dict[str, Any]) -> None:
        configuration["middlewares"]["zip"] = {"compress": {}}

    def fail(route: Route, configuration: dict[str, Any]) -> None:
        if "ada" in route.routespec:
            raise LookupError("no ada")
        change(route, configuration)

    filled = Filled("/user/ada/", "/user/bob/", layout=Layout(customize=customizing([Hook("the hook", change)])))
    assert not any(row.differs for row in filled.rows().values())
    rows = compare(
        store_state(filled.snapshot), [filled.seen()], Layout(customize=customizing([Hook("the hook", fail)]))
    )
    ada, bob = sorted(rows, key=lambda row: row.name != ADA)
    assert ada.store == "The hub does not serve it. the hook failed for the route '/user/ada/': LookupError: no ada"
    assert not bob.differs
