"""Where the hub admits Traefik to the store, each of two tiers has a login of its own, with rights to its root only."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.exceptions import AuthenticationError, NoPermissionError
from traitlets.config import Config

from kvproxy.proxy import KVTraefikProxy
from kvproxy.proxy.any_store import TraefikKVProxy
from kvproxy.testing.servers import RedisServer
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.redis import CLOSED
from kvproxy_consul import TraefikConsulProxy
from kvproxy_redis import TraefikRedisProxy
from kvproxy_redis.client import connect
from kvproxy_redis.connection import parse_connection

from .proxies import Client, Doors, making, port_of, until_true
from .rights import REDIS_ADMITTING, REDIS_HUB, REDIS_HUB_TIERS, REDIS_TRAEFIK, REDIS_TRAEFIK_TIERS
from .test_admission import ADMITS, SECONDS
from .test_tiers import two

#: The roots of both tiers.
BASE, HOT = "traefik", "hot-traefik"


class AdmittingRedis:
    """A Redis to whose default user both logins are left to make."""

    proxy_class: type[KVTraefikProxy] = TraefikRedisProxy

    def __init__(self, server: RedisServer, traits: dict[str, Any]) -> None:
        self.server = server
        self.traits = {"redis_url": server.url, **ADMITS, **traits}

    async def reads(self, proxy: KVTraefikProxy) -> set[str]:
        """The roots in which the login of a proxy's Traefik finds keys; none if Redis does not know it."""
        own = proxy.traefik_provider()["redis"]
        found = set()
        for number, root in enumerate((BASE, HOT)):
            where = parse_connection(f"redis://127.0.0.1:{self.server.port}/{number}", own["username"], own["password"])
            async with connect(where) as redis:
                with contextlib.suppress(AuthenticationError, NoPermissionError):
                    keys = [key async for key in redis.scan_iter(f"{root}/*")]
                    found |= {root} if keys and None not in await redis.mget(keys) else set()
        return found


class AnyRedis(AdmittingRedis):
    """The same where a URL says which store it is."""

    proxy_class = TraefikKVProxy

    def __init__(self, server: RedisServer, traits: dict[str, Any]) -> None:
        super().__init__(server, traits)
        self.traits = {
            "store_url": f"redis://127.0.0.1:{server.port}",
            "config": Config({"TraefikRedisProxy": {**ADMITS, **traits}}),
        }


class AdmittingConsul:
    """A Consul with access control."""

    proxy_class = TraefikConsulProxy

    def __init__(self, server: ConsulServer) -> None:
        self.server = server
        tokens = {"consul_token": server.token, "consul_traefik_token": str(uuid.uuid4())}
        self.traits = {"consul_url": server.url, "consul_admit_traefik": True, **tokens}

    async def reads(self, proxy: KVTraefikProxy) -> set[str]:
        """The roots in which the login of a proxy's Traefik finds keys; none if Consul does not know it."""
        token = {"X-Consul-Token": proxy.traefik_provider()["consul"]["token"]}
        found = set()
        async with aiohttp.ClientSession(self.server.url, headers=token) as session:
            for root in (BASE, HOT):
                async with session.get(f"/v1/kv/{root}/", params={"recurse": "true"}) as answer:
                    assert answer.status in {200, 403, 404}
                    found |= {root} if answer.status == 200 else set()
        return found


@pytest.fixture(params=["redis", "any", "consul"])
def store(request: pytest.FixtureRequest) -> Any:
    """A store to which the hub admits Traefik."""
    if request.param == "consul":
        return AdmittingConsul(request.getfixturevalue("consul_factory")(acl=True))
    kind = {"redis": AdmittingRedis, "any": AnyRedis}[request.param]
    # With the documented rights, so that none is missing in the documentation.
    hub = f"hub on >s3cret {REDIS_HUB} {REDIS_HUB_TIERS} {REDIS_ADMITTING}"
    server = request.getfixturevalue("redis_factory")(acl=[CLOSED, hub])
    return kind(server, {"redis_username": "hub", "redis_password": "s3cret"})


@pytest.fixture
async def make(store: Any, tmp_path: Path) -> AsyncIterator[Callable[..., KVTraefikProxy]]:
    """Makes proxies on the store."""
    async with making(store.proxy_class, tmp_path, **store.traits) as made:
        yield made


async def test_each_tier_has_a_login_with_rights_to_its_root(
    store: Any,
    make: Callable[..., KVTraefikProxy],
    doors: Doors,
    client_of: Callable[[Any], Client],
) -> None:
    """After a start, after the hub's restart, and with one tier again, where the second login is revoked."""
    hub, user = await doors.open(), await doors.open()

    async def serves(proxy: KVTraefikProxy, name: str) -> None:
        await proxy.add_route(f"/user/{name}/", user, {})
        assert await client_of(proxy).ask(f"/user/{name}/") == (200, port_of(user))
        assert await client_of(proxy).ask("/elsewhere/") == (200, port_of(hub))

    first = make(**two())
    hot = first.hot_proxy()
    assert hot is not None
    await first.start()
    await first.add_route("/", hub, {})
    await serves(first, "ada")
    assert [await store.reads(proxy) for proxy in (first, hot)] == [{BASE}, {HOT}]
    await first.stop()

    second = make(**two())
    await second.start()
    await serves(second, "bob")
    assert [await store.reads(proxy) for proxy in (first, hot)] == [{BASE}, {HOT}]
    await second.stop()

    third = make(route_tiers="one")
    await third.start()
    await serves(third, "eve")
    assert [await store.reads(proxy) for proxy in (first, hot)] == [{BASE}, set()]
    await third.stop()

    fourth = make(**two())
    await fourth.start()
    await serves(fourth, "dan")
    assert [await store.reads(proxy) for proxy in (first, hot)] == [{BASE}, {HOT}]


async def test_a_redis_that_has_forgotten_both_logins_lets_both_traefiks_in_again(
    redis_server: RedisServer, tmp_path: Path, doors: Doors, client_of: Callable[[Any], Client]
) -> None:
    """Each when its own routes are there again."""
    store = AdmittingRedis(redis_server, {})
    async with making(TraefikRedisProxy, tmp_path, **store.traits) as make:
        proxy = make(**two())
        hot = proxy.hot_proxy()
        assert hot is not None
        await proxy.start()
        hub, user = await doors.open(), await doors.open()
        await proxy.add_route("/", hub, {})
        await proxy.add_route("/user/ada/", user, {})
        for name in ("traefik", "traefik-hot"):
            assert redis_server.command("ACL", "DELUSER", name) == 1
        redis_server.command("FLUSHALL")

        async def reads() -> list[set[str]]:
            return list(await asyncio.gather(store.reads(proxy), store.reads(hot)))

        async def both() -> bool:
            return await reads() == [{BASE}, {HOT}]

        await until_true(both, SECONDS)
        await proxy.add_route("/user/bob/", user, {})
        for name in ("ada", "bob"):
            assert await client_of(proxy).ask(f"/user/{name}/") == (200, port_of(user))


async def test_a_user_that_is_not_the_hubs_keeps_its_rights(
    redis_factory: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """With the name of a second Traefik's user, but another password, or other keys."""
    login = ADMITS["redis_traefik_password"]
    for rights in (">other ~hot-traefik* +@read", f">{login} ~applications* +@read"):
        redis = redis_factory(acl=[f"traefik-hot on {rights}"])
        before = redis.command("ACL", "GETUSER", "traefik-hot")
        async with making(TraefikRedisProxy, tmp_path, redis_url=redis.url, **ADMITS) as make:
            await make().start()
            assert redis.command("ACL", "GETUSER", "traefik-hot") == before
            assert "user traefik on" in str(redis.command("ACL", "LIST"))


async def test_the_documented_rights_are_enough_for_two_tiers(
    redis_factory: Callable[..., RedisServer], tmp_path: Path, doors: Doors, client_of: Callable[[Any], Client]
) -> None:
    """Where the administrator has made both users, and both Traefiks come as the same one."""
    users = {"hub": [REDIS_HUB, REDIS_HUB_TIERS], "traefik": [REDIS_TRAEFIK, REDIS_TRAEFIK_TIERS]}
    redis = redis_factory(acl=[CLOSED, *(f"{name} on >s3cret {' '.join(rights)}" for name, rights in users.items())])
    logins = {"redis_username": "hub", "redis_traefik_username": "traefik"}
    passwords = dict.fromkeys(("redis_password", "redis_traefik_password"), "s3cret")
    async with making(TraefikRedisProxy, tmp_path, redis_url=redis.url, **logins, **passwords) as make:
        proxy = make(**two())
        await proxy.start()
        target = await doors.open()
        await proxy.add_route("/user/ada/", target, {})
        assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
