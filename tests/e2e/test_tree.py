"""The routing tree as an administrator sees it, on Redis and the real Traefik."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kvproxy.store import Store
from kvproxy.testing.conformance.proxy_tree import groups_in, until_groups
from kvproxy.testing.servers import RedisServer, TraefikServer, free_port
from kvproxy.testing.servers.named import Doors, port_of
from kvproxy.testing.servers.redis import TRAEFIK_RIGHTS
from kvproxy_redis import TraefikRedisProxy

from .proxies import TOML, Client, making

LOGIN = {"redis_traefik_username": "traefik", "redis_traefik_password": "secret"}
USERS = [f"/user/student{number:05d}/" for number in range(300)]


@pytest.fixture
def redis(redis_factory: Callable[..., RedisServer]) -> RedisServer:
    """A Redis with a user for Traefik that may not switch notifications on."""
    return redis_factory(acl=[f"traefik on >secret {TRAEFIK_RIGHTS}"])


@pytest.fixture
async def make(redis: RedisServer, tmp_path: Path) -> AsyncIterator[Callable[..., TraefikRedisProxy]]:
    """Makes proxies."""
    async with making(TraefikRedisProxy, tmp_path, redis_url=redis.url, **LOGIN) as made:
        yield made


async def filled(proxy: TraefikRedisProxy, doors: Doors) -> dict[str, str]:
    """A table of many routes; gives back what each leads to."""
    table = {"/": await doors.open()} | {user: await doors.open() for user in USERS}
    await asyncio.gather(*(proxy.add_route(spec, target, {}) for spec, target in table.items()))
    return {spec: port_of(target) for spec, target in table.items()}


async def store_of(proxy: TraefikRedisProxy) -> Store:
    store = proxy.open_store(proxy.roots)
    await store.check()
    return store


async def assert_served(proxy: TraefikRedisProxy, table: dict[str, str]) -> None:
    client = Client(int(port_of(proxy.public_url)))
    for spec, port in table.items():
        for path in (spec, spec.rstrip("/") or "/", spec + "x"):
            assert (path, await client.ask(path)) == (path, (200, port))
    await client.close()


async def test_automatic_groups_survive_a_restart_unchanged_and_go_when_they_are_not_wanted(
    make: Callable[..., TraefikRedisProxy], doors: Doors
) -> None:
    """Three hundred are many; a hub that is started again writes nothing; one with `flat` takes the tree down."""
    proxy = make()
    await proxy.start()
    table, store = await filled(proxy, doors), await store_of(proxy)
    await until_groups(store, lambda count: count > 3, 30)
    await assert_served(proxy, table)
    await proxy.stop()
    before = await store.snapshot()
    again = make(traefik_api_url=proxy.traefik_api_url)
    await again.start()
    await assert_served(again, table)
    await again.get_all_routes()
    # A proxy without a hub has no secret to derive the API's token from, which is another each time.
    after = await store.snapshot()
    assert {k: v for k, v in after.config.items() if "-kv" in k} == {
        k: v for k, v in before.config.items() if "-kv" in k
    }
    await again.stop()
    flat = make(traefik_api_url=proxy.traefik_api_url, route_layout="flat")
    await flat.start()
    await until_groups(store, lambda count: count == 0, 30)
    await assert_served(flat, table)
    assert groups_in((await store.snapshot()).config) == 0
    await store.aclose()


async def test_an_external_traefik_gets_a_tree(
    make: Callable[..., TraefikRedisProxy],
    redis: RedisServer,
    doors: Doors,
    tmp_path: Path,
    traefik_server: Callable[..., TraefikServer],
) -> None:
    """Once it has said its version; its routers name an entry point, which those in a group must not."""
    public, api = free_port(), free_port()
    file = tmp_path / "by-hand.toml"
    login = 'username = "traefik"\npassword = "secret"\n'
    file.write_text(TOML.format(public=public, api=api, redis=redis.port, root="traefik") + login)
    traefik_server(file, [public, api])
    urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://localhost:{api}"}
    proxy = make(should_start=False, **urls)
    table, store = await filled(proxy, doors), await store_of(proxy)
    await until_groups(store, lambda count: count > 3, 30)
    await assert_served(proxy, table)
    await store.aclose()
