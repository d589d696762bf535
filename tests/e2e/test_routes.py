"""Adding, changing and removing routes on a real Redis and a real Traefik: what the hub's users would notice."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable

import aiohttp
import pytest

from kvproxy.errors import InvalidRouteError, RouteNotReadyError, RouteRejectedError
from kvproxy.routing.names import ALONE, Names
from kvproxy.testing.servers import EchoServer, RedisServer
from kvproxy.testing.servers.redis import TRAEFIK_RIGHTS
from kvproxy_redis import TraefikRedisProxy

from .proxies import Doors, External, Start, add_all

#: Rights that Traefik needs, without CONFIG: it cannot switch keyspace notifications on.
QUIET = f"traefik on >quiet {TRAEFIK_RIGHTS}"
QUIET_PROVIDER = {"redis_traefik_username": "traefik", "redis_traefik_password": "quiet"}
METRICS = {"metrics": {"prometheus": {"entryPoint": "auth_api", "manualRouting": False}}}


async def reloads(proxy: TraefikRedisProxy) -> int:
    """How often this Traefik has loaded a configuration."""
    async with aiohttp.ClientSession() as session, session.get(f"{proxy.traefik_api_url}/metrics") as answer:
        found = re.search(r"^traefik_config_reloads_total (\d+)", await answer.text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1))


def calls(redis: RedisServer, command: str) -> int:
    """How often Redis has run a command."""
    stats = str(redis.command("INFO", "commandstats"))
    found = re.search(rf"cmdstat_{command}:calls=(\d+)", stats)
    return int(found.group(1)) if found else 0


async def test_a_hundred_simultaneous_calls_are_a_handful_of_commits_and_reloads(
    redis_factory: Callable[..., RedisServer], start_proxy: Start, doors: Doors
) -> None:
    """Each commit one MULTI, each one reload of Traefik."""
    redis = redis_factory(acl=["default on nopass ~* &* +@all", QUIET])
    proxy = await start_proxy(redis_url=redis.url, extra_static_config=METRICS, **QUIET_PROVIDER)
    target = await doors.open()
    before, loaded = calls(redis, "exec"), await reloads(proxy)
    await add_all(proxy, [(f"/user/u{n}/", target) for n in range(100)])
    assert calls(redis, "exec") - before <= 3
    assert await reloads(proxy) - loaded <= 3
    before = calls(redis, "exec")
    await asyncio.gather(*(proxy.delete_route(f"/user/u{n}/") for n in range(100)))
    assert calls(redis, "exec") - before <= 3
    assert await proxy.get_all_routes() == {}


async def test_three_keys_a_route_and_one_hash(start_proxy: Start, redis_server: RedisServer, doors: Doors) -> None:
    """Nothing else grows with the table."""
    proxy = await start_proxy()
    target = await doors.open()
    await proxy.add_route("/", target, {"hub": True})
    empty = int(str(redis_server.command("DBSIZE")))
    await add_all(proxy, [(f"/user/u{n}/", target) for n in range(50)])
    assert int(str(redis_server.command("DBSIZE"))) - empty == 150
    assert redis_server.command("HLEN", "jupyterhub/routes") == 52
    await proxy.stop()


async def test_only_a_full_read_scans(
    redis_factory: Callable[..., RedisServer], start_proxy: Start, doors: Doors
) -> None:
    """Adding, changing, getting and deleting work for a user who may neither SCAN nor look for KEYS."""
    redis = redis_factory(acl=["default on nopass ~* &* +@all", QUIET, "hub on >secret ~* &* +@all"])
    proxy = await start_proxy(redis_url=redis.url, redis_username="hub", redis_password="secret", **QUIET_PROVIDER)
    redis.command("ACL", "SETUSER", "hub", "-scan", "-keys", "-hscan", "-hgetall", "-hkeys")
    await proxy.add_route("/user/ada/", await doors.open(), {})
    await proxy.add_route("/user/ada/", await doors.open(), {})
    assert await proxy.get_route("/user/ada/") is not None
    await proxy.delete_route("/user/ada/")
    assert await proxy.get_route("/user/ada/") is None


async def test_a_rejected_route_is_an_error_with_traefiks_reason_and_leaves_nothing(
    external: External, redis_server: RedisServer, doors: Doors
) -> None:
    """Here: an entry point that this Traefik has not got."""
    proxy = external(traefik_entrypoint="nosuchentrypoint")
    with pytest.raises(RouteRejectedError, match="nosuchentrypoint"):
        await proxy.add_route("/user/ada/", await doors.open(), {})
    assert redis_server.command("KEYS", f"*{ALONE.route('/user/ada/')}*") == []
    assert redis_server.command("HEXISTS", "jupyterhub/routes", "/user/ada/") == 0


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("http/routers/mine/nosuchfield", "cannot decode the key 'http/routers/mine/nosuchfield'"),
        (Names("other").hold_key, "key 'http/kvproxy-is-writing-other' keeps Traefik .* start it or its standby"),
    ],
    ids=["somebody's", "of a hub that died"],
)
async def test_a_key_that_traefik_cannot_decode_is_named_as_the_likely_cause(
    key: str, said: str, start_proxy: Start, redis_server: RedisServer, doors: Doors
) -> None:
    """It stops all of Traefik's updates, and Traefik says so nowhere but in its log."""
    proxy = await start_proxy(check_route_timeout=2)
    redis_server.command("SET", f"traefik/{key}", "x")
    with pytest.raises(RouteNotReadyError, match=said):
        await proxy.add_route("/user/ada/", await doors.open(), {})
    assert await proxy.get_route("/user/ada/") is None
    assert redis_server.command("HEXISTS", "jupyterhub/routes", "/user/ada/") == 0
    redis_server.command("DEL", f"traefik/{key}")
    proxy.check_route_timeout = 20
    await proxy.add_route("/user/ada/", await doors.open(), {})


@pytest.mark.parametrize("routespec", ["/user/../", "/user/%2E/", "/user/%zz/", "/a?b/", "host with blank/x/"])
async def test_invalid_routes_are_refused_before_anything_is_written(
    routespec: str, start_proxy: Start, redis_server: RedisServer
) -> None:
    """With InvalidRouteError, which is a ValueError."""
    proxy = await start_proxy()
    before = redis_server.command("DBSIZE")
    with pytest.raises(InvalidRouteError):
        await proxy.add_route(routespec, "http://127.0.0.1:1", {})
    with pytest.raises(ValueError, match="target"):
        await proxy.add_route("/x/", "127.0.0.1:1", {})
    assert redis_server.command("DBSIZE") == before
    assert await proxy.get_route(routespec) is None
    await proxy.delete_route(routespec)


async def test_a_target_with_a_path(start_proxy: Start, echo_server: Callable[..., EchoServer]) -> None:
    """As JupyterHub's extra_routes may have."""
    proxy, echo = await start_proxy(), echo_server("e")
    await proxy.add_route("/x/", f"{echo.url}/test", {"extra": True})
    async with aiohttp.ClientSession() as session, session.get(f"{proxy.public_url}x/a%2Fb?c=d") as answer:
        assert (await answer.json())["path"] == "/test/x/a%2Fb?c=d"


async def test_websockets_headers_and_bodies_pass(start_proxy: Start, echo_server: Callable[..., EchoServer]) -> None:
    """The needs of a notebook; the server learns which client asked for what."""
    proxy, echo = await start_proxy(), echo_server("e")
    await proxy.add_route("/user/ada/", echo.url, {})
    url, size = f"{proxy.public_url}user/ada/", 5_000_000
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url + "ws") as socket:
            await socket.send_str("hello")
            assert (await socket.receive_str(timeout=10)) == "hello"
        async with session.put(url, data=io.BytesIO(bytes(size))) as answer:
            seen = await answer.json()
    headers = {name.lower(): value for name, value in dict(seen["headers"]).items()}
    assert seen["body_length"] == size
    assert headers["host"] == headers["x-forwarded-host"] == url.split("/")[2]
    assert headers["x-forwarded-proto"] == "http"
