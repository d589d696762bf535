"""Valid and invalid routespecs, targets and data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.errors import InvalidRouteError
from kvproxy.routing.route import make_route, parse_routespec, parse_target

from ..strategies import data, names, routes, spell


@given(names)
def test_every_name_survives_the_way_jupyterhub_writes_it(name: str) -> None:
    """The decoded name is the user's, and writing it again gives the same routespec."""
    spec = parse_routespec(f"/user/{spell(name)}/")
    assert spec.segments == ("user", name)
    assert spec.key == f"/user/{spell(name)}/"


@given(routes())
def test_the_key_does_not_depend_on_the_spelling(route: object) -> None:
    """Parsing a key gives the routespec it came from."""
    spec = route.spec  # type: ignore[attr-defined]
    assert parse_routespec(spec.key) == spec


@pytest.mark.parametrize(
    "routespec",
    [
        "",
        "no-slash",
        "/user/../",
        "/user/%2e%2E/",
        "/./",
        "/a?b/",
        "/a#b/",
        "/50%/",
        "/%zz/",
        "/%ff/",
        "/a\nb/",
        "/%00/",
        "/a%0Ab/",
        "host:80/",
        "*.example.org/",
        "-a.org/",
        "a b.org/",
        "http://h/",
        "/\ud800/",
    ],
)
def test_invalid_routespecs_are_refused(routespec: str) -> None:
    """Each with a sentence that shows the routespec."""
    with pytest.raises(InvalidRouteError, match="cannot be routed"):
        parse_routespec(routespec)


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:8000", "https://h", "http://[::1]:80", "http://localhost:9999/test"]
)
def test_targets(target: str) -> None:
    """URLs of servers, with a path or not."""
    assert parse_target(target) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "127.0.0.1:80",
        "ftp://h",
        "http://",
        "http://h:x",
        "http://h:99999",
        "http://h/?q",
        "http://h/#f",
        "http://a b",
        "http://h\n",
        "unix:///x",
        "http+unix://%2Fx",
        None,
    ],
)
def test_bad_targets_are_refused(target: str) -> None:
    """Before anything is written."""
    with pytest.raises(InvalidRouteError, match="target"):
        parse_target(target)


def test_a_password_in_a_target_is_not_repeated() -> None:
    """Errors end up in logs."""
    with pytest.raises(InvalidRouteError) as refused:
        parse_target("http://user:hunter2@h/")
    assert "hunter2" not in str(refused.value)


@given(data)
def test_data_comes_back_as_json_has_it(value: dict[str, object]) -> None:
    """Numbers, booleans, null, nesting, empty dicts, unicode."""
    assert make_route("/x/", "http://h", value).as_dict()["data"] == json.loads(json.dumps(value))


@pytest.mark.parametrize("value", [{"x": float("nan")}, {"x": b"bytes"}, {"x": {1, 2}}, [1], "text"])
def test_data_that_json_cannot_say_is_refused(value: object) -> None:
    """With a sentence, not with a TypeError from somewhere below."""
    with pytest.raises(InvalidRouteError, match="data of a route"):
        make_route("/x/", "http://h", value)  # type: ignore[arg-type]


def test_a_caller_cannot_change_a_route_through_its_dict() -> None:
    """The returned value is a copy."""
    route = make_route("/x/", "http://h", {"a": {"b": 1}})
    route.as_dict()["data"]["a"]["b"] = 2
    assert route.as_dict()["data"] == {"a": {"b": 1}}


def test_repeated_slashes_are_another_spelling() -> None:
    """Traefik merges them in a request's path, so a route with them would never be found."""
    assert parse_routespec("/a//b/") == parse_routespec("/a/b")


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No other error comes out of the parser, and what is parsed keeps its meaning."""
    try:
        spec = parse_routespec(text)
    except InvalidRouteError:
        return
    assert parse_routespec(spec.key) == spec
