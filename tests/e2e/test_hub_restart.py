"""The hub goes and comes back while its users work on."""

from __future__ import annotations

import asyncio

import pytest

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer

pytestmark = [pytest.mark.hub, pytest.mark.timeout(300)]

#: Redis commands that change routes, or wake Traefik; SET renews the hub's claim only.
WRITES = {"mset", "del", "unlink", "hset", "hdel", "publish", "expire", "rename", "flushall", "flushdb"}


@pytest.fixture
def redis(redis_factory) -> RedisServer:
    """The Redis of the hub."""
    return redis_factory(appendonly=True)


@pytest.fixture
def hub(hub_factory, redis) -> HubProcess:
    """A hub that leaves its users' servers running when it stops."""
    settings = {"TraefikRedisProxy.redis_url": redis.url, "JupyterHub.cleanup_servers": False}
    hub = hub_factory(settings)
    hub.start()
    return hub


def contents(redis: RedisServer) -> dict[str, object]:
    """All keys with their values, but for the claim of the hub at work."""
    found: dict[str, object] = {}
    for key in sorted(set(redis.command("KEYS", "*")) - {"jupyterhub/hub"}):
        kind = redis.command("TYPE", key)
        found[key] = redis.command("GET", key) if kind == "string" else sorted(redis.command("HGETALL", key))
    return found


def commands_run(redis: RedisServer) -> set[str]:
    """Names of the commands that the server has run since its statistics were reset."""
    lines = redis.command("INFO", "commandstats").splitlines()
    return {line.partition(":")[0].removeprefix("cmdstat_") for line in lines if line.startswith("cmdstat_")}


async def remember(client: HubClient) -> str:
    """A kernel that remembers something, by its id: only the same server process has it."""
    kernel = (await client.server("POST", "api/kernels", {"name": "python3"})).json()["id"]
    await client.run("x = 41", kernel=kernel)
    return kernel


async def test_restart_finds_all_routes_and_writes_nothing(hub, redis):
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
        kernel = await remember(ada)
        routes, before = await ada.routes(), contents(redis)
        assert hub.end() == 0
        assert contents(redis) == before
        redis.command("CONFIG", "RESETSTAT")

        hub.start()
        assert await ada.run("print(x + 1)", kernel=kernel) == "42\n"
        assert await ada.routes() == routes
        assert (await ada.check_routes()).status == 200
        assert contents(redis) == before
        ran = commands_run(redis)
        assert "scan" in ran
        assert ran & WRITES == set()
        assert hub.log_text.partition("Traceback")[2][:3000] == ""
        await ada.stop_server()


async def test_users_work_on_while_a_killed_hub_is_down(hub):
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
        kernel = await remember(ada)
        hub.kill()
        assert await ada.run("print(x + 1)", kernel=kernel) == "42\n"

        await asyncio.to_thread(hub.start)
        assert await ada.run("print(x + 2)", kernel=kernel) == "43\n"
        assert [p.name() for p in hub.family()].count("traefik") == 1
        assert "Taking over the Traefik that an earlier hub left running" in hub.log_text
        assert hub.log_text.partition("Traceback")[2][:3000] == ""
        await ada.stop_server()
    assert hub.end() == 0
    assert hub.family() == []
