"""The law of routing, on a model of Traefik: requests lead where longest-prefix matching leads."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route, make_route, parse_routespec
from kvproxy.routing.rule import quote_argument, rule, rule_and_priority
from kvproxy.testing import rule_model
from kvproxy.testing.conformance import oracle

from ..strategies import names, routes, spell, spellings


def routers_of(table: list[Route]) -> dict[str, dict[str, object]]:
    """The routers of a compiled table, by name."""
    routers: dict[str, dict[str, object]] = {}
    for route in table:
        for key, value in encode_route(route, Layout()).config.items():
            parts = key.split("/")
            if parts[:2] == ["http", "routers"]:
                routers.setdefault(parts[2], {})[parts[3]] = value
    return routers


def assert_leads_right(table: list[Route], host: str, path: str) -> None:
    """Compare the compiled table with the oracle on one request."""
    wanted = oracle.lead(table, host, path)
    found = rule_model.lead(routers_of(table), host, path)
    assert found == (wanted and ALONE.route(wanted.key)), (host, path)


@given(st.data())
def test_requests_lead_where_longest_prefix_matching_leads(drawn: st.DataObject) -> None:
    """For any table, any host, and any path near one of its routes, in any spelling."""
    table = list({route.key: route for route in drawn.draw(st.lists(routes(), min_size=1, max_size=6))}.values())
    near = drawn.draw(st.sampled_from(table))
    segments = [*near.spec.segments, *drawn.draw(st.lists(names, max_size=2))]
    path = "/" + "/".join(drawn.draw(spellings(segment)) for segment in segments)
    path += drawn.draw(st.sampled_from(["", "/", "x", "/lab?next=/user/x", "1/"]))
    host = drawn.draw(st.sampled_from([near.spec.host or "example.org", "other.example.org"]))
    assert_leads_right(table, host, path)


@given(names, names)
def test_a_longer_name_is_another_user(name: str, more: str) -> None:
    """``/user/xy`` is not below ``/user/x``."""
    table = [make_route(f"/user/{spell(name)}/", "http://h", {})]
    assert_leads_right(table, "h", f"/user/{spell(name)}{spell(more)}/")


@given(routes())
@example(make_route("/user/ada/" + spell("x`) || HostRegexp(`.*") + "/", "http://h", {}))
def test_no_text_changes_the_structure_of_a_rule(route: Route) -> None:
    """A rule parses, and has no matchers but those that its kind of route has."""
    text = rule(route.spec)
    rule_model.parse(text)
    assert text.isascii()
    assert text.isprintable()
    words = [match.group("word") for match in rule_model._TOKEN.finditer(text) if match.group("word")]
    assert words in (
        [["Host"], []][route.spec.host == ""] + kind
        for kind in (["PathPrefix"], ["Path", "PathPrefix"], ["PathRegexp"])
    )


@given(st.text())
def test_a_quoted_argument_is_one_string(text: str) -> None:
    """No text ends its own quotation."""
    assert rule_model._unquote_go(quote_argument(text)) == text or any("\ud800" <= c <= "\udfff" for c in text)


@given(routes(), names)
def test_priority_grows_with_the_path(route: Route, name: str) -> None:
    """A route below another wins over it."""
    below = parse_routespec(f"{route.key}{spell(name)}/")
    assert rule_and_priority(below)[1] > rule_and_priority(route.spec)[1]


def test_plain_routes_need_no_priority_key() -> None:
    """Three keys a route, as Traefik's own priority is the right one."""
    assert len(encode_route(make_route("/user/ada-lovelace/", "http://h", {}), Layout()).config) == 3
    assert len(encode_route(make_route("/", "http://h", {}), Layout()).config) == 3
    assert len(encode_route(make_route("/user/a@b/", "http://h", {}), Layout()).config) == 4
