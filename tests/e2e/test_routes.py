"""Adding, changing and removing routes on a real Redis and a real Traefik: what the hub's users would notice."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from kvproxy.errors import InvalidRouteError, RouteNotReadyError, RouteRejectedError
from kvproxy.routes import make_route
from kvproxy.testing.servers import EchoServer, RedisServer
from kvproxy.translate import Layout, encode, route_name
from kvproxy_redis import TraefikRedisProxy

from .proxies import Client, Doors, External, Start, add_all, port_of

#: Rights that Traefik needs, without CONFIG: it cannot switch keyspace notifications on.
QUIET = "traefik on >quiet ~* &* +@read +@pubsub +@connection"
QUIET_PROVIDER = {"providers": {"redis": {"username": "traefik", "password": "quiet"}}}
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


async def test_a_route_is_served_the_moment_add_route_returns(
    start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """New ones, changed ones, and ones that were removed and come back; the old target is never seen again."""
    proxy = await start_proxy()
    hub, *targets = [await doors.open() for _ in range(3)]
    await proxy.add_route("/", hub, {"hub": True})
    client = client_of(proxy)
    for turn in range(40):
        target = targets[turn % 2]
        await proxy.add_route("/user/ada/", target, {})
        assert await client.ask("/user/ada/lab") == (200, port_of(target)), turn
        if turn % 5 == 4:
            await proxy.delete_route("/user/ada/")
        await proxy.add_route(f"/user/u{turn}/", target, {})
        assert await client.ask(f"/user/u{turn}/") == (200, port_of(target)), turn


async def test_a_hundred_simultaneous_calls_are_a_handful_of_commits_and_reloads(
    redis_factory: Callable[..., RedisServer], start_proxy: Start, doors: Doors
) -> None:
    """Each commit one MULTI, each one reload of Traefik."""
    redis = redis_factory(acl=["default on nopass ~* &* +@all", QUIET])
    proxy = await start_proxy(redis_url=redis.url, extra_static_config={**QUIET_PROVIDER, **METRICS})
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
    proxy = await start_proxy(
        redis_url=redis.url, redis_username="hub", redis_password="secret", extra_static_config=QUIET_PROVIDER
    )
    redis.command("ACL", "SETUSER", "hub", "-scan", "-keys", "-hscan", "-hgetall", "-hkeys")
    await proxy.add_route("/user/ada/", await doors.open(), {})
    await proxy.add_route("/user/ada/", await doors.open(), {})
    assert await proxy.get_route("/user/ada/") is not None
    await proxy.delete_route("/user/ada/")
    assert await proxy.get_route("/user/ada/") is None


@pytest.mark.parametrize(
    "data",
    [
        {"hub": True},
        {},
        {"user": "ada", "server_name": "", "n": 1, "f": 1.5, "big": 2**60, "none": None, "no": False},
        {"nested": {"list": [1, {"": ""}], "empty": {}, "text": "中文 \u2028 \" ' \\ /"}, "": [[]]},
    ],
)
async def test_data_comes_back_exactly_also_after_a_restart(data: Any, start_proxy: Start, doors: Doors) -> None:
    """As JSON gave it: ``{"hub": True}`` does not become ``{"hub": "true"}``."""
    target = await doors.open()
    proxy = await start_proxy()
    await proxy.add_route("/x/", target, data)
    wanted = {"routespec": "/x/", "target": target, "data": json.loads(json.dumps(data))}
    assert await proxy.get_route("/x/") == wanted
    await proxy.stop()
    again = await start_proxy()
    assert await again.get_all_routes() == {"/x/": wanted}


async def test_keys_of_others_below_the_root_work_and_stay(
    start_proxy: Start, redis_server: RedisServer, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """An administrator's own router, added by hand."""
    mine, target = await doors.open(), await doors.open()
    keys = {
        "traefik/http/routers/mine/rule": "PathPrefix(`/mine`)",
        "traefik/http/routers/mine/service": "mine",
        "traefik/http/services/mine/loadBalancer/servers/0/url": mine,
    }
    for key, value in keys.items():
        redis_server.command("SET", key, value)
    proxy = await start_proxy()
    await proxy.add_route("/", target, {})
    assert await client_of(proxy).ask("/mine/x") == (200, port_of(mine))
    assert set(await proxy.get_all_routes()) == {"/"}
    await proxy.delete_route("/")
    await proxy.stop()
    assert {key: redis_server.command("GET", key) for key in keys} == keys


async def test_a_rejected_route_is_an_error_with_traefiks_reason_and_leaves_nothing(
    external: External, redis_server: RedisServer, doors: Doors
) -> None:
    """Here: an entry point that this Traefik has not got."""
    proxy = external(traefik_entrypoint="nosuchentrypoint")
    with pytest.raises(RouteRejectedError, match="nosuchentrypoint"):
        await proxy.add_route("/user/ada/", await doors.open(), {})
    assert redis_server.command("KEYS", f"*{route_name('/user/ada/')}*") == []
    assert redis_server.command("HEXISTS", "jupyterhub/routes", "/user/ada/") == 0


async def test_a_key_that_traefik_cannot_decode_is_named_as_the_likely_cause(
    start_proxy: Start, redis_server: RedisServer, doors: Doors
) -> None:
    """It stops all of Traefik's updates, and Traefik says so nowhere but in its log."""
    proxy = await start_proxy(check_route_timeout=2)
    redis_server.command("SET", "traefik/http/routers/mine/nosuchfield", "x")
    with pytest.raises(RouteNotReadyError, match="cannot decode"):
        await proxy.add_route("/user/ada/", await doors.open(), {})
    assert await proxy.get_route("/user/ada/") is None
    assert redis_server.command("HEXISTS", "jupyterhub/routes", "/user/ada/") == 0
    redis_server.command("DEL", "traefik/http/routers/mine/nosuchfield")
    proxy.check_route_timeout = 20
    await proxy.add_route("/user/ada/", await doors.open(), {})


@pytest.mark.parametrize("routespec", ["/user/../", "/user/%2E/", "/user/%zz/", "/a?b/", "host with blank/x/"])
async def test_what_cannot_be_routed_is_refused_before_anything_is_written(
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
    """What a notebook needs; the server learns who asked for what."""
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


async def test_a_full_read_repairs_what_was_changed_by_hand(
    start_proxy: Start, redis_server: RedisServer, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """JupyterHub reads all routes every five minutes."""
    proxy = await start_proxy()
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {"user": "ada"})
    redis_server.command("FLUSHALL")
    stale = encode(make_route("/user/stale/", "http://127.0.0.1:9", {}), Layout())
    for key, value in stale.config.items():
        redis_server.command("SET", f"traefik/{key}", value)
    for key, value in stale.records.items():
        redis_server.command("HSET", "jupyterhub/routes", key, value)
    assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/stale/"}
    await proxy.delete_route("/user/stale/")
    await proxy.add_route("/user/bob/", target, {})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/bob/"}
