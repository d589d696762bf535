"""Which routes may be in the hot tier, and which are moved first."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from kvproxy.routing.route import Route, RouteSpec, make_route
from kvproxy.routing.tiers import EVERYTHING, hindering, may_be_hot, movable
from kvproxy.testing.conformance.oracle import lead

SEGMENTS = st.sampled_from(["user", "ada", "lab", "hub"])
PLACES = st.builds(RouteSpec, st.sampled_from(["", "h.org"]), st.lists(SEGMENTS, max_size=3).map(tuple))
TABLES = st.dictionaries(PLACES, st.sampled_from(["base", "hot"]), max_size=8)


def route(spec: RouteSpec) -> Route:
    """A route at a place."""
    return make_route(spec.key, "http://127.0.0.1:1", {})


@example({RouteSpec("", ("user",)): "base", RouteSpec("h.org", ()): "hot"}, RouteSpec("h.org", ("user",)))
@given(TABLES, PLACES)
def test_a_pair_answers_as_one_table_does(added: dict[RouteSpec, str], request: RouteSpec) -> None:
    """Routes are added one after another, each to the tier that it wants if it may be there."""
    base: list[Route] = []
    hot: list[Route] = []
    for spec, tier in added.items():
        settled = {one.spec for one in base}
        hostless = any(not place.host for place in settled)
        if spec == EVERYTHING or (tier == "hot" and may_be_hot(spec, settled.__contains__, hostless)):
            hot.append(route(spec))
        else:
            while others := hindering(spec, [one.spec for one in hot]):
                moved = movable(others)
                base += [one for one in hot if one.spec in moved]
                hot = [one for one in hot if one.spec not in moved]
            base.append(route(spec))
    asked = request.host, "/" + "/".join(request.segments) + "/"
    assert (lead(base, *asked) or lead(hot, *asked)) == lead([*base, *hot], *asked)


@given(st.sets(PLACES))
def test_all_hot_routes_come_to_be_moved_and_none_before_those_below_it(hot: set[RouteSpec]) -> None:
    """Each step moves some, and all requests are answered as before."""
    base: list[Route] = []
    table = [route(spec) for spec in hot]
    while step := movable(hot):
        assert not [spec for spec in step if hindering(spec, hot)]
        base += [route(spec) for spec in step]
        hot = hot - set(step)
        for spec in {one.spec for one in table}:
            asked = spec.host, "/" + "/".join(spec.segments) + "/"
            assert (lead(base, *asked) or lead(map(route, hot), *asked)) == lead(table, *asked)
    assert hot <= {EVERYTHING}
