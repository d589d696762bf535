"""Answers to requests that match no route, and requests that may be answered with a page of the hub's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from traitlets import TraitError

from kvproxy.errors import ConfigurationError
from kvproxy.proxy.setup import make_access, make_setup
from kvproxy.routing.flatten import flatten
from kvproxy.routing.group import Group
from kvproxy.routing.names import ALONE, Names, is_kvproxys
from kvproxy.routing.root_routers import RootRouters, parse_excepted, public_configuration
from kvproxy.routing.route import parse_routespec
from kvproxy.testing import rule_model
from kvproxy.traefik.features import Features
from kvproxy.traefik.static_config import StaticSettings, static_configuration
from kvproxy_redis import TraefikRedisProxy

HTML = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


def leads(roots: RootRouters, path: str, rooted: bool = True, **headers: str) -> list[str]:
    """The routers that a request without a route passes."""
    return rule_model.ways(roots.routers((), rooted), "h.org", path, headers)


@pytest.mark.parametrize(
    ("headers", "paged"),
    [
        ({}, True),
        ({"Accept": HTML}, True),
        ({"Accept": "*/*"}, True),
        ({"Accept": "TEXT/HTML"}, True),
        ({"Accept": "application/json"}, False),
        ({"Accept": "text/event-stream"}, False),
        ({"Upgrade": "websocket"}, False),
        ({"Upgrade": "websocket", "Accept": HTML}, False),
    ],
)
def test_pages_are_for_clients_that_accept_html(headers: dict[str, str], paged: bool) -> None:
    """A websocket shows none, and neither does a client that names what it takes."""
    root = ALONE.html_root if paged else ALONE.plain_root
    assert leads(RootRouters(), "/user/ada/lab", **headers) == [root, ALONE.not_found]


def test_paths_can_be_excepted() -> None:
    """With what is below them, in every spelling; a star stands for one segment."""
    roots = RootRouters(excepted=parse_excepted(["/services/gateway", "/user/*/proxy/"]))
    for path in ("/services/gateway", "/services/gateway/x", "/user/ada/proxy/80/", "/user/a%2Bb/proxy"):
        assert leads(roots, path)[0] == ALONE.plain_root, path
    for path in ("/services/gateways/", "/services/", "/user/proxy/", "/user/ada/x/proxy/", "/user/ada/proxyx"):
        assert leads(roots, path)[0] == ALONE.html_root, path


@pytest.mark.parametrize("path", ["services/gateway/", "/a/%zz/", ""])
def test_an_exception_that_is_no_path_is_refused(path: str) -> None:
    """With the setting, before anything is done."""
    with pytest.raises((ConfigurationError, TraitError), match=r"c\.TraefikProxy\.error_pages_except"):
        TraefikRedisProxy(error_pages_except=[path])


def test_requests_that_match_no_route_are_answered_with_and_without_root_routers() -> None:
    """By the last router."""
    for rooted in (True, False):
        assert leads(RootRouters(), "/", rooted)[-1] == ALONE.not_found
    # An administrator's own router at the same entry point comes first.
    routers = {**RootRouters().routers((), True), "mine": {"rule": 'Path("/robots.txt")', "service": "mine"}}
    assert rule_model.lead(routers, "h.org", "/robots.txt") == "mine"


def test_of_several_hubs_each_answers_for_itself() -> None:
    """One below a path, one at a host; the innermost comes first."""
    outer = RootRouters(Names("outer"), scope=parse_routespec("/"))
    inner = RootRouters(Names("inner"), scope=parse_routespec("/inner/"))
    other = RootRouters(Names("other"), scope=parse_routespec("other.org/"))
    routers = {name: one for roots in (outer, inner, other) for name, one in roots.routers((), True).items()}

    def owner(host: str, path: str, **headers: str) -> str:
        return rule_model.ways(routers, host, path, headers)[-1].rpartition("-")[2]

    for headers in ({}, {"Upgrade": "websocket"}):
        assert owner("h.org", "/inner/hub/", **headers) == "inner"
        assert owner("h.org", "/innermost/", **headers) == "outer"
        assert owner("other.org", "/inner/hub/", **headers) == "other"
    assert inner.routers((), False) == {}
    assert list(other.routers((), False)) == [Names("other").not_found]


def test_a_hub_beside_others_has_its_own_routes_only_behind_its_root_routers() -> None:
    """An extra route elsewhere is at the entry point, as it would never be reached else."""
    roots = RootRouters(Names("b"), scope=parse_routespec("/b/"))
    assert all(roots.reach(parse_routespec(spec)) for spec in ("/b/", "/b/user/ada/"))
    assert not any(roots.reach(parse_routespec(spec)) for spec in ("/", "/bb/", "h.org/b/"))
    assert roots.reach(Group("/b/user/"))
    assert not roots.reach(Group("/b"))
    assert RootRouters().reach(Group("/b"))


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/user/ada/../bob/", True),
        ("/user/ada/./lab", True),
        ("/..", True),
        ("/user/ada/%2e%2E/bob/", True),
        ("/user/ada/.%2e", True),
        ("/user/ada/..%2Fbob", False),
        ("/user/ada/.hidden/..x/x../a..b", False),
        ("/user/ada/lab?a=/../", False),
        ("/user/ada//lab", False),
    ],
)
def test_dot_segments_are_refused(path: str, refused: bool) -> None:
    """Before everything else; names that begin or end with dots are none."""
    configuration = public_configuration(ALONE, (), None, health=False)
    routers = {**configuration["http"]["routers"], **RootRouters().routers((), True)}
    assert (rule_model.lead(routers, "h.org", path) == ALONE.dot_segments) is refused


def test_everything_is_at_the_hubs_entry_point_and_known_as_its_own() -> None:
    """Of an external Traefik, where others may be the default ones."""
    proxy = TraefikRedisProxy(
        public_url="http://127.0.0.1:8000/jh/",
        should_start=False,
        traefik_entrypoint="web",
        hub=SimpleNamespace(url="http://127.0.0.1:8081/jh/hub/"),
    )
    able = Features((3, 7), metrics=True, ping=True)
    secret = b"0" * 32
    made: dict[str, Any] = make_setup(proxy, make_access(proxy, secret), secret, able, entry_points=("web",))
    roots = proxy.layout(("web",)).roots
    assert roots is not None
    routers = {**made["http"]["routers"], **roots.routers(("web",), True)}
    public = {name for name, router in routers.items() if router.get("entryPoints") == ["web"]}
    assert public == {ALONE.dot_segments, ALONE.health, ALONE.html_root, ALONE.plain_root}
    assert all(map(is_kvproxys, flatten({"http": {"routers": routers, "middlewares": made["http"]["middlewares"]}})))
    page = made["http"]["middlewares"][ALONE.not_found]["errors"]
    assert (page["status"], page["query"], page["statusRewrites"]) == (["418"], "/jh/hub/error/404", {"418-418": 404})


def test_a_traefik_without_a_ping_gets_no_router_to_it() -> None:
    """A router to a service that is not there is an error in its log at each reload."""
    assert ALONE.health in public_configuration(ALONE, (), None, health=True)["http"]["routers"]
    assert ALONE.health not in public_configuration(ALONE, (), None, health=False)["http"]["routers"]


def test_where_the_hub_cannot_be_asked_what_fits_no_route_is_a_plain_404() -> None:
    """Without a hub, and before Traefik 3.4, which could not give its page a status."""
    plain = {"ipAllowList": {"sourceRange": ["255.255.255.255/32"], "rejectStatusCode": 404}}
    secret = b"0" * 32
    for hub, version in ((None, (3, 7)), (SimpleNamespace(url="http://127.0.0.1:8081/hub/"), (3, 3, 7))):
        proxy = TraefikRedisProxy(public_url="http://127.0.0.1:8000/", hub=hub)
        made = make_setup(proxy, make_access(proxy, secret), secret, Features(version))
        assert made["http"]["middlewares"][ALONE.not_found] == plain


def entry_point(version: tuple[int, ...] = (3, 7), **settings: Any) -> dict[str, Any]:
    """The public entry point of the static configuration."""
    urls = {"public_url": "http://127.0.0.1:8000/", "api_url": "http://127.0.0.1:8099"}
    names = {"entry_point": "http", "api_entry_point": "auth_api", "provider": {}}
    made = static_configuration(StaticSettings(**urls, **names, version=version, **settings))
    return dict(made["entryPoints"]["http"])


@pytest.mark.parametrize(("version", "raw"), [((3, 0, 4), None), ((3, 3, 5), None), ((3, 3, 6), False), ((3,), False)])
def test_paths_stay_as_they_are_where_traefik_can_be_told_so(version: tuple[int, ...], raw: bool | None) -> None:
    """An older one does not start with the field; of an unknown version the newest is assumed."""
    assert entry_point(version)["http"].get("sanitizePath") is raw
    assert entry_point(version)["http"]["encodeQuerySemicolons"] is True


def test_no_proxy_is_trusted_unless_named() -> None:
    """Any other client could claim any address."""
    assert "forwardedHeaders" not in entry_point()
    assert entry_point(trusted=("10.0.0.0/8",))["forwardedHeaders"] == {"trustedIPs": ["10.0.0.0/8"]}
    proxy = TraefikRedisProxy(trusted_proxies=["10.1.2.3/8", "192.168.1.5", "fd00::1"])
    assert proxy.static_settings({}, (3, 7)).trusted == ("10.0.0.0/8", "192.168.1.5/32", "fd00::1/128")


@pytest.mark.parametrize("network", ["balancer", "10.0.0.0/33", "", "10.0.0.0/8,192.168.0.0/16"])
def test_a_trusted_proxy_that_is_no_network_is_refused(network: str) -> None:
    """With the setting and with what would be one."""
    with pytest.raises((ConfigurationError, TraitError), match=r"c\.TraefikProxy\.trusted_proxies.*10\.0\.0\.0/8"):
        TraefikRedisProxy(trusted_proxies=[network])


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (3600, "3600s"), (90.5, "90.5s"), (10_000_000, "10000000s")])
def test_the_limit_for_reading_a_request_is_told(seconds: float, text: str) -> None:
    """An hour unless another one is set."""
    assert entry_point(read_timeout=seconds)["transport"]["respondingTimeouts"] == {"readTimeout": text}
    assert TraefikRedisProxy().static_settings({}, (3, 7)).read_timeout == 3600
