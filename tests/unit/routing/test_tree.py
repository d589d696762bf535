"""The law of routing on the routing tree, in every state that a Traefik may see while the tree changes."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvproxy.hooks.customize import Hook, customizing
from kvproxy.routing.encode import encode_setup
from kvproxy.routing.entry import Entry, Layout
from kvproxy.routing.group import NO_REQUEST, Group, Limits, divide, stem
from kvproxy.routing.names import ALONE
from kvproxy.routing.root_routers import RootRouters
from kvproxy.routing.route import Route, RouteSpec, make_route
from kvproxy.routing.table import DesiredTable
from kvproxy.testing import rule_model
from kvproxy.testing.conformance import oracle

from ..strategies import _ways, names, spell

SMALL = Limits(most=4, least=2)
#: A service of Traefik's own, which is always there.
INTERNAL = "noop@internal"
#: Requests that may be answered with a page, and others.
HEADERS = [{}, {"Accept": "*/*"}, {"Accept": "application/json"}, {"Upgrade": "websocket"}]
#: Names with much in common, names that begin one another, and whatever strangers may choose.
alike = st.one_of(
    st.text(st.sampled_from("ab"), min_size=1, max_size=5),
    st.text(st.sampled_from("a+%/é"), min_size=1, max_size=3),
    names,
).filter(lambda name: name not in {".", ".."})


@st.composite
def specs(draw: st.DrawFn, hosts: bool) -> str:
    """Routespecs near one another, with hosts or without."""
    host = draw(st.sampled_from(["ada.h.org", "adam.h.org", "b.h.org", "h.org", "ada.h.organic"])) if hosts else ""
    path = "".join(spell(name) + "/" for name in draw(st.lists(alike, max_size=3)))
    routespec = f"{host}/user/{path}" if draw(st.booleans()) else f"{host}/{path}"
    return routespec if routespec != "/" else "/hub/"


#: With root routers in front of all routes, and without.
rooting = st.sampled_from([None, RootRouters(pages=ALONE.pages)])


def made(routespec: str, port: int = 1) -> Route:
    data = {"user": "x"} if "/user/" in routespec else {}
    return make_route(routespec, f"http://127.0.0.1:{port}", data)


def flat(entries: Mapping[str, Entry]) -> dict[str, str]:
    return {key: value for entry in entries.values() for key, value in entry.config.items()}


def routers_of(config: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """The view of a Traefik that sees these keys."""
    routers: dict[str, dict[str, object]] = {}
    for key, value in config.items():
        parts = key.split("/")
        if parts[:2] == ["http", "routers"]:
            routers.setdefault(parts[2], {})[parts[3]] = value
    # A router whose service is not there is none.
    return {
        name: router
        for name, router in routers.items()
        if router.get("service", INTERNAL) == INTERNAL
        or f"http/services/{router['service']}/loadBalancer/servers/0/url" in config
    }


def served(config: Mapping[str, str], host: str, path: str, headers: Mapping[str, str] | None = None) -> str | None:
    """The service that a request reaches, None if no route's."""
    routers = routers_of(config)
    name = rule_model.lead(routers, host, path, headers)
    return str(routers[name]["service"]) if name is not None and routers[name]["service"] != INTERNAL else None


class Hub:
    """A table whose edits are made one after another, as a hub's are."""

    def __init__(
        self,
        hosts: bool,
        limits: Limits = SMALL,
        kind: str = "tree",
        hooks: tuple[Hook, ...] = (),
        roots: RootRouters | None = None,
    ):
        layout = Layout(kind=kind, hosts=hosts, limits=limits, threshold=6, customize=customizing(hooks), roots=roots)
        self.table = DesiredTable(layout, encode_setup({}), True)
        self.hosts = hosts
        self.routes: dict[str, Route] = {}

    def toggle(self, routespec: str) -> None:
        route = made(routespec)
        name = ALONE.route(route.key)
        if self.routes.pop(name, None) is None:
            self.routes[name] = route
            self.table.put(self.table.entry(route))
        else:
            self.table.drop(name)

    def settle(self) -> int:
        steps = 0
        while self.table.step(lambda name: False, None):
            steps += 1
            assert steps < 100
        return steps

    def expect(self, config: Mapping[str, str], host: str, path: str, headers: Mapping[str, str]) -> None:
        wanted = oracle.lead(self.routes.values(), host, path)
        assert served(config, host, path, headers) == (wanted and ALONE.route(wanted.key)), (host, path, headers)


def near_requests(hub: Hub, chance: random.Random, count: int) -> list[tuple[str, str, dict[str, str]]]:
    """Requests for routes, below them, and near them, in all spellings."""
    found = []
    routes = list(hub.routes.values()) or [made("/user/ada/")]
    for _ in range(count):
        near = chance.choice(routes).spec
        more = chance.choice([(), ("a",), ("x", "lab")])
        segments = ["".join(chance.choice(_ways(c)) for c in segment) for segment in (*near.segments, *more)]
        end = chance.choice(["", "/", "x", "a/", "/lab?next=/user/x"])
        host = chance.choice([near.host or "h.org", "adab.h.org"])
        found.append((host, "/" + "/".join(segments) + end, chance.choice(HEADERS)))
    return found


@given(st.lists(st.lists(specs(False), max_size=8), max_size=4), rooting, st.randoms(use_true_random=True))
def test_requests_lead_right_in_every_state_that_a_traefik_may_see(
    edits: list[list[str]], roots: RootRouters | None, chance: random.Random
) -> None:
    """Routes come and go; in between the tree takes its steps, and readers see any part of each."""
    live(Hub(False, roots=roots), edits, chance)


@given(st.lists(st.lists(specs(True), max_size=8), max_size=4), rooting, st.randoms(use_true_random=True))
def test_longest_prefix_wins_with_hosts(
    edits: list[list[str]], roots: RootRouters | None, chance: random.Random
) -> None:
    """As the one before, for a hub that gives every user a domain."""
    live(Hub(True, roots=roots), edits, chance)


def live(hub: Hub, edits: list[list[str]], chance: random.Random) -> None:
    """Make the edits, with some steps after each, and look at every state that there is."""
    if not hub.hosts:
        # As in every hub; without it a reader who sees only parts might take a 404 for the nearest route above.
        hub.toggle("/")
    for routespecs in edits:
        for routespec in routespecs:
            hub.toggle(routespec)
        for _ in range(chance.randrange(9)):
            before = flat(hub.table.entries)
            if not hub.table.step(lambda name: False, chance.choice([None, 1, 2])):
                break
            after = flat(hub.table.entries)
            for state in (after, torn(before, after, chance), torn(before, after, chance)):
                for request in near_requests(hub, chance, 4):
                    hub.expect(state, *request)


def torn(before: Mapping[str, str], after: Mapping[str, str], random: random.Random) -> dict[str, str]:
    """A part of a commit: of every key the old state or the new one."""
    seen = {key: random.choice([before.get(key), after.get(key)]) for key in {**before, **after}}
    return {key: value for key, value in seen.items() if value is not None}


@given(st.lists(specs(False), max_size=20), rooting, st.randoms(use_true_random=True))
def test_a_restart_finds_the_tree_as_it_is(
    routespecs: list[str], roots: RootRouters | None, chance: random.Random
) -> None:
    """At any step, nothing is written, and it goes on from there."""
    hub, again = Hub(False, roots=roots), Hub(False, roots=roots)
    for routespec in routespecs:
        hub.toggle(routespec)
    for _ in range(chance.randrange(7)):
        hub.table.step(lambda name: False, chance.choice([None, 1]))
    found = {name: Entry(name, entry.config, entry.records) for name, entry in hub.table.entries.items()}
    again.table.restore(found)
    again.routes = hub.routes
    assert not again.table.take_rerooted()
    assert {name: (entry.config, entry.records) for name, entry in again.table.entries.items()} == {
        name: (entry.config, entry.records) for name, entry in found.items()
    }
    again.settle()
    for request in near_requests(again, chance, 8):
        again.expect(flat(again.table.entries), *request)


@settings(deadline=None)
@given(st.lists(specs(False), max_size=20, unique=True), rooting)
def test_a_traefik_without_groups_gets_none(routespecs: list[str], roots: RootRouters | None) -> None:
    """At once, as it could not even read them; and after a restart over a tree as well."""
    hub = Hub(False, roots=roots)
    for routespec in routespecs:
        hub.toggle(routespec)
    hub.settle()
    found = dict(hub.table.entries)
    plain = Hub(False, roots=roots)
    plain.table.allow_groups(False)
    for route in hub.routes.values():
        plain.toggle(route.routespec)
    changed = set(hub.table.allow_groups(False))
    assert hub.table.entries == plain.table.entries
    assert changed >= {name for name in found if hub.table.entries.get(name) != found[name]}
    later = Hub(False, roots=roots)
    later.table.allow_groups(False)
    later.table.restore(found)
    assert later.table.entries == plain.table.entries


SCHEMES = {
    "numbers": lambda n: f"student{n:05d}",
    "names": lambda n: f"{['ada', 'bob', 'cyd', 'dan', 'eve'][n % 5]}.{['smith', 'jones', 'brown'][n // 5 % 3]}{n}",
    "e-mail addresses": lambda n: f"{n * 7919 % 10007}@students.example.org",
    "hashes": lambda n: f"{n * 2654435761 % 2**32:08x}",
    "phone numbers": lambda n: f"+49 {n * 7919 % 10007:05d}",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_parent_has_too_many_children(scheme: str) -> None:
    """However users are named, and however they come and go; and at the end nothing is left."""
    hub, limits = Hub(False, Limits()), Limits()
    hub.toggle("/")
    everybody = [f"/user/{spell(SCHEMES[scheme](n))}/" for n in range(2000)]
    for count, routespec in enumerate(everybody):
        hub.toggle(routespec)
        if count % 50 == 0:
            hub.table.step(lambda name: False, None)
    hub.settle()
    assert max(children(hub).values()) <= limits.most
    groups = len(children(hub)) - 1
    assert 2000 / limits.most < groups < 2000 / limits.least
    for routespec in everybody[:1900]:
        hub.toggle(routespec)
    hub.settle()
    assert len(children(hub)) - 1 <= 100 / (limits.least / 2)
    for routespec in everybody[1900:]:
        hub.toggle(routespec)
    hub.settle()
    assert set(children(hub)) == {None}


def children(hub: Hub) -> dict[object, int]:
    """How many routers every parent has, besides its last one."""
    counts: dict[object, int] = {None: 0}
    for name, router in routers_of(flat(hub.table.entries)).items():
        if name.endswith("-kvg"):
            counts.setdefault(name, 0)
        if not name.endswith("-kvl"):
            counts[router.get("parentRefs")] = counts.get(router.get("parentRefs"), 0) + 1
    return counts


def test_an_edit_moves_no_other_route() -> None:
    """One user more is three keys and the group; all others stay where they are."""
    hub = Hub(False, Limits())
    for number in range(1000):
        hub.toggle(f"/user/student{number:05d}/")
    hub.settle()
    before = flat(hub.table.entries)
    hub.toggle("/user/student00500x/")
    hub.settle()
    after = flat(hub.table.entries)
    assert len(after.items() - before.items()) == 4
    assert not before.items() - after.items()


def test_automatic_groups_come_and_go_with_hysteresis() -> None:
    """Above the threshold there are groups, which stay until half of it."""
    hub = Hub(False, kind="auto")
    users = [f"/user/u{number}/" for number in range(7)]
    for user in users[:6]:
        hub.toggle(user)
    assert hub.settle() == 0
    hub.toggle(users[6])
    assert hub.settle() > 0
    for user in users[:3]:
        hub.toggle(user)
    hub.settle()
    assert len(children(hub)) > 1
    hub.toggle(users[3])
    hub.settle()
    assert set(children(hub)) == {None}


def test_a_group_that_is_not_in_use_yet_lets_no_request_pass() -> None:
    """Its first state in the store."""
    hub = Hub(False)
    for number in range(5):
        hub.toggle(f"/user/u{number}/")
    hub.table.step(lambda name: False, None)
    rules = {router["rule"] for name, router in routers_of(flat(hub.table.entries)).items() if name.endswith("-kvg")}
    assert rules == {NO_REQUEST}


def test_a_route_that_is_waited_for_is_not_moved() -> None:
    """The text that is looked for in Traefik's answers must stay the one that was written."""
    hub = Hub(False)
    for number in range(5):
        hub.toggle(f"/user/u{number}/")
    name = ALONE.route("/user/u1/")
    for _ in range(4):
        hub.table.step(lambda held: held == name, None)
    key = f"http/routers/{name}/parentRefs"
    assert key not in flat(hub.table.entries)
    hub.settle()
    assert key in flat(hub.table.entries)


def test_names_of_groups_differ() -> None:
    """One for every set of symbols."""
    groups = [Group("/user/a"), Group("/user/a", ("b", "c")), Group("/user/a", ("bc",)), Group("/user/ab", ("c",))]
    assert len({ALONE.group(group) for group in groups}) == len(groups)


def test_escapes_are_never_cut() -> None:
    """``%2F`` and ``%23`` have a character in common, ``%`` and half an escape mean nothing to Traefik."""
    stems = [stem(RouteSpec("", ("user", "a" + mark + str(number)))) for number in range(9) for mark in "/#?%"]
    for group in divide(None, stems, SMALL):
        for reach in group.reaches:
            assert "%" not in reach[-2:]
