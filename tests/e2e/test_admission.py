"""Where the hub admits Traefik to the store, users go on whatever the store has lost, however late the hub is."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from kvproxy.errors import ConfigurationError, StoreAuthError
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import RedisServer, within
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.programs import ServerError
from kvproxy.testing.servers.redis import CLOSED
from kvproxy_consul import TraefikConsulProxy
from kvproxy_redis.admission import Login
from kvproxy_redis.client import connect
from kvproxy_redis.connection import parse_connection
from kvproxy_redis.store import RedisStore
from tests.faults.load import Load
from tests.faults.site import Site
from tests.faults.stores import STORES, Killable

from .proxies import Client, Doors, Start, making, port_of, until_true
from .rights import CONSUL_HUB, REDIS_ADMITTING, REDIS_HUB

TOKEN = "0b9e6c6c-66a4-4bd1-9d6c-5a5d4a0e7a11"
ADMITS = {"redis_admit_traefik": True, "redis_traefik_username": "traefik", "redis_traefik_password": "s3cret/too"}
#: In Traefik's log, whenever it could not read.
IN_VAIN = "Provider error, retrying"
#: Tries in vain after which it has seen the new server; in one or two it may have met none.
TRIES = 4
SECONDS = 20.0


@contextlib.asynccontextmanager
async def at_work(name: str, directory: Path, routes: int) -> AsyncIterator[tuple[Site, Killable]]:
    """A store and a Traefik that is not the hub's own, and users who must not notice anything."""
    try:
        store = STORES[name][1](directory)
    except ServerError as error:
        pytest.skip(str(error))
    assert isinstance(store, Killable)
    async with Site.open(store, directory, routes=routes, managed=False) as site:
        async with Load(site.port, dict(site.table), clients=2) as load:
            yield site, store
        assert load.tally.examples == []
        assert load.tally.sent > routes


async def until_refused(log: Path) -> None:
    """Wait until Traefik, whose log is empty, has come to the store again and again and was not let in."""
    await until(lambda: log.read_text().count(IN_VAIN) >= TRIES, SECONDS)


@pytest.mark.parametrize(
    ("name", "old"), [("redis", False), ("redis", True), ("consul", False)], ids=["redis", "redis-old", "consul"]
)
async def test_a_store_that_has_lost_routes_is_not_read_before_they_are_back(
    name: str, old: bool, tmp_path: Path
) -> None:
    """The hub stands still when it comes back, and Traefik is there first."""
    async with at_work(name, tmp_path, 50) as (site, store):
        await asyncio.to_thread(store.save)
        await site.log_in("/user/late/")
        hub = psutil.Process(site.hub.pid)
        hub.suspend()
        await asyncio.to_thread(store.kill)
        assert site.traefik is not None
        log = site.traefik.config_path.with_name("external.toml.log")
        os.truncate(log, 0)
        await asyncio.to_thread(store.start_old if old else store.start_empty)
        await until_refused(log)
        assert await site.wrong() == []
        hub.resume()
        await site.log_in("/user/new/")
        assert await site.differs() == ""
        assert await site.wrong() == []


@pytest.mark.timeout(300)
async def test_users_do_not_notice_that_redis_dies_while_traefik_reads_it(tmp_path: Path) -> None:
    """It is back at once with all that it held, where the cursor of Traefik's scan means something else."""
    async with at_work("redis", tmp_path, 300) as (site, store):
        for number in range(8):
            async with connect(parse_connection(store.traits["redis_url"])) as redis:
                for _ in range(10):
                    # Traefik reads all keys for each of these.
                    await redis.publish("__keyspace@0__:traefik/", "set")
            await asyncio.to_thread(store.kill)
            await asyncio.to_thread(store.start)
            await site.log_in(f"/user/late{number}/")


@pytest.mark.parametrize("again", [False, True], ids=["once", "again-meanwhile"])
async def test_a_redis_that_has_come_back_admits_traefik_when_it_can_have_given_up_its_read(
    redis_factory: Callable[..., RedisServer], again: bool
) -> None:
    """Traefik's client sends a command again for up to half a second, and so would go on reading at the new server."""
    redis = redis_factory(appendonly=True)
    login = Login("traefik", "s3cret")
    store = RedisStore(parse_connection(redis.url), "traefik", "jupyterhub", admits=login)
    loop = asyncio.get_running_loop()
    async with contextlib.aclosing(store):
        await store.snapshot()
        redis.kill()
        begin = loop.time()
        redis.start()
        admission = asyncio.ensure_future(store.admit_traefik())
        if again:
            await until(lambda: " multi=0 " in str(redis.command("CLIENT", "LIST")), SECONDS)
            redis.kill()
            begin = loop.time()
            redis.start()
        await admission
        assert loop.time() - begin > 1
        await within(store.admit_traefik(), 0.9)
        assert "user traefik on" in str(redis.command("ACL", "LIST"))


async def test_a_user_of_redis_that_may_admit_traefik_is_enough(
    redis_factory: Callable[..., RedisServer], start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """With the rights that the documentation tells; what it tells of is not kept by Redis, and the password nowhere."""
    redis = redis_factory(acl=[CLOSED, f"hub on >s3cret {REDIS_HUB} {REDIS_ADMITTING}"], appendonly=True)
    login = {"redis_url": redis.url, "redis_username": "hub", "redis_password": "s3cret"}
    proxy = await start_proxy(**login, **ADMITS)
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    assert "s3cret/too" not in str(redis.command("ACL", "LIST"))
    redis.kill()
    redis.start()
    assert "user traefik" not in str(redis.command("ACL", "LIST"))
    await proxy.add_route("/user/bob/", target, {})
    assert await client_of(proxy).ask("/user/bob/") == (200, port_of(target))


async def test_a_user_of_redis_that_may_not_admit_traefik_is_told_at_start(
    redis_factory: Callable[..., RedisServer], start_proxy: Start
) -> None:
    """By name, before anything is written."""
    redis = redis_factory(acl=[CLOSED, "hub on >s3cret ~* &* +@all -@dangerous +info"])
    login = {"redis_url": redis.url, "redis_username": "hub", "redis_password": "s3cret"}
    with pytest.raises(StoreAuthError, match=r"'hub'.*acl\|getuser"):
        await start_proxy(**login, **ADMITS)
    assert redis.command("DBSIZE") == 0


async def test_a_redis_that_was_flushed_or_was_told_to_forget_traefik_lets_it_in_again(
    redis_server: RedisServer, start_proxy: Start
) -> None:
    """By itself, without a call."""
    await start_proxy(**ADMITS)
    redis_server.command("ACL", "DELUSER", "traefik")
    redis_server.command("FLUSHALL")
    await until(lambda: "user traefik on" in str(redis_server.command("ACL", "LIST")), SECONDS)
    assert redis_server.command("DBSIZE") != 0


async def test_consul_says_what_is_missing(consul_factory: Callable[..., ConsulServer], tmp_path: Path) -> None:
    """Access control, or the right to make tokens."""
    traits = {"consul_admit_traefik": True, "consul_traefik_token": TOKEN}
    async with making(TraefikConsulProxy, tmp_path) as make:
        with pytest.raises(ConfigurationError, match="access control switched off"):
            await make(consul_url=consul_factory().url, consul_token=TOKEN[::-1], **traits).start()
        guarded = consul_factory(acl=True)
        with pytest.raises(StoreAuthError, match="consul_admit_traefik"):
            await make(consul_url=guarded.url, consul_token=guarded.add_token(CONSUL_HUB), **traits).start()


async def test_consuls_token_is_given_again_just_the_rights_that_the_hub_gave_it(
    consul_factory: Callable[..., ConsulServer], tmp_path: Path
) -> None:
    """After any change: of the policy's rules, or the token's policies."""
    consul = consul_factory(acl=True)
    async with AsyncExitStack() as stack:
        make = await stack.enter_async_context(making(TraefikConsulProxy, tmp_path))
        session = await stack.enter_async_context(aiohttp.ClientSession(f"{consul.url}"))

        async def ask(method: str, path: str, body: object = None, token: str = consul.token) -> dict[str, Any]:
            async with session.request(method, path, json=body, headers={"X-Consul-Token": token}) as answer:
                assert answer.status == 200
                found: dict[str, Any] = await answer.json()
                return found

        await make(
            consul_url=consul.url, consul_token=consul.token, consul_admit_traefik=True, consul_traefik_token=TOKEN
        ).start()
        token = await ask("GET", "/v1/acl/token/self", token=TOKEN)
        [named] = token["Policies"]
        policy = await ask("GET", f"/v1/acl/policy/{named['ID']}")

        async def is_as_it_was() -> bool:
            there = await ask("GET", "/v1/acl/token/self", token=TOKEN)
            rules = (await ask("GET", f"/v1/acl/policy/{named['ID']}"))["Rules"]
            return (there.get("Policies"), rules) == ([named], policy["Rules"])

        await ask(
            "PUT",
            f"/v1/acl/policy/{named['ID']}",
            {"Name": policy["Name"], "Rules": 'key_prefix "" { policy = "write" }'},
        )
        await until_true(is_as_it_was, SECONDS)
        await ask("PUT", f"/v1/acl/token/{token['AccessorID']}", {**token, "Policies": []})
        await until_true(is_as_it_was, SECONDS)
