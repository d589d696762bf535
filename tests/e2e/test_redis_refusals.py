"""A real Redis that refuses for a while, or holds unexpected data at the hub's own keys."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from kvproxy.errors import StoreAuthError, StoreError, StoreUnavailableError, StoreWriteRefusedError
from kvproxy.store import Operation, Space, Transaction
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import RedisServer, free_port, within
from kvproxy.testing.servers.resp import ask
from kvproxy_redis.connection import parse_connection
from kvproxy_redis.store import RedisStore

from .proxies import Client, Doors, Start, port_of

SECRET = "a value that nobody needs to read"
ADA = Transaction((Operation(Space.CONFIG, "http/a", SECRET), Operation(Space.RECORDS, "/a/", "{}")))
BOB = Transaction((Operation(Space.CONFIG, "http/b", SECRET), Operation(Space.RECORDS, "/b/", "{}")))
SECONDS = 20.0


@asynccontextmanager
async def opened(redis: RedisServer, **login: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(parse_connection(redis.url, **login), "traefik", "jupyterhub")
    try:
        yield store
    finally:
        await store.aclose()


def fill(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "maxmemory", "1mb")


def fail_to_save(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "save", "1 1")
    redis.command("CONFIG", "SET", "dbfilename", "x" * 300 + ".rdb")
    redis.command("SET", "other", "1")


def demote(redis: RedisServer) -> None:
    redis.command("REPLICAOF", "127.0.0.1", str(free_port()))


REFUSALS = [(fill, r"is full \(maxmemory\)"), (fail_to_save, "cannot save its data"), (demote, "read-only replica now")]


@pytest.mark.parametrize(("refuse", "sentence"), REFUSALS, ids=["full", "misconf", "readonly"])
async def test_a_refused_change_leaves_nothing_under_way_and_all_can_be_read(
    refuse: Callable[[RedisServer], None], sentence: str, redis_factory: Callable[..., RedisServer]
) -> None:
    """The sentence is for an administrator, and has no part of the command in it."""
    redis = redis_factory(settings={"enable-protected-configs": "yes"})
    async with opened(redis) as store:
        await store.apply(ADA)
        refuse(redis)

        async def refused() -> StoreError:
            while True:
                try:
                    await store.apply(BOB)
                except StoreWriteRefusedError as error:
                    return error
                await asyncio.sleep(0.05)

        error = await within(refused(), SECONDS)
        assert re.search(sentence, str(error))
        assert SECRET not in str(error)
        assert "MSET" not in str(error)
        # A read that began with a write would be refused as well.
        snapshot = await within(store.snapshot(), SECONDS)
        assert snapshot.config["http/a"] == SECRET


async def test_a_script_that_does_not_end_is_waited_for(redis_factory: Callable[..., RedisServer]) -> None:
    """It passes, and the sentence says how to end it."""
    redis = redis_factory(settings={"busy-reply-threshold": "50"})
    async with opened(redis) as store:
        await store.apply(ADA)
        script = asyncio.create_task(
            asyncio.to_thread(ask, redis.unix_socket, ("EVAL", "while true do end", "0"), timeout=60)
        )

        async def until_refused() -> None:
            while True:
                await store.snapshot()

        with pytest.raises(StoreUnavailableError, match="SCRIPT KILL"):
            await until_refused()
        redis.command("SCRIPT", "KILL")
        with pytest.raises(Exception, match="killed by user"):
            await script
        await store.apply(BOB)


async def test_a_hub_starts_on_a_full_redis_serves_what_is_there_and_goes_on_when_there_is_room(
    redis_server: RedisServer,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A user who logs in meanwhile waits, and comes in."""
    caplog.set_level(logging.INFO)
    # A hub keeps its secret, and with it the login to Traefik's API that is in the store.
    same = {"check_route_timeout": 30, "app": SimpleNamespace(cookie_secret=bytes(32), cleanup_proxy=True)}
    proxy = await start_proxy(**same)
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    await proxy.stop()
    fill(redis_server)
    caplog.clear()
    again = await start_proxy(traefik_api_url=proxy.traefik_api_url, public_url=proxy.public_url, **same)
    assert "is full (maxmemory); give it more memory or remove other keys" in caplog.text
    assert await client_of(again).ask("/user/ada/") == (200, port_of(target))
    adding = asyncio.create_task(again.add_route("/user/bob/", target, {}))
    assert "/user/ada/" in await again.get_all_routes()
    assert not adding.done()
    redis_server.command("CONFIG", "SET", "maxmemory", "0")
    await adding
    assert await client_of(again).ask("/user/bob/") == (200, port_of(target))


@pytest.mark.parametrize("key", ["jupyterhub/hub", "jupyterhub/fence", "jupyterhub/routes"])
async def test_a_key_of_the_hubs_own_of_another_type_is_written_over(
    key: str, redis_server: RedisServer, start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """As every key that was changed by hand: at work, and at a start."""
    target = await doors.open()
    proxy = await start_proxy(check_route_timeout=SECONDS)
    await proxy.add_route("/user/ada/", target, {"user": "ada"})
    spoil = [("DEL", key), ("LPUSH", key, "x")]
    for command in spoil:
        redis_server.command(*command)
    await proxy.add_route("/user/bob/", target, {})
    assert await client_of(proxy).ask("/user/bob/") == (200, port_of(target))
    await until(lambda: redis_server.command("TYPE", key) != "list", SECONDS)
    await until(lambda: redis_server.command("HLEN", "jupyterhub/routes") >= 2, SECONDS)
    await proxy.stop()
    redis_server.command("DEL", "jupyterhub/hub", "jupyterhub/fence")
    redis_server.command("LPUSH", "jupyterhub/hub", "x")
    redis_server.command("LPUSH", "jupyterhub/fence", "x")
    await start_proxy(traefik_api_url=proxy.traefik_api_url, public_url=proxy.public_url)


@pytest.mark.parametrize(
    "change",
    [("resetpass", ">other"), ("resetkeys", "~nothing"), ("resetchannels",), ("-mget",), ("off",), ("+set", "~*")],
    ids=lambda change: change[0],
)
async def test_traefiks_user_is_made_again_as_the_hub_has_made_it(
    change: tuple[str, ...], redis_server: RedisServer, start_proxy: Start
) -> None:
    """With any change of it."""

    def described() -> Any:
        listed = redis_server.command("ACL", "LIST")
        assert isinstance(listed, list)
        return [sorted(str(line).split()) for line in listed if str(line).startswith("user traefik ")]

    await start_proxy(redis_admit_traefik=True, redis_traefik_username="traefik", redis_traefik_password="s3cret/too")
    made = described()
    redis_server.command("ACL", "SETUSER", "traefik", *change)
    assert described() != made
    await until(lambda: described() == made, SECONDS)


async def test_a_refused_multi_applies_nothing(redis_factory: Callable[..., RedisServer]) -> None:
    """The rest of the transaction is not even sent."""
    redis = redis_factory(acl=["default on nopass ~* &* +@all", "hub on >x ~* &* +@all"])
    async with opened(redis, username="hub", password="x") as store:
        await store.apply(ADA)
        redis.command("ACL", "SETUSER", "hub", "-multi")
        with pytest.raises(StoreAuthError, match="'multi'"):
            await store.apply(BOB)
        assert redis.command("EXISTS", "traefik/http/b") == 0
        redis.command("ACL", "SETUSER", "hub", "+multi")
        assert set((await store.snapshot()).records) == {"/a/"}


async def test_a_database_that_redis_does_not_have_is_named(redis_factory: Callable[..., RedisServer]) -> None:
    """Two tiers need the next one, which an administrator may not think of."""
    redis = redis_factory(settings={"databases": "1"})
    store = RedisStore(parse_connection(f"{redis.url.removesuffix('/0')}/1"), "hot-traefik", "hot-jupyterhub")
    try:
        with pytest.raises(StoreError, match=r"has no database 1 .*redis_url.*'databases'.*c.TraefikProxy.route_tiers"):
            await store.snapshot()
    finally:
        await store.aclose()


async def test_a_redis_that_says_nothing_is_told_after_one_time_out(redis_server: RedisServer) -> None:
    """Not after seven."""
    server = psutil.Process(redis_server.pid)
    url = f"{redis_server.url}?socket_timeout=3.5"
    store = RedisStore(parse_connection(url), "traefik", "jupyterhub")
    try:
        await store.apply(ADA)
        server.suspend()
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(StoreUnavailableError):
            await store.get("http/a")
        assert loop.time() - start < 2 * 3.5
    finally:
        server.resume()
        await store.aclose()


async def test_many_keys_of_others_in_the_same_database_are_named(redis_server: RedisServer) -> None:
    """Not in another one, and not the hub's own."""
    store = RedisStore(parse_connection(redis_server.url), "traefik", "jupyterhub")
    fill_with = "for i = 1, ARGV[1] do redis.call('SET', KEYS[1] .. i, i) end"
    try:
        redis_server.command("EVAL", fill_with, "1", "traefik/http/", "20000")
        assert not any("keys of others" in said for said in await store.check())
        redis_server.command("EVAL", fill_with, "1", "other:", "12345")
        assert [said for said in await store.check() if "holds 12345 keys of others" in said]
    finally:
        await store.aclose()
