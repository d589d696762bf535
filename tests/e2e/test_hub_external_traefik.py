"""A Traefik that the administrator runs himself, configured as the documentation's example."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer, TraefikServer, wait_until

pytestmark = [pytest.mark.hub, pytest.mark.timeout(180)]

TOML = """
# enable the api
[api]

# the public port where traefik accepts http requests
[entryPoints.http]
address = "127.0.0.1:{port}"

# the port on localhost where the traefik api should be found
[entryPoints.auth_api]
address = "localhost:{api_port}"

[providers.redis]
# the Redis username, password (if auth is enabled)
username = "def"
password = "456"
# the Redis address
endpoints = ["127.0.0.1:{redis_port}"]
# the prefix to use for the static configuration
rootKey = "traefik"
"""


@pytest.fixture
def redis(redis_factory) -> RedisServer:
    """A Redis with the example's user."""
    return redis_factory(password="unused", acl=["def on >456 ~* &* +@all"])


@pytest.fixture
def hub(hub_factory, redis) -> HubProcess:
    """A hub that is told of a Traefik, as in the example; it does not run yet."""
    settings = {
        "TraefikRedisProxy.should_start": False,
        "TraefikRedisProxy.traefik_api_password": "abc",
        "TraefikRedisProxy.traefik_api_username": "123",
        "TraefikRedisProxy.redis_url": redis.url,
        "TraefikRedisProxy.redis_username": "def",
        "TraefikRedisProxy.redis_password": "456",
        "TraefikProxy.check_route_timeout": 8,
        "JupyterHub.cleanup_servers": False,
    }
    return hub_factory(settings)


@pytest.fixture
def traefik(tmp_path, hub, redis) -> Iterator[TraefikServer]:
    """The Traefik of the example; it does not run yet."""
    file = tmp_path / "external.toml"
    file.write_text(TOML.format(port=hub.port, api_port=hub.api_port, redis_port=redis.port))
    server = TraefikServer(file, [hub.port, hub.api_port])
    yield server
    server.stop()


def about_traefik(hub: HubProcess, level: str) -> list[str]:
    return re.findall(rf"^\[{level} [^]]*\] (Traefik's API .*)$", hub.log_text, re.MULTILINE)


async def test_hub_works_with_the_examples_traefik(hub, traefik):
    traefik.start()
    hub.start()
    async with HubClient(hub, "gus") as gus:
        assert (await gus.log_in()).status == 200
        await gus.spawn()
        assert (await gus.server("GET", "api")).status == 200
        assert (await gus.browse("/user/gus/lab")).status == 200
        assert await gus.run("print(6*7)") == "42\n"
        routes = await asyncio.to_thread(api, hub, "/http/routers")
        assert len([router for router in routes if router["name"].endswith("-kvp@redis")]) == 2

        assert hub.end() == 0
        assert hub.log_text.partition("Traceback")[2][:3000] == ""
        assert "Unclosed" not in hub.log_text
        assert "destroyed" not in hub.log_text
        assert traefik.running
        assert (await gus.server("GET", "api")).status == 200


def api(hub: HubProcess, path: str) -> Any:
    """Ask Traefik's API as the user that the configuration names."""
    reply = requests.get(f"http://127.0.0.1:{hub.api_port}/api{path}", auth=("123", "abc"), timeout=10)
    reply.raise_for_status()
    return reply.json()


def test_traefik_absent(hub):
    hub.launch()
    wait_until(lambda: about_traefik(hub, "W"), "the hub says what it waits for", 15)
    assert hub.wait(30) == 1
    (warning,) = about_traefik(hub, "W")
    assert f"http://127.0.0.1:{hub.api_port} cannot be reached" in warning
    assert warning.endswith("Waiting for it for up to 8 s (check_route_timeout).")
    reason = f"Traefik's API at http://127.0.0.1:{hub.api_port} cannot be reached (Connection refused)."
    assert hub.log_text.rstrip().endswith(f"within 8 s (check_route_timeout), so it has been taken back: {reason}")
    assert hub.family() == []


async def test_traefik_comes_late(hub, traefik):
    hub.launch()
    wait_until(lambda: about_traefik(hub, "W"), "the hub says what it waits for", 15)
    traefik.start()
    wait_until(hub.answers, "the hub answers", 20)
    wait_until(lambda: "Traefik is ready." in hub.log_text, "the hub says that it came")
    async with HubClient(hub, "gus") as gus:
        assert (await gus.log_in()).status == 200
    assert hub.end() == 0
    assert hub.log_text.partition("Traceback")[2][:3000] == ""
