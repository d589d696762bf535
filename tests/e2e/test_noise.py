"""How often Traefik is woken by one change on a real Redis, and what kvproxy says about it."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from redis.asyncio import Redis

from kvproxy.errors import StoreAuthError, StoreUnavailableError
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import RedisServer
from kvproxy_redis import TraefikRedisProxy
from kvproxy_redis.connection import parse_connection
from kvproxy_redis.store import RedisStore

from .proxies import Client, Doors, External, Start, add_all, port_of, until_true
from .test_connections import HUB, PASSWORD, TRAEFIK

Factory: TypeAlias = Callable[..., RedisServer]

EVERYBODY = "default on nopass ~* &* +@all"
DEAF = f"deaf on >{PASSWORD} ~traefik/* ~jupyterhub/* &* +@read +@write +@transaction +@connection +publish"


@asynccontextmanager
async def opened(redis: RedisServer, username: str = "", password: str = PASSWORD) -> AsyncIterator[RedisStore]:
    """A store as that user, on database 3."""
    url = redis.url.removesuffix("/0") + "/3"
    store = RedisStore(parse_connection(url, username, password if username else ""), "traefik", "jupyterhub")
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def listening(redis: RedisServer) -> AsyncIterator[Callable[[], Any]]:
    """Messages that wake Traefik: call it to get those so far, each with its channel."""
    async with Redis(port=redis.port, decode_responses=True) as client, client.pubsub() as pubsub:
        await pubsub.psubscribe("__keyspace*:traefik*")
        assert (await pubsub.get_message(timeout=5)) is not None

        async def heard() -> list[str]:
            await client.publish("__keyspace@0__:traefik-end", "end")
            found: list[str] = []
            while not found or found[-1] != "__keyspace@0__:traefik-end":
                message = await pubsub.get_message(timeout=5)
                assert message is not None
                found.append(message["channel"])
            return found[:-1]

        yield heard


@pytest.mark.parametrize("user", ["", "hub"])
@pytest.mark.parametrize(
    ("flags", "noisy"), [("", False), ("KEA", True), ("K$", True), ("Kg", True), ("Ex", False), ("EA", False)]
)
async def test_noise_is_found_with_and_without_the_right_to_ask(
    user: str, flags: str, noisy: bool, redis_factory: Factory
) -> None:
    """By the setting, or by listening; nothing is left of it, and Traefik hears nothing."""
    redis = redis_factory(acl=[EVERYBODY, HUB], notify_keyspace_events=flags)
    async with opened(redis, user) as store, listening(redis) as heard:
        assert await store.notifies_per_key() is noisy
        assert await heard() == []
    assert redis.command("DBSIZE") == 0
    assert str(redis.command("INFO", "keyspace")).strip() == "# Keyspace"


async def test_without_the_rights_to_ask_or_listen_redis_counts_as_quiet(redis_factory: Factory) -> None:
    """An unknown is no reason to work otherwise."""
    redis = redis_factory(acl=[EVERYBODY, DEAF], notify_keyspace_events="KEA")
    async with opened(redis, "deaf") as store:
        assert await store.notifies_per_key() is False


async def test_an_unreachable_redis_is_none_that_is_quiet(redis_factory: Factory) -> None:
    """Nor is one that refuses the credentials."""
    redis = redis_factory(acl=[EVERYBODY, HUB])
    async with opened(redis, "hub", "wrong") as store:
        with pytest.raises(StoreAuthError):
            await store.notifies_per_key()
    async with opened(redis, "hub") as store:
        redis.stop()
        with pytest.raises(StoreUnavailableError):
            await store.notifies_per_key()


async def test_a_traefik_with_a_user_of_its_own_is_not_told_to_get_one(redis_factory: Factory) -> None:
    """The one thing left to do is to switch off what was switched on before."""
    redis = redis_factory(acl=[EVERYBODY, HUB, "traefik on >x ~traefik* &* +@read +@connection"])
    hub = parse_connection(redis.url)
    for traefik, named in ((None, True), (hub, True), (replace(hub, username="traefik", password="x"), False)):
        store = RedisStore(hub, "traefik", "jupyterhub", traefik=traefik)
        assert ("redis_traefik_username" in store.notification_advice) is named
        assert "CONFIG SET notify-keyspace-events ''" in store.notification_advice
        await store.aclose()


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, int]]:
    """The advice about notifications: level, number of routes, reads for one more."""
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    found = [(level, text) for level, text in found if "notify-keyspace-events" in text]
    numbers = re.compile(r"the present (\d+) routes?,.* (\d+) times instead of once")
    return [(level, *map(int, match.groups())) for level, text in found for match in numbers.finditer(text)]


@pytest.mark.parametrize("started_by", ["hub", "administrator"])
async def test_the_price_of_notifications_is_told_once_and_right(
    started_by: str,
    start_proxy: Start,
    external: External,
    redis_server: RedisServer,
    doors: Doors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing at few routes, a warning with what to do at many; Traefik has switched them on before."""
    caplog.set_level(logging.INFO)
    target = await doors.open()

    async def start(**traits: str) -> TraefikRedisProxy:
        make = start_proxy if started_by == "hub" else external
        made = make(redis_notifications="keep", **traits)
        proxy = await made if isinstance(made, Awaitable) else made
        await proxy.add_route("/", target, {})
        if (session := proxy._session) is not None and session.first_look is not None:
            await session.first_look
        return proxy

    proxy = await start()
    await add_all(proxy, [(f"/user/u{n}/", target) for n in range(60)])
    await proxy.stop()
    assert said(caplog) == []
    proxy = await start()
    await until(lambda: said(caplog))
    ((level, many, reads),) = said(caplog)
    assert (level, many) == ("WARNING", 61)
    assert "redis_traefik_username" in caplog.text
    async with listening(redis_server) as heard:
        await proxy.add_route("/user/one-more/", target, {})
        assert len(await heard()) == reads


async def test_a_quiet_redis_is_no_matter(
    redis_factory: Factory, start_proxy: Start, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """With the documented step there is nothing to say, and one added route is one message."""
    caplog.set_level(logging.INFO)
    redis = redis_factory(acl=[EVERYBODY, TRAEFIK])
    login = {"redis_traefik_username": "traefik", "redis_traefik_password": f"{PASSWORD}-too"}
    proxy = await start_proxy(redis_url=redis.url, **login)
    assert said(caplog) == []
    assert "notify-keyspace-events" not in caplog.text
    async with listening(redis) as heard:
        await proxy.add_route("/user/ada/", await doors.open(), {})
        assert len(await heard()) == 1


def flags(redis: RedisServer) -> str:
    """The notifications that Redis sends."""
    answer = redis.command("CONFIG", "GET", "notify-keyspace-events")
    assert isinstance(answer, list)
    return str(answer[1])


async def test_notifications_that_traefik_enables_are_disabled_again(
    start_proxy: Start, redis_server: RedisServer, doors: Doors
) -> None:
    """A plain Redis is quiet at the hub's start and after the end of Traefik and of Redis: an edit is one message."""
    proxy = await start_proxy()
    assert flags(redis_server) == ""
    target = await doors.open()
    async with listening(redis_server) as heard:
        await proxy.add_route("/user/ada/", target, {})
        assert len(await heard()) == 1
    before = proxy.traefik_pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await until(lambda: proxy.traefik_pid not in {before, None})
    await proxy.add_route("/user/bob/", target, {})
    await until(lambda: flags(redis_server) == "")
    redis_server.kill()
    redis_server.start()
    await proxy.add_route("/user/eve/", target, {})
    await until(lambda: flags(redis_server) == "")


@pytest.mark.parametrize(
    ("wish", "before", "after"),
    [("auto", "AKE", "AKE"), ("auto", "xE", "AKE"), ("keep", "", "AKE"), ("off", "AKE", "")],
)
async def test_notifications_set_before_stay_by_default(
    wish: str, before: str, after: str, redis_factory: Factory, start_proxy: Start, doors: Doors
) -> None:
    """Another program may need it; Traefik sets what it wants in any case."""
    redis = redis_factory(notify_keyspace_events=before)
    proxy = await start_proxy(redis_url=redis.url, redis_notifications=wish)
    await proxy.add_route("/user/ada/", await doors.open(), {})
    assert set(flags(redis)) == set(after)


async def test_notifications_set_meanwhile_stay(redis_server: RedisServer, start_proxy: Start, doors: Doors) -> None:
    """Another application has come that needs it."""
    proxy = await start_proxy()
    redis_server.command("CONFIG", "SET", "notify-keyspace-events", "Ex")
    store = proxy.open_store(proxy.roots)
    for name in ("ada", "bob"):
        await proxy.add_route(f"/user/{name}/", await doors.open(), {})
        await proxy.get_all_routes()
    await store.aclose()
    assert set(flags(redis_server)) == {"x", "E"}


async def test_a_foreign_key_is_served_though_redis_is_quiet(
    start_proxy: Start, redis_server: RedisServer, doors: Doors
) -> None:
    """The hub finds it when it looks, and has Traefik read; the same when it is changed and removed."""
    proxy = await start_proxy()
    await proxy.add_route("/", await doors.open(), {})
    target, other = await doors.open(), await doors.open()
    client = Client(int(port_of(proxy.public_url)))

    async def leads(port: str) -> None:
        await until_true(lambda: asks(port), 20)

    async def asks(port: str) -> bool:
        return await client.ask("/mine/") == (200, port)

    redis_server.command("SET", "traefik/http/services/mine/loadbalancer/servers/0/url", target)
    redis_server.command("SET", "traefik/http/routers/mine/service", "mine")
    redis_server.command("SET", "traefik/http/routers/mine/rule", "PathPrefix(`/mine`)")
    await leads(port_of(target))
    redis_server.command("SET", "traefik/http/services/mine/loadbalancer/servers/0/url", other)
    await leads(port_of(other))
    assert flags(redis_server) == ""
    await client.close()
