"""How often Traefik is woken by one change on a real Redis, and what kvproxy says about it."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
from redis.asyncio import Redis

from kvproxy.errors import StoreAuthError, StoreUnavailable
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import RedisServer
from kvproxy_redis import TraefikRedisProxy
from kvproxy_redis.connection import parse_connection
from kvproxy_redis.store import RedisStore

from .proxies import Doors, External, Start, add_all
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
    """What Traefik would be woken by: call it to get the messages so far, each with its channel."""
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
        assert await store.noisy() is noisy
        assert await heard() == []
    assert redis.command("DBSIZE") == 0
    assert str(redis.command("INFO", "keyspace")).strip() == "# Keyspace"


async def test_who_may_neither_ask_nor_listen_takes_it_for_quiet(redis_factory: Factory) -> None:
    """An unknown is no reason to work otherwise."""
    redis = redis_factory(acl=[EVERYBODY, DEAF], notify_keyspace_events="KEA")
    async with opened(redis, "deaf") as store:
        assert await store.noisy() is False


async def test_an_unreachable_redis_is_none_that_is_quiet(redis_factory: Factory) -> None:
    """Nor is one that refuses the credentials."""
    redis = redis_factory(acl=[EVERYBODY, HUB])
    async with opened(redis, "hub", "wrong") as store:
        with pytest.raises(StoreAuthError):
            await store.noisy()
    async with opened(redis, "hub") as store:
        redis.stop()
        with pytest.raises(StoreUnavailable):
            await store.noisy()


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, int]]:
    """What was said about noise: level, number of routes, reads for one more."""
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
    """A word at few routes, a warning with what to do at many; Traefik has switched them on before."""
    caplog.set_level(logging.INFO)
    target = await doors.open()

    async def start() -> TraefikRedisProxy:
        proxy = await start_proxy() if started_by == "hub" else external()
        await proxy.add_route("/", target, {})
        await until(lambda: said(caplog))
        return proxy

    proxy = await start()
    ((level, few, _),) = said(caplog)
    assert (level, few <= 1) == ("INFO", True)
    await add_all(proxy, [(f"/user/u{n}/", target) for n in range(60)])
    await proxy.stop()
    caplog.clear()
    proxy = await start()
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
