"""Which routers have the hub's pages for servers that do not answer, and what is set up for that."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kvproxy.proxy.setup import make_access, make_setup
from kvproxy.routing.encode import encode_group, encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.flatten import flatten
from kvproxy.routing.group import Group
from kvproxy.routing.names import ALONE, Names, is_kvproxys
from kvproxy.routing.root_routers import RootRouters, parse_excepted
from kvproxy.routing.route import make_route
from kvproxy.traefik.features import Features
from kvproxy.traefik.readiness import Pending, Ready, judge
from kvproxy.traefik.setup.error_pages import pages_configuration
from kvproxy_redis import TraefikRedisProxy

LAYOUT = Layout(roots=RootRouters(pages=ALONE.pages, excepted=parse_excepted(["/services/gateway/", "/user/*/raw/"])))
GROUP, INNER = Group("/user/"), Group("/user/", ("a", "b"))
MIDDLEWARES = f"http/middlewares/{ALONE.pages}/errors/"


def with_pages(keys: Any) -> list[str]:
    """The keys by which routers have the pages."""
    return [key for key, value in keys.items() if key.startswith("http/routers/") and value == ALONE.pages]


def test_every_route_has_them_that_is_behind_nothing() -> None:
    """The hub's and services' too: monitors and balancers try again after a 503 only."""
    for data in ({"hub": True}, {"service": "x"}, {"extra": True}, {}, {"user": "ada", "server_name": ""}):
        route = make_route("/x/", "http://h:1", data)
        assert len(with_pages(encode_route(route, LAYOUT).config)) == 1
        assert with_pages(encode_route(route, Layout()).config) == []
        assert with_pages(encode_route(route, replace(LAYOUT, rooted=True)).config) == []


@pytest.mark.parametrize(
    ("routespec", "excepted"),
    [
        ("/services/gateway/", True),
        ("/services/gateway/below/", True),
        ("hub.example.org/services/gateway/", True),
        ("/user/ada/raw/", True),
        ("/services/gateways/", False),
        ("/services/", False),
        ("/user/ada/lab/", False),
    ],
)
def test_single_routes_can_go_without(routespec: str, excepted: bool) -> None:
    """Where Traefik has no root routers, those whose whole path is excepted."""
    assert bool(with_pages(encode_route(make_route(routespec, "http://h:1", {}), LAYOUT).config)) is not excepted


def test_routes_in_a_group_have_them_from_the_outermost_router() -> None:
    """So they cost no key there."""
    user = make_route("/user/ada/", "http://h:1", {"user": "ada"})
    assert with_pages(encode_route(user, LAYOUT, INNER).config) == []
    assert len(with_pages(encode_group(GROUP, None, True, encode_route(user, LAYOUT), LAYOUT).config)) == 1
    assert with_pages(encode_group(INNER, GROUP, True, encode_route(user, LAYOUT), LAYOUT).config) == []


@pytest.mark.parametrize("target", ["http://h:1", "http://h:1/below"])
def test_a_route_without_them_in_traefik_is_not_ready(target: str) -> None:
    """Beside the middleware that a target's path needs, and before it."""
    entry = encode_route(make_route("/user/ada/", target, {"user": "ada"}), LAYOUT)
    name = ALONE.route("/user/ada/")
    own = [f"{name}@redis"] if target.endswith("below") else []
    rule = entry.config[f"http/routers/{name}/rule"]
    router = {
        "rule": rule,
        "service": name,
        "priority": int(entry.config.get(f"http/routers/{name}/priority", len(rule))),
    }
    service = {"loadBalancer": {"servers": [{"url": "http://h:1"}]}, "status": "enabled"}
    assert judge(entry, {**router, "middlewares": [f"{ALONE.pages}@redis", *own]}, service) == Ready()
    for middlewares in ([], own, [*own, f"{ALONE.pages}x@redis"]):
        assert isinstance(judge(entry, {**router, "middlewares": middlewares}, service), Pending)


def test_the_hub_is_asked_where_it_is() -> None:
    """With the certificates of `internal_ssl` where it has them; nothing of the request goes into its log."""
    made = flatten(pages_configuration("https://hub.example.org:8081/base/hub/", "certificates", version=(3, 7)))
    assert made == {
        f"http/services/{ALONE.pages}/loadBalancer/servers/0/url": "https://hub.example.org:8081",
        f"http/services/{ALONE.pages}/loadBalancer/serversTransport": "certificates",
        f"http/services/{ALONE.pages}/middlewares/0": ALONE.cookieless,
        f"{MIDDLEWARES}status/0": "502",
        f"{MIDDLEWARES}status/1": "504",
        f"{MIDDLEWARES}service": ALONE.pages,
        f"{MIDDLEWARES}query": "/base/hub/error/503",
        f"{MIDDLEWARES}statusRewrites/502-504": "503",
        f"{MIDDLEWARES}errorRequestHeaders": "Accept,Accept-Language,X-Forwarded-For,X-Forwarded-Host,X-Forwarded-Port,"
        "X-Forwarded-Proto,X-Real-Ip,X-Scheme",
        f"http/middlewares/{ALONE.cookieless}/headers/customRequestHeaders/Sec-Fetch-Mode": "no-cors",
    }
    assert all(map(is_kvproxys, made))
    plain = flatten(pages_configuration("http://127.0.0.1:8081/hub/", "certificates", Names("blue")))
    assert f"http/services/{ALONE.pages}-blue/loadBalancer/servers/0/url" in plain
    assert not [key for key in plain if "statusRewrites" in key or "serversTransport" in key or ALONE.cookieless in key]


def set_up(version: tuple[int, ...] = (3, 7), **traits: Any) -> tuple[str, dict[str, str]]:
    """The pages' name in the layout, and the keys of the set-up."""
    proxy = TraefikRedisProxy(public_url="http://127.0.0.1:8000", **traits)
    secret = b"0" * 32
    keys = flatten(make_setup(proxy, make_access(proxy, secret), secret, Features(version)))
    roots = proxy.layout(()).roots
    pages = roots.pages if roots is not None else ""
    return pages, {key: value for key, value in keys.items() if key.startswith(MIDDLEWARES)}


def test_a_version_that_would_refuse_the_key_does_not_get_it() -> None:
    """One key that Traefik does not know stops all updates."""
    hub = SimpleNamespace(url="http://127.0.0.1:8081/hub/")
    rewrites, headers = f"{MIDDLEWARES}statusRewrites/502-504", f"{MIDDLEWARES}errorRequestHeaders"
    assert set(set_up((3, 4), hub=hub)[1]) == set(set_up((3, 7), hub=hub)[1]) - {headers}
    assert set(set_up((3, 3, 7), hub=hub)[1]) == set(set_up((3, 7), hub=hub)[1]) - {headers, rewrites}


@pytest.mark.parametrize("hub", [None, SimpleNamespace(url="http+unix://%2Ftmp%2Fhub/hub/")])
def test_without_a_hub_that_traefik_reaches_there_are_none(hub: Any) -> None:
    """Nor a name that leads nowhere."""
    assert set_up(hub=hub) == ("", {})


def test_routes_of_a_hub_that_wants_none_have_none() -> None:
    """The middleware stays, so that no route names one that is not there while the change is made."""
    pages, keys = set_up(hub=SimpleNamespace(url="http://127.0.0.1:8081/hub/"), error_pages=False)
    assert pages == ""
    assert f"{MIDDLEWARES}service" in keys


def test_nothing_is_set_up_where_others_do_it() -> None:
    """So no route may name it."""
    hub = SimpleNamespace(url="http://127.0.0.1:8081/hub/")
    assert set_up(hub=hub, should_start=False, enable_setup_dynamic_config=False) == ("", {})
