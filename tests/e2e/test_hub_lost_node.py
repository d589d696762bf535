"""The store and the hub are lost at once and come back, the store empty, beside a Traefik that goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer, TraefikServer, free_port
from kvproxy.testing.servers.named import RawClient

from .load import Load

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]

#: Seconds that a service of the hub takes until it listens; JupyterHub waits for it before it checks all routes.
SLOW = 5.0
SERVICE = "import sys, time, http.server as h; time.sleep({seconds}); h.test(h.SimpleHTTPRequestHandler, port={port})"
ADMITS = {
    "TraefikRedisProxy.redis_admit_traefik": True,
    "TraefikRedisProxy.redis_traefik_username": "traefik",
    "TraefikRedisProxy.redis_traefik_password": "s3cret",
}
TOML = """
[api]

[entryPoints.http]
address = "127.0.0.1:{public}"

[entryPoints.auth_api]
address = "localhost:{api}"

[providers]
providersThrottleDuration = "0s"

[providers.redis]
endpoints = ["127.0.0.1:{redis}"]
rootKey = "traefik"
{login}
"""


@pytest.fixture
def redis(redis_factory: Callable[..., RedisServer]) -> RedisServer:
    """A Redis that keeps nothing over a restart."""
    return redis_factory()


@pytest.fixture(params=["own", *(pytest.param(kind, marks=pytest.mark.endurance) for kind in ("plain", "admits"))])
def kind(request: pytest.FixtureRequest) -> str:
    """The hub's own Traefik, which it takes over, an external one, or one that the hub lets in to Redis."""
    return str(request.param)


@pytest.fixture
def hub(hub_factory: Callable[..., HubProcess], redis: RedisServer, kind: str) -> HubProcess:
    """A hub with a service that is slow to start; its users' servers outlive it."""
    port = free_port()
    command = [sys.executable, "-c", SERVICE.format(seconds=SLOW, port=port)]
    settings: dict[str, Any] = {
        "TraefikRedisProxy.should_start": kind == "own",
        "TraefikRedisProxy.redis_url": redis.url,
        "JupyterHub.cleanup_servers": False,
        **(ADMITS if kind == "admits" else {}),
    }
    service = {"name": "slow", "url": f"http://127.0.0.1:{port}", "command": command}
    return hub_factory(settings, config=f"c.JupyterHub.services.append({service!r})")


@pytest.fixture
def traefik(tmp_path: Path, hub: HubProcess, redis: RedisServer, kind: str) -> Iterator[None]:
    """A Traefik that is not the hub's, unless the hub starts one."""
    if kind == "own":
        yield
        return
    file = tmp_path / "external.toml"
    login = 'username = "traefik"\npassword = "s3cret"' if kind == "admits" else ""
    file.write_text(TOML.format(public=hub.port, api=hub.api_port, redis=redis.port, login=login))
    with TraefikServer(file, [hub.port, hub.api_port]):
        yield


@pytest.mark.usefixtures("traefik")
async def test_users_work_on_until_the_hub_has_found_their_servers(hub: HubProcess, redis: RedisServer) -> None:
    """No request fails, though the store is empty and the hub's service takes its time; then all is as before."""
    await asyncio.to_thread(hub.start)
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
        routes = await ada.routes()
        clients = [RawClient(hub.port) for _ in range(2)]
        status, body = await clients[0].ask("/user/ada/api")
        assert status == 200
        async with Load(clients, {"/user/ada/api": body}) as load:
            services = [child for child in psutil.Process(hub.pid).children() if "http.server" in str(child.cmdline())]
            assert services
            hub.kill()
            for service in services:
                service.kill()
            redis.kill()
            redis.start()
            assert redis.command("DBSIZE") == 0
            await asyncio.to_thread(hub.start)
            await ada.check_routes()
        for client in clients:
            await client.close()
        assert load.requests > 100
        assert load.failures == []
        assert set(await ada.routes()) == set(routes)
        assert "The store holds no routes, and Traefik may serve those of an earlier start." in hub.log_text
        assert (await ada.log_in()).status == 200
        await ada.stop_server()
    assert hub.end() == 0
    assert hub.log_text.partition("Traceback")[2][:3000] == ""
