"""The command line beside a real hub."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable

import pytest

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer, TraefikServer, free_port, wait_until

from .command import documented, process
from .peer import peer_keys
from .test_connections import DEFAULT, HUB, TRAEFIK
from .test_connections import PASSWORD as REDIS_PASSWORD

pytestmark = [pytest.mark.hub, pytest.mark.timeout(300)]

PASSWORD = "store-pass/word"


def run(hub: HubProcess, *arguments: str):
    return asyncio.to_thread(process, hub.directory, *arguments)


USERS = {
    "redis_username": "hub",
    "redis_password": REDIS_PASSWORD,
    "redis_traefik_username": "traefik",
    "redis_traefik_password": f"{REDIS_PASSWORD}-too",
}


@pytest.mark.parametrize("users", [pytest.param(False, marks=pytest.mark.endurance), True])
async def test_check_and_routes_beside_a_hub(
    users: bool, hub_factory, redis_factory: Callable[..., RedisServer]
) -> None:
    """Everything is well, with a password and with the documented users of Redis, and the API is asked with the hub's
    own token. Nothing is migrated meanwhile."""
    closed = {"acl": [DEFAULT, HUB, TRAEFIK]} if users else {"password": PASSWORD}
    redis = redis_factory(**closed, appendonly=True)
    login = {"redis_url": redis.url, **(USERS if users else {"redis_password": PASSWORD})}
    with hub_factory({f"TraefikRedisProxy.{name}": value for name, value in login.items()}) as hub:
        async with HubClient(hub, "ada") as ada:
            await ada.spawn()
            done = await run(hub, "check", "--strict", "-f", "jupyterhub_config.py")
            assert (done.status, done.err) == (0, ""), done.out
            assert re.search(r"^ok      hub: It answers at ", done.out, re.MULTILINE)
            assert "warning" not in done.out
            routes = json.loads((await run(hub, "routes")).out)["routes"]
            assert {route["routespec"]: route["data"] for route in routes} == {
                "/": {"hub": True},
                "/user/ada/": {"user": "ada", "server_name": ""},
            }
            assert not any(route["differs"] for route in routes)
            assert login["redis_password"] not in (await run(hub, "static-config", "--without-secrets")).out
            done = await run(hub, "migrate", "--from-peer", "--execute")
            assert done.status == 1
            # Keys of jupyterhub-traefik-proxy are not among the rights of the documented user.
            assert ("does not let the user 'hub'" if users else "A hub is running at") in done.err


async def test_a_traefik_by_static_config_serves_a_hub(
    hub_factory, redis_factory: Callable[..., RedisServer], traefik_server: Callable[..., TraefikServer]
) -> None:
    """From the configuration file alone, as docs/how-to/external-traefik.md says; check says that all is well."""
    redis = redis_factory(password=PASSWORD, appendonly=True)
    hub = hub_factory(
        {
            "TraefikProxy.should_start": False,
            "TraefikProxy.placeholder_certificate": True,
            "TraefikRedisProxy.redis_url": redis.url,
            "TraefikRedisProxy.redis_password": PASSWORD,
        }
    )
    make, _, *look = documented("external-traefik.md")
    done = await run(hub, *make)
    assert (done.status, done.out) == (0, "")
    traefik_server(hub.directory / "traefik.toml", [hub.port, hub.api_port])
    hub.start()
    async with HubClient(hub, "gus") as gus:
        assert (await gus.log_in()).status == 200
        await gus.spawn()
        assert (await gus.server("GET", "api")).status == 200
        assert [command[0] for command in look] == ["check", "routes"]
        checked, routes = [await run(hub, *command) for command in look]
    assert "warning" not in checked.out
    assert checked.status == 0, checked.out
    assert not any(route["differs"] for route in json.loads(routes.out)["routes"])
    # It was asked on an empty store, before it had loaded the router of its metrics.
    assert "shows no metrics" not in hub.log_text
    assert not re.search(r"^\[[WE] .*Traefik", hub.log_text, re.MULTILINE)
    assert hub.end() == 0
    assert hub.log_text.partition("Traceback")[2][:3000] == ""


async def test_a_pair_by_static_config_serves_a_hub(
    hub_factory, redis_factory: Callable[..., RedisServer], traefik_server: Callable[..., TraefikServer]
) -> None:
    """Two tiers of routes, as the same page says; the hub is killed, and ends, and the pair goes on."""
    redis = redis_factory(password=PASSWORD, appendonly=True)
    hot, hot_api = free_port(), free_port()
    hub = hub_factory(
        {
            "TraefikProxy.should_start": False,
            "TraefikProxy.placeholder_certificate": True,
            "TraefikProxy.route_tiers": "two",
            "TraefikProxy.hot_traefik_url": f"http://127.0.0.1:{hot}",
            "TraefikProxy.hot_traefik_api_url": f"http://127.0.0.1:{hot_api}",
            "TraefikRedisProxy.redis_url": redis.url,
            "TraefikRedisProxy.redis_password": PASSWORD,
            "JupyterHub.cleanup_servers": False,
        }
    )
    base, second, *look = documented("external-traefik.md")
    for make in (base, second):
        assert (await run(hub, *make)).status == 0
    traefik_server(hub.directory / "hot.toml", [hot, hot_api])
    traefik_server(hub.directory / "traefik.toml", [hub.port, hub.api_port])
    hub.start()
    async with HubClient(hub, "gus") as gus:
        assert (await gus.log_in()).status == 200
        await gus.spawn()
        assert await gus.run("print(6 * 7)") == "42\n"
        checked, routes = [await run(hub, *command) for command in look]
        assert "warning" not in checked.out
        assert checked.status == 0, checked.out
        assert not any(route["differs"] for route in json.loads(routes.out)["routes"])
        known = await gus.routes()
        hub.kill()
        assert await gus.run("print(6 * 7)") == "42\n"
        await asyncio.to_thread(hub.start)
        assert await gus.run("print(6 * 7)") == "42\n"
        assert await gus.routes() == known
        assert not re.search(r"^\[[WE] .*(Traefik|tier)", hub.log_text, re.MULTILINE)
        assert hub.end() == 0
        assert (await gus.server("GET", "api")).status == 200
    assert hub.log_text.partition("Traceback")[2][:3000] == ""


async def test_a_hub_goes_on_where_jupyterhub_traefik_proxy_ended(
    hub_factory, redis_factory: Callable[..., RedisServer]
) -> None:
    """A user's server outlives the change, and the hub finds its route as it left it; as the page of that name says."""
    redis = redis_factory(appendonly=True)
    hub = hub_factory({"TraefikRedisProxy.redis_url": redis.url, "JupyterHub.cleanup_servers": False})
    hub.start()
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
        kernel = (await ada.server("POST", "api/kernels", {"name": "python3"})).json()["id"]
        routes = await ada.routes()
        assert hub.end() == 0
        redis.command("FLUSHALL")
        redis.command("MSET", *(text for pair in peer_keys(routes).items() for text in pair))

        see, migrate, back, _ = documented("from-jupyterhub-traefik-proxy.md")
        done = await run(hub, *see)
        assert "2 to add." in done.out
        assert "Nothing was written" in done.out
        done = await run(hub, *migrate)
        assert (done.status, done.err) == (0, ""), done.out
        assert "Written." in done.out

        hub.start()
        wait_until(lambda: "Traefik 3" in hub.log_text, "the hub is up", 10)
        assert "missing route" not in hub.log_text
        assert "stale route" not in hub.log_text
        assert (await ada.server("GET", f"api/kernels/{kernel}")).status == 200
        refused = await run(hub, *back)
        assert refused.status == 1
        assert "A hub is running at" in refused.err
        assert hub.end() == 0
        done = await run(hub, *back)
        assert (done.status, done.err) == (0, ""), done.out
        assert "Start jupyterhub-traefik-proxy's hub now" in done.out
        left = redis.command("KEYS", "*")
        assert isinstance(left, list)
        assert sorted(map(str, left)) == sorted(key for key in peer_keys(routes) if "_api" not in key)
