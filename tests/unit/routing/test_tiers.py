"""Which routes may be in the hot tier, and which are moved first."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvproxy.routing.route import Route, RouteSpec, make_route
from kvproxy.routing.tiers import EVERYTHING, hindering, is_below, may_be_hot, movable
from kvproxy.testing.conformance.oracle import lead

SEGMENTS = st.sampled_from(["user", "ada", "lab", "hub"])
PLACES = st.builds(RouteSpec, st.sampled_from(["", "h.org"]), st.lists(SEGMENTS, max_size=3).map(tuple))
TABLES = st.dictionaries(PLACES, st.sampled_from(["base", "hot"]), max_size=8)


def route(spec: RouteSpec) -> Route:
    """A route at a place."""
    return make_route(spec.key, "http://127.0.0.1:1", {})


def answering(base: list[Route], hot: list[Route], catch_all: RouteSpec, asked: RouteSpec) -> Route | None:
    """The route that gets a request: the base Traefik answers, or leads to the hot one."""
    leading, request = route(catch_all), (asked.host, "/" + "/".join(asked.segments) + "/")
    found = lead([*base, leading], *request)
    return lead(hot, *request) if found is leading else found


@example({RouteSpec("", ("user",)): "base", RouteSpec("h.org", ()): "hot"}, EVERYTHING, RouteSpec("h.org", ("user",)))
@given(TABLES, st.one_of(st.just(EVERYTHING), PLACES), PLACES)
def test_a_pair_answers_as_one_table_does(
    added: dict[RouteSpec, str], catch_all: RouteSpec, request: RouteSpec
) -> None:
    """Routes are added one after another, each to the tier that it wants if it may be there."""
    base: list[Route] = []
    hot: list[Route] = [route(catch_all)]
    for spec, tier in added.items():
        settled = {one.spec for one in base}
        hostless = any(not place.host for place in settled)
        if spec == catch_all:
            continue
        if tier == "hot" and may_be_hot(spec, settled.__contains__, hostless, catch_all):
            hot.append(route(spec))
        else:
            while others := hindering(spec, [one.spec for one in hot], catch_all):
                moved = movable(others, catch_all)
                base += [one for one in hot if one.spec in moved]
                hot = [one for one in hot if one.spec not in moved]
            base.append(route(spec))
    asked = request.host, "/" + "/".join(request.segments) + "/"
    assert answering(base, hot, catch_all, request) == lead([*base, *hot], *asked)


@given(st.sets(PLACES), st.one_of(st.just(EVERYTHING), PLACES))
def test_all_hot_routes_come_to_be_moved_and_none_before_those_below_it(
    places: set[RouteSpec], catch_all: RouteSpec
) -> None:
    """Each step moves some, and all requests are answered as before."""
    hot = {spec for spec in places if is_below(spec, catch_all)} | {catch_all}
    base: list[Route] = []
    table = [route(spec) for spec in hot]
    while step := movable(hot, catch_all):
        assert not [spec for spec in step if hindering(spec, hot, catch_all)]
        base += [route(spec) for spec in step]
        hot = hot - set(step)
        for spec in {one.spec for one in table}:
            asked = spec.host, "/" + "/".join(spec.segments) + "/"
            assert answering(base, [*map(route, hot)], catch_all, spec) == lead(table, *asked)
    assert hot == {catch_all}


@pytest.mark.parametrize(
    ("catch_all", "spec"),
    [
        (RouteSpec("", ("base",)), RouteSpec("", ("base", "user", "ada"))),
        (RouteSpec("h.org", ()), RouteSpec("h.org", ("user", "ada"))),
        (EVERYTHING, RouteSpec("ada.h.org", ("user", "ada"))),
    ],
)
def test_new_servers_are_hot_below_the_hubs_own_route_wherever_that_is(catch_all: RouteSpec, spec: RouteSpec) -> None:
    """Beside a route above all of it, which loses there."""
    assert may_be_hot(spec, {EVERYTHING, catch_all}.__contains__, hostless=False, catch_all=catch_all)
