"""Hooks on Redis and the real Traefik: what a user's server and browser notice; the examples are write-a-hook.md's."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from traitlets.config.loader import PyFileConfigLoader

from kvproxy.errors import ConfigurationError, HookError, RouteRejectedError
from kvproxy.proxy import KVTraefikProxy
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import Route
from kvproxy.testing.conformance.proxy_tree import until_groups
from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import EchoServer, RedisServer
from kvproxy.testing.servers.redis import TRAEFIK_RIGHTS
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_redis import TraefikRedisProxy

from .proxies import Doors, Start, add_all, making, port_of, until_true
from .test_documented_settings import HUB, AcmeServer, acme, secure  # noqa: F401 - a fixture

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-hook.md"
#: A user who may not make Redis wake Traefik for each key.
LOGIN = {"redis_traefik_username": "traefik", "redis_traefik_password": "quiet"}
QUIET = [f"traefik on >quiet {TRAEFIK_RIGHTS}"]
#: Enough to be in groups.
CROWD = [f"/user/student{number:03d}/" for number in range(80)]

Make = Callable[..., TraefikRedisProxy]


def blocks(language: str) -> list[str]:
    """The page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def documented(holding: str, directory: Path) -> dict[str, Any]:
    """The settings of TraefikProxy in the page's Python block that holds this text."""
    [text] = [block for block in blocks("python") if holding in block]
    file = directory / "documented.py"
    file.write_text(text, encoding="utf-8")
    return dict(PyFileConfigLoader(str(file)).load_config().TraefikProxy)


async def fetch(url: str, **options: Any) -> tuple[int, str, Mapping[str, str]]:
    """Status, body and headers."""
    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False, **options) as answer:
        return answer.status, await answer.text(), answer.headers


def login(password: str) -> dict[str, str]:
    """The header of a user with a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"grader:{password}".encode()).decode()}


async def fetch_echo(url: str, **options: Any) -> tuple[dict[str, str], Mapping[str, str]]:
    """The headers that the server got, in lower case, and those of its answer."""
    async with aiohttp.ClientSession() as session, session.get(url, **options) as answer:
        seen = await answer.json()
        return {name.lower(): value for name, value in seen["headers"].items()}, answer.headers


@pytest.fixture
def redis(redis_factory: Callable[..., RedisServer]) -> RedisServer:
    """A Redis that wakes Traefik once a commit, so that a tree is made quickly."""
    return redis_factory(acl=["default on nopass ~* &* +@all", *QUIET])


@pytest.fixture
def make(make_proxy: Make, redis: RedisServer) -> Make:
    """Makes proxies on it."""
    return lambda **traits: make_proxy(redis_url=redis.url, **LOGIN, **traits)


@pytest.fixture
def start(make: Make) -> Start:
    """Makes a proxy and starts it."""

    async def started(**traits: Any) -> TraefikRedisProxy:
        proxy = make(**traits)
        await proxy.start()
        return proxy

    return started


async def crowd(proxy: KVTraefikProxy, target: str, layout: str, names: Iterable[str] = CROWD) -> None:
    """Many routes, in groups unless they are to be flat."""
    await add_all(proxy, [(spec, target) for spec in names])
    store = proxy.open_store(proxy.roots)
    await store.check()
    await until_groups(store, lambda count: (count > 0) == (layout == "tree"), 30)
    await store.aclose()


@pytest.mark.parametrize("layout", ["flat", "tree"])
async def test_the_documented_header_reaches_the_server_and_the_browser(
    layout: str, start: Start, echo_server: Callable[..., EchoServer], doors: Doors, redis: RedisServer, tmp_path: Path
) -> None:
    """For users only; each has a header of its own. Of a route that goes nothing is left."""
    proxy, echo = await start(route_layout=layout, **documented("X-Jupyter-User", tmp_path)), echo_server()
    await proxy.add_route("/", echo.url, {"hub": True})
    await crowd(proxy, await doors.open(), layout)
    for user in ("ada", "bob"):
        await proxy.add_route(f"/user/{user}/", echo.url, {"user": user, "server_name": ""})
    for user in ("ada", "bob"):
        asked, answered = await fetch_echo(f"{proxy.public_url}user/{user}/lab")
        assert (asked["x-jupyter-user"], answered["X-Robots-Tag"]) == (user, "noindex")
    asked, answered = await fetch_echo(f"{proxy.public_url}hub/home")
    assert "x-jupyter-user" not in asked
    assert "X-Robots-Tag" not in answered
    digest = ALONE.route("/user/ada/").partition("-")[0]
    assert len(redis.command("KEYS", f"traefik/*{digest}*")) > 3
    await proxy.delete_route("/user/ada/")
    assert redis.command("KEYS", f"traefik/*{digest}*") == []
    assert (await fetch_echo(f"{proxy.public_url}user/bob/"))[0]["x-jupyter-user"] == "bob"


async def test_the_documented_setting_removes_headers_that_may_be_taken_for_others(
    make: Make, echo_server: Callable[..., EchoServer], tmp_path: Path
) -> None:
    """Without it they arrive as they were sent; a hook's header arrives in either case."""
    hook, echo = documented("X-Jupyter-User", tmp_path), echo_server()
    for settings, arrives in [({}, True), (documented("aliasHeadersStrategy", tmp_path), False)]:
        proxy = make(**hook, **settings)
        await proxy.start()
        await proxy.add_route("/user/ada/", echo.url, {"user": "ada", "server_name": ""})
        sent = {"X_Color": "red", "X-Size": "small"}
        asked, _ = await fetch_echo(f"{proxy.public_url}user/ada/", headers=sent)
        assert (asked["x-jupyter-user"], asked["x-size"]) == ("ada", "small")
        assert ("x_color" in asked) == arrives
        await proxy.stop()


async def test_the_documented_limit_is_kept(start: Start, doors: Doors, tmp_path: Path) -> None:
    """Of one user's server; another one has its own."""
    proxy, target = await start(**documented("rateLimit", tmp_path)), await doors.open()
    await add_all(proxy, [("/", target)])
    for user in ("ada", "bob"):
        await proxy.add_route(f"/user/{user}/", target, {"user": user})

    async def statuses(path: str, count: int) -> set[int]:
        return {
            status for status, _, _ in await asyncio.gather(*(fetch(proxy.public_url + path) for _ in range(count)))
        }

    assert await statuses("user/ada/", 150) == {200, 429}
    assert await statuses("user/bob/", 10) == {200}
    assert await statuses("hub/", 150) == {200}


async def test_the_documented_password_is_asked_for(start: Start, doors: Doors, tmp_path: Path) -> None:
    """Of every client of the service, and of no other."""
    proxy, target = await start(**documented("basicAuth", tmp_path)), await doors.open()
    await proxy.add_route("/services/grades/", target, {"service": "grades"})
    await proxy.add_route("/services/other/", target, {"service": "other"})
    url = f"{proxy.public_url}services/grades/"
    assert (await fetch(url))[0] == 401
    assert (await fetch(url, headers=login("wrong")))[0] == 401
    assert (await fetch(url, headers=login("cl3ver")))[:2] == (200, port_of(target))
    assert (await fetch(f"{proxy.public_url}services/other/"))[:2] == (200, port_of(target))


@pytest.mark.parametrize("layout", ["flat", "tree"])
async def test_no_request_gets_past_the_password_of_a_route(
    layout: str, start: Start, doors: Doors, tmp_path: Path
) -> None:
    """Not by a name near those in a group either, whose last child leads to the default route."""
    ask = documented("basicAuth", tmp_path)["route_hook"]

    def protect(route: Route, configuration: dict[str, Any]) -> None:
        if route.routespec == "/":
            as_grades = Route("/", route.target, '{"service":"grades"}', route.spec)
            ask(as_grades, configuration)

    proxy, hub, server = await start(route_layout=layout, route_hook=protect), await doors.open(), await doors.open()
    await proxy.add_route("/", hub, {"hub": True})
    await crowd(proxy, server, layout)
    for path in ("", "hub/", "user/", "user/student0", "user/student0999/", "user/student04x/lab", "elsewhere"):
        assert (await fetch(proxy.public_url + path))[0] == 401, path
        assert (await fetch(proxy.public_url + path, headers=login("cl3ver")))[:2] == (200, port_of(hub)), path
    assert (await fetch(f"{proxy.public_url}user/student042/"))[:2] == (200, port_of(server))


async def test_the_documented_authority_decides(
    start: Start, echo_server: Callable[..., EchoServer], tmp_path: Path
) -> None:
    """Its answer about the user reaches the server; while it is unreachable, no request gets in."""
    ask = documented("forwardAuth", tmp_path)["route_hook"]
    authority, echo = echo_server("authority"), echo_server("server")

    def elsewhere(route: Route, configuration: dict[str, Any]) -> None:
        ask(route, configuration)
        forward = configuration["middlewares"]["ask"]["forwardAuth"]
        assert forward["address"] == "http://127.0.0.1:9090/may-pass"
        # The authority here answers with JSON and says its type.
        forward |= {"address": f"{authority.url}/may-pass", "authResponseHeaders": ["Content-Type"]}

    proxy = await start(route_hook=elsewhere)
    await proxy.add_route("/services/grades/", echo.url, {"service": "grades"})
    url = f"{proxy.public_url}services/grades/x"
    asked, _ = await fetch_echo(url)
    assert authority.requests == 1
    assert asked["content-type"].startswith("application/json")
    authority.stop()
    assert (await fetch(url))[0] >= 500
    assert echo.requests == 1


async def test_the_documented_resolver_gets_a_certificate_though_the_others_are_in_a_tree(
    start: Start,
    acme: AcmeServer,  # noqa: F811 - the fixture
    doors: Doors,
    tmp_path: Path,
) -> None:
    """For the host of the route; the tree goes, as Traefik allows no certificates in it, and everybody is served on."""
    resolver = {
        "email": "admin@example.org",
        "storage": str(tmp_path / "acme.json"),
        "tlsChallenge": {},
        "caServer": acme.url,
        "caCertificates": [str(acme.ca)],
    }
    extra = {"certificatesResolvers": {"letsencrypt": {"acme": resolver}}}
    proxy = await start(route_layout="tree", extra_static_config=extra, **documented("certResolver", tmp_path))
    target, others = await doors.open(), await doors.open()
    await add_all(proxy, [("/", others)])
    await crowd(proxy, others, "tree")
    name = f"ada.{HUB}"
    await proxy.add_route(f"{name}/user/ada/", target, {"user": "ada"})
    port = port_of(proxy.public_url)
    trust = secure(await acme.root(secure(acme.ca), tmp_path / "root.pem"))
    options = {"ssl": trust, "server_hostname": name, "headers": {"Host": name}}

    async def served() -> bool:
        try:
            return (await fetch(f"https://127.0.0.1:{port}/user/ada/", **options))[:2] == (200, port_of(target))
        except aiohttp.ClientConnectorCertificateError:
            return False  # the placeholder

    await until_true(served, 60)
    store = proxy.open_store(proxy.roots)
    await store.check()
    await until_groups(store, lambda count: count == 0, 30)
    await store.aclose()
    for spec in CROWD[::20]:
        assert (await fetch(proxy.public_url + spec[1:]))[:2] == (200, port_of(others))


async def test_the_documented_watchers_are_told(
    start: Start, doors: Doors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a route that comes, of one that cannot come, of one that goes."""

    def refuse(route: Route, configuration: dict[str, Any]) -> None:
        if "eve" in route.routespec:
            configuration["router"]["middlewares"] = ["nosuch@file"]

    proxy, target = await start(route_hook=refuse, **documented("route_added_hook", tmp_path)), await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    with pytest.raises(RouteRejectedError, match="nosuch@file"):
        await proxy.add_route("/user/eve/", target, {})
    await proxy.delete_route("/user/ada/")
    await proxy.stop()
    told = [record.getMessage() for record in caplog.records if record.name == "routes"]
    assert re.fullmatch(rf"/user/ada/ leads to {target}, after \d\.\d+ s", told[0])
    assert told[1].startswith("/user/eve/ failed: Traefik rejects the route: ")
    assert told[2:] == ["/user/ada/ is gone"]


async def test_the_documented_plugin_works_once_it_is_installed(
    start: Start, echo_server: Callable[..., EchoServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its entry point, without a setting; before the setting, which has the last word."""
    [project] = [tomllib.loads(block)["project"] for block in blocks("toml")]
    [module] = [block for block in blocks("python") if "hookimpl" in block]
    assert module.startswith("# kvproxy_noindex.py\n")
    (tmp_path / "kvproxy_noindex.py").write_text(module)
    about = tmp_path / "kvproxy_noindex-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    entries = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["kvproxy"].items())
    (about / "entry_points.txt").write_text(f"[kvproxy]\n{entries}")
    monkeypatch.syspath_prepend(tmp_path)

    def not_for_bob(route: Route, configuration: dict[str, Any]) -> None:
        if "bob" in route.routespec:
            del configuration["middlewares"]["noindex"]

    proxy, echo = await start(route_hook=not_for_bob), echo_server()
    await add_all(proxy, [("/user/ada/", echo.url), ("/user/bob/", echo.url)])
    found = [(await fetch(f"{proxy.public_url}user/{user}/"))[2].get("X-Robots-Tag") for user in ("ada", "bob")]
    assert found == ["noindex", None]
    await proxy.stop()
    (tmp_path / "kvproxy_noindex.py").write_text("import nosuchmodule")
    monkeypatch.delitem(sys.modules, "kvproxy_noindex")
    with pytest.raises(ConfigurationError, match=r"'noindex' .*nosuchmodule"):
        await start()


async def test_a_changed_hook_is_in_effect_after_a_restart_of_the_hub(
    make: Make, echo_server: Callable[..., EchoServer]
) -> None:
    """For routes that are there already; what the earlier one had added is gone."""

    def named(value: str) -> Callable[..., None]:
        def change(route: Route, configuration: dict[str, Any]) -> None:
            configuration["middlewares"][value] = {"headers": {"customResponseHeaders": {f"X-{value}": value}}}

        return change

    echo = echo_server()
    for value in ("first", "second"):
        proxy = make(route_hook=named(value))
        await proxy.start()
        if value == "first":
            await proxy.add_route("/user/ada/", echo.url, {})
        headers = (await fetch_echo(f"{proxy.public_url}user/ada/"))[1]
        assert {name for name in ("X-first", "X-second") if name in headers} == {f"X-{value}"}
        await proxy.stop()


async def test_a_route_whose_hook_fails_after_a_restart_is_not_served(
    make: Make, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests come to the hub's default route, as if the server did not run; the others are served."""
    hub, ada, bob = await doors.open(), await doors.open(), await doors.open()
    before = make()
    await before.start()
    await add_all(before, [("/", hub), ("/user/ada/", ada), ("/user/bob/", bob)])
    await before.stop()

    def fail(route: Route, configuration: dict[str, Any]) -> None:
        if "ada" in route.routespec:
            raise LookupError("no password for ada")

    proxy = make(route_hook=fail)
    await proxy.start()
    found = [(await fetch(f"{proxy.public_url}{path}"))[1] for path in ("user/ada/", "user/bob/", "")]
    assert found == [port_of(hub), port_of(bob), port_of(hub)]
    assert set(await proxy.get_all_routes()) == {"/", "/user/ada/", "/user/bob/"}
    assert "not served" in caplog.text
    assert "LookupError: no password for ada" in caplog.text
    with pytest.raises(HookError):
        await proxy.add_route("/user/ada/", ada, {})


async def test_hooks_beside_middlewares_of_the_entry_point(
    start: Start, echo_server: Callable[..., EchoServer]
) -> None:
    """Traefik puts those before the route's own; the target's path comes last."""

    def change(route: Route, configuration: dict[str, Any]) -> None:
        configuration["middlewares"]["own"] = {"headers": {"customRequestHeaders": {"X-Own": "1"}}}
        configuration["router"]["middlewares"] = ["all"]

    headers = {"customRequestHeaders": {"X-All": "2"}}
    proxy, echo = (
        await start(
            route_hook=change,
            extra_static_config={"entryPoints": {"http": {"http": {"middlewares": ["who@redis"]}}}},
            extra_dynamic_config={
                "http": {
                    "middlewares": {
                        "who": {"headers": {"customRequestHeaders": {"X-Who": "3"}}},
                        "all": {"headers": headers},
                    }
                }
            },
        ),
        echo_server(),
    )
    await proxy.add_route("/x/", f"{echo.url}/below", {})
    asked, _ = await fetch_echo(f"{proxy.public_url}x/")
    assert [asked[name] for name in ("x-own", "x-all", "x-who")] == ["1", "2", "3"]
    async with aiohttp.ClientSession() as session, session.get(f"{proxy.public_url}x/y") as answer:
        assert (await answer.json())["path"] == "/below/x/y"


async def test_a_service_with_two_servers(start: Start, doors: Doors) -> None:
    """The route is served when Traefik leads to both."""
    second = await doors.open()

    def double(route: Route, configuration: dict[str, Any]) -> None:
        configuration["service"]["loadBalancer"]["servers"].append({"url": second})

    proxy, first = await start(route_hook=double), await doors.open()
    await proxy.add_route("/x/", first, {})
    assert {(await fetch(f"{proxy.public_url}x/"))[1] for _ in range(8)} == {port_of(first), port_of(second)}


async def test_hooks_with_routes_in_a_file(echo_server: Callable[..., EchoServer], tmp_path: Path) -> None:
    """A store of another kind; a restart with the same hook leaves the file as it is."""

    def change(route: Route, configuration: dict[str, Any]) -> None:
        configuration["middlewares"]["limit"] = {"rateLimit": {"average": 5, "burst": 5}}
        configuration["middlewares"]["zip"] = {"compress": {}}
        configuration["middlewares"]["both"] = {"headers": {"customRequestHeaders": {"X-Own": "1"}}}

    rules, echo = tmp_path / "rules.toml", echo_server()
    async with making(TraefikFileProviderProxy, tmp_path, dynamic_config_file=str(rules)) as make_file:
        proxy = make_file(route_hook=change)
        await proxy.start()
        await proxy.add_route("/user/ada/", echo.url, {})
        assert (await fetch_echo(f"{proxy.public_url}user/ada/"))[0]["x-own"] == "1"
        answers = await asyncio.gather(*(fetch(f"{proxy.public_url}user/ada/") for _ in range(30)))
        assert {status for status, _, _ in answers} == {200, 429}
        await proxy.stop()
        written = [line for line in rules.read_text().splitlines() if "-kv" in line]
        again = make_file(route_hook=change)
        await again.start()
        await again.get_all_routes()
        assert [line for line in rules.read_text().splitlines() if "-kv" in line] == written
        await again.delete_route("/user/ada/")
        assert "-kvm" not in rules.read_text()


HUB_HOOK = """
def hook(route, configuration):
    if route.data.get("user"):
        import os
        if os.path.exists({marker!r}):
            raise LookupError("the list of users is missing")
        configuration["middlewares"]["who"] = {{
            "headers": {{"customResponseHeaders": {{"X-Jupyter-User": route.data["user"]}}}},
        }}


c.TraefikProxy.route_hook = hook
"""


@pytest.mark.hub
@pytest.mark.timeout(300)
async def test_a_hub_starts_though_a_hook_fails_and_does_not_serve_what_it_is_for(
    hub_factory: Callable[..., HubProcess], redis_factory: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """A user's server that ran before; it is served again by a hub whose hook works."""
    marker = tmp_path / "broken"
    settings = {
        "TraefikRedisProxy.redis_url": redis_factory(appendonly=True).url,
        "JupyterHub.cleanup_servers": False,
    }
    hub = hub_factory(settings, config=HUB_HOOK.format(marker=str(marker)))
    await asyncio.to_thread(hub.start)
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
        url = f"{hub.url}/user/ada/api"
        status, _, headers = await fetch(url)
        assert (status, headers["X-Jupyter-User"]) == (200, "ada")
        assert hub.end() == 0
        marker.touch()
        await asyncio.to_thread(hub.start)
        assert "not served" in hub.log_text
        status, _, headers = await fetch(url)
        assert "X-Jupyter-User" not in headers
        assert status in {302, 404, 424, 503}, "this is the hub's answer"
        assert hub.end() == 0
        marker.unlink()
        await asyncio.to_thread(hub.start)
        assert (await fetch(url))[2]["X-Jupyter-User"] == "ada"
        await ada.stop_server()
