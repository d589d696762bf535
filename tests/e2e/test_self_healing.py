"""Real faults of a real store below real users: all is as it was within seconds, without being asked."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest

from kvproxy.cli.routes.observe import opened
from kvproxy.store import Snapshot
from kvproxy.testing.servers import RedisServer
from kvproxy_redis import TraefikRedisProxy

from .proxies import Client, Doors, Start, add_all, port_of

USERS = [f"/user/u{number}/" for number in range(20)]
SECONDS = 15.0


class Site:
    """A proxy with some users, and its Redis."""

    def __init__(self, proxy: TraefikRedisProxy, redis: RedisServer, target: str) -> None:
        self.proxy, self.redis, self.target = proxy, redis, target
        self.client = Client(int(port_of(proxy.public_url)))

    async def contents(self) -> Snapshot:
        """The store's contents, but for the revision."""
        async with opened(self.proxy) as store:
            found = await store.snapshot()
        return Snapshot({k: v for k, v in found.config.items() if "revision" not in k}, found.records)

    async def becomes(self, wanted: Snapshot) -> None:
        """Wait until the store holds this."""
        deadline = time.monotonic() + SECONDS
        while await self.contents() != wanted:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def keys(redis: RedisServer, pattern: str) -> list[str]:
    """Keys of ours."""
    found = redis.command("KEYS", pattern)
    assert isinstance(found, list)
    return [str(key) for key in found]


async def emptied(site: Site) -> None:
    """As a restart without persistence leaves it."""
    site.redis.command("FLUSHALL")


async def restarted_empty(site: Site) -> None:
    """Killed, and started without its data."""
    site.redis.stop()
    site.redis.start()
    site.redis.command("FLUSHALL")


async def half_of_it_deleted(site: Site) -> None:
    """By hand."""
    for key in sorted(keys(site.redis, "traefik/*"))[::2]:
        site.redis.command("DEL", key)


async def records_deleted(site: Site) -> None:
    """By hand."""
    site.redis.command("DEL", "jupyterhub/routes")


async def targets_changed(site: Site) -> None:
    """By hand, and fields added that Traefik cannot decode."""
    for key in keys(site.redis, "traefik/http/services/*-kvp/*url")[:5]:
        site.redis.command("SET", key, "http://127.0.0.1:1")
    for key in keys(site.redis, "traefik/http/routers/*-kvp/rule")[:5]:
        site.redis.command("SET", key.replace("/rule", "/nosuchfield"), "x")


async def api_router_deleted(site: Site) -> None:
    """By hand; Traefik's API is gone with it."""
    for key in keys(site.redis, "traefik/http/routers/kvproxy-api/*"):
        site.redis.command("DEL", key)
    site.redis.command("PUBLISH", "__keyspace@0__:traefik/x", "set")


async def gone_back(site: Site) -> None:
    """A Redis whose data is of a while ago: the last routes are missing, and one that was removed is there again."""
    saved = {key: site.redis.command("GET", key) for key in keys(site.redis, "traefik/*")}
    records = site.redis.command("HGETALL", "jupyterhub/routes")
    assert isinstance(records, list)
    await site.proxy.delete_route(USERS[0])
    await add_all(site.proxy, [("/user/late/", site.target)])
    site.redis.command("FLUSHALL")
    for key, value in saved.items():
        site.redis.command("SET", key, str(value))
    site.redis.command("HSET", "jupyterhub/routes", *map(str, records))


@pytest.mark.parametrize(
    "fault",
    [emptied, restarted_empty, half_of_it_deleted, records_deleted, targets_changed, api_router_deleted, gone_back],
)
async def test_drift_in_the_store_is_repaired(
    fault: Callable[[Site], Awaitable[None]], start_proxy: Start, redis_server: RedisServer, doors: Doors
) -> None:
    """Without a hub's restart or check, and a new route can be added at once."""
    target = await doors.open()
    site = Site(await start_proxy(), redis_server, target)
    await add_all(site.proxy, [(user, target) for user in USERS])
    before = await site.contents()
    await fault(site)
    if fault is gone_back:
        gone = await site.proxy.get_route(USERS[0])
        assert gone is None
    else:
        await site.becomes(before)
    await site.proxy.add_route("/user/new/", target, {})
    for user in [*USERS[1:], "/user/new/"]:
        assert await site.client.ask(user) == (200, port_of(target))
    if fault is gone_back:
        deadline = time.monotonic() + SECONDS
        while (await site.client.ask(USERS[0]))[0] != 404:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert USERS[0] not in await site.proxy.get_all_routes()
    await site.client.close()


async def test_a_foreign_key_that_traefik_cannot_decode_is_named(
    start_proxy: Start, redis_server: RedisServer, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, while all routes go on; when it is gone, routes can be added again by themselves."""
    target = await doors.open()
    site = Site(await start_proxy(check_route_timeout=12), redis_server, target)
    await add_all(site.proxy, [(user, target) for user in USERS])
    redis_server.command("SET", "traefik/http/routers/mine/nosuchfield", "x")
    with pytest.raises(TimeoutError, match="http/routers/mine/nosuchfield"):
        await site.proxy.add_route("/user/new/", target, {})
    assert "http/routers/mine/nosuchfield" in caplog.text
    for user in USERS:
        assert await site.client.ask(user) == (200, port_of(target))
    redis_server.command("DEL", "traefik/http/routers/mine/nosuchfield")
    # Traefik's pauses between its attempts to read grow with the time that these have failed, by chance.
    site.proxy.check_route_timeout = 60
    await site.proxy.add_route("/user/new/", target, {})
    assert await site.client.ask("/user/new/") == (200, port_of(target))
    await site.client.close()


async def test_a_store_that_hangs_loses_nothing(start_proxy: Start, redis_server: RedisServer, doors: Doors) -> None:
    """Stopped in its tracks and let go on."""
    target = await doors.open()
    site = Site(await start_proxy(check_route_timeout=60), redis_server, target)
    await add_all(site.proxy, [(user, target) for user in USERS])
    assert redis_server.pid is not None
    os.kill(redis_server.pid, signal.SIGSTOP)
    adding = asyncio.create_task(site.proxy.add_route("/user/new/", target, {}))
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert await site.client.ask(USERS[3]) == (200, port_of(target))
    assert not adding.done()
    os.kill(redis_server.pid, signal.SIGCONT)
    await adding
    assert await site.client.ask("/user/new/") == (200, port_of(target))
    await site.client.close()
