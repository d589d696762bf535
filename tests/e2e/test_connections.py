"""Every way to reach Redis that kvproxy offers, taken by the hub's client and by the real Traefik."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import logging
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from kvproxy.errors import ConfigurationError, StoreAuthError, StoreError, StoreUnavailableError
from kvproxy.store import Operation, Space, Transaction
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import Certificates, RedisServer, TlsFront, free_port, within
from kvproxy.testing.servers.resp import ReplyError, ask
from kvproxy_redis import TraefikRedisProxy
from kvproxy_redis.connection import parse_connection
from kvproxy_redis.store import RedisStore

from .proxies import Client, Doors, External, Start, add_all, complaints, port_of

PASSWORD = "s3cret/with:odd@characters%"
ACL = re.findall(r"^user (.*)$", (Path(__file__).parents[2] / "docs/how-to/redis.md").read_text(), re.MULTILINE)
DEFAULT, HUB, TRAEFIK = (line.replace("change-me", PASSWORD) for line in ACL)


async def assert_works(proxy: TraefikRedisProxy, doors: Doors, client_of: Callable[..., Client]) -> None:
    """Routes reach Traefik by way of Redis."""
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {"user": "ada"})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    await proxy.delete_route("/user/ada/")
    assert await proxy.get_all_routes() == {}


@pytest.mark.parametrize("way", ["db", "userinfo", "traits", "kwargs", "unix"])
async def test_ways_to_name_a_redis(
    way: str,
    redis_factory: Callable[..., RedisServer],
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
) -> None:
    """Traefik is told the same as the hub's client."""
    redis = redis_factory(acl=["default on nopass ~* &* +@all", "ada on >a%2Fb ~* &* +@all"])
    traits: dict[str, Any] = {
        "db": {"redis_url": f"redis://127.0.0.1:{redis.port}/5"},
        "userinfo": {"redis_url": f"redis://ada:a%252Fb@127.0.0.1:{redis.port}"},
        "traits": {"redis_username": "ada", "redis_password": "a%2Fb", "redis_url": redis.url},
        "kwargs": {
            "redis_url": "redis://nowhere.invalid",
            "redis_client_kwargs": {"host": "127.0.0.1", "port": redis.port, "db": 2, "retry_on_timeout": True},
        },
        "unix": {"redis_url": f"unix://{redis.unix_socket}?db=1"},
    }[way]
    await assert_works(await start_proxy(**traits), doors, client_of)


async def test_tls_with_client_certificates(
    redis_factory: Callable[..., RedisServer],
    certificates: Certificates,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
) -> None:
    """``rediss://`` with authority, certificate and key."""
    redis = redis_factory()
    with TlsFront(redis.port, certificates, client_certificate=True) as front:
        kwargs = {
            "ssl_ca_certs": str(certificates.ca),
            "ssl_certfile": str(certificates.client_certificate),
            "ssl_keyfile": str(certificates.client_key),
        }
        proxy = await start_proxy(redis_url=f"rediss://localhost:{front.port}", redis_client_kwargs=kwargs)
        await assert_works(proxy, doors, client_of)


async def test_tls_with_an_unknown_authority_fails_at_once(
    redis_factory: Callable[..., RedisServer], certificates: Certificates, start_proxy: Start
) -> None:
    """And says which option to give; ``ssl_cert_reqs='none'`` is honoured."""
    redis = redis_factory()
    with TlsFront(redis.port, certificates) as front:
        with pytest.raises(StoreError, match=r"not trusted \(.*certificate.*\); give its authority with ssl_ca_certs"):
            await within(start_proxy(redis_url=f"rediss://localhost:{front.port}"), 5)
        await start_proxy(redis_url=f"rediss://localhost:{front.port}?ssl_cert_reqs=none")


async def test_tls_to_a_port_without_it_is_guessed(redis_server: RedisServer, start_proxy: Start) -> None:
    """Redis waits for more of what it takes for a command, so all that the client sees is silence."""
    with pytest.raises(StoreUnavailableError, match="does it speak TLS there"):
        await start_proxy(redis_url=f"rediss://127.0.0.1:{redis_server.port}?socket_connect_timeout=1", store_timeout=1)


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_a_wrong_password_fails_at_once_without_repeating_it(
    password: str, redis_factory: Callable[..., RedisServer], start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """However long the store may be late."""
    redis = redis_factory(password=PASSWORD)
    with pytest.raises(StoreAuthError, match="redis_password") as failed:
        await within(start_proxy(redis_url=redis.url, redis_password=password, store_timeout=60), 5)
    assert PASSWORD not in str(failed.value) + caplog.text
    assert "wrong" not in str(failed.value)


async def test_a_user_without_rights_is_told_so_at_once(
    redis_factory: Callable[..., RedisServer], start_proxy: Start
) -> None:
    """Naming the user."""
    redis = redis_factory(acl=["default on nopass ~* &* +@all", "weak on >x ~* &* +@read +@connection"])
    with pytest.raises(StoreAuthError, match="'weak'"):
        await within(start_proxy(redis_url=f"redis://weak:x@127.0.0.1:{redis.port}"), 5)


@pytest.mark.parametrize("missing", ["-mset", "-hset", "-hdel", "-publish", "-multi", "-hget", "&nothing"])
async def test_a_check_finds_missing_rights_and_writes_nothing(
    missing: str, redis_factory: Callable[..., RedisServer]
) -> None:
    """Each right that the hub needs counts."""
    rights = "~traefik/* ~jupyterhub/* +@read +@write +@transaction +@pubsub +@connection"
    channels = missing if missing.startswith("&") else "&__keyspace*"
    command = "" if missing.startswith("&") else missing
    redis = redis_factory(
        acl=[
            "default on nopass ~* &* +@all",
            f"weak on >x resetchannels {channels} {rights} {command}",
            f"hub on >x resetchannels &__keyspace* {rights}",
        ]
    )

    async def check(user: str) -> None:
        store = RedisStore(parse_connection(f"redis://{user}:x@127.0.0.1:{redis.port}"), "traefik", "jupyterhub")
        try:
            await store.check()
        finally:
            await store.aclose()

    await check("hub")
    with pytest.raises(StoreAuthError, match="'weak'"):
        await check("weak")
    assert redis.command("DBSIZE") == 0


@pytest.mark.parametrize("own_user", [False, True, "extra_static_config"])
async def test_the_documented_least_rights_are_enough_and_nothing_secret_is_shown(
    own_user: bool | str,
    redis_factory: Callable[..., RedisServer],
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in the log, nor in a command line, nor in a file that others may read. extra_static_config wins."""
    caplog.set_level(logging.DEBUG)
    redis = redis_factory(acl=[DEFAULT, HUB, TRAEFIK], appendonly=True)
    login = {"username": "traefik", "password": f"{PASSWORD}-too"}
    traits: dict[str, Any] = {f"redis_traefik_{name}": value for name, value in login.items()} if own_user else {}
    if own_user == "extra_static_config":
        traits |= {"redis_traefik_username": "nobody", "extra_static_config": {"providers": {"redis": login}}}
    proxy = await start_proxy(
        redis_url=redis.url,
        redis_username="hub",
        redis_password=PASSWORD,
        traefik_log_level="DEBUG",
        **traits,
    )
    await assert_works(proxy, doors, client_of)
    connected = set(re.findall(r" user=([\w-]+)", str(redis.command("CLIENT", "LIST"))))
    assert connected - {"kvproxy-testing"} == ({"hub", "traefik"} if own_user else {"hub"})
    assert proxy.traefik_pid is not None
    children = [psutil.Process(proxy.traefik_pid), *psutil.Process().children(recursive=True)]
    assert not any(PASSWORD in argument for child in children for argument in child.cmdline())
    for file in tmp_path.rglob("*"):
        if file.is_file() and PASSWORD in file.read_text():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD in (tmp_path / "traefik.toml").read_text().replace("\\\\", "\\")
    await proxy.stop()
    assert PASSWORD not in caplog.text
    assert proxy.traefik_api_url in caplog.text or "Traefik" in caplog.text
    # Neither does Traefik miss a right, nor is anything to be said about a Redis that is set up so.
    assert "Provider error" not in caplog.text
    assert complaints(caplog) == []


#: Commands that the documented users are refused, each with the user.
REFUSED = [
    *((user, *command) for user in ("hub", "traefik") for command in (
        ("FLUSHALL",), ("FLUSHDB",), ("SWAPDB", "0", "1"), ("CLIENT", "PAUSE", "1"), ("CLIENT", "KILL", "ID", "1"),
        ("CLIENT", "LIST"), ("CONFIG", "SET", "save", ""), ("ACL", "LIST"), ("KEYS", "*"), ("SHUTDOWN",),
        ("GET", "other:secret"), ("SET", "other:secret", "x"), ("PUBLISH", "other", "x"), ("SUBSCRIBE", "other"),
        ("PSUBSCRIBE", "*"), ("EVAL", "return 1", "0"),
    )),
    ("traefik", "SET", "traefik/a", "x"),
    ("traefik", "GET", "jupyterhub/hub"),
    ("traefik", "PUBLISH", "__keyspace@0__:traefik/", "set"),
    ("traefik", "INFO"),
]  # fmt: skip


async def test_the_documented_users_are_refused_what_they_do_not_need(
    redis_factory: Callable[..., RedisServer],
) -> None:
    """Other applications' keys and channels, and whatever stops or empties the server."""
    redis = redis_factory(acl=[DEFAULT, HUB, TRAEFIK])
    said = []
    for user, *command in REFUSED:
        password = PASSWORD if user == "hub" else f"{PASSWORD}-too"
        with contextlib.suppress(ReplyError):
            said.append(("allowed", user, command, ask(redis.unix_socket, ("AUTH", user, password), tuple(command))))
    assert said == []


async def test_the_documented_default_user_lets_no_client_in_and_loses_nothing_at_a_restart(
    redis_factory: Callable[..., RedisServer],
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that is killed has all routes when it is back, before the hub looks."""
    redis = redis_factory(acl=[DEFAULT, HUB, TRAEFIK], appendonly=True)
    with pytest.raises(ReplyError, match="NOAUTH"):
        ask(redis.unix_socket, ("PING",))
    login = {"redis_url": redis.url, "redis_username": "hub", "redis_password": PASSWORD}
    proxy = await start_proxy(**login)
    target = await doors.open()
    await add_all(proxy, [(f"/user/{number}/", target) for number in range(20)])
    await proxy.stop()
    before = redis.command("HLEN", "jupyterhub/routes"), redis.command("DBSIZE")
    await until(lambda: "aof_pending_bio_fsync:0" in str(redis.command("INFO", "persistence")))
    await asyncio.sleep(1.1)  # Redis writes its file to disk every second
    redis.kill()
    redis.start()
    assert (redis.command("HLEN", "jupyterhub/routes"), redis.command("DBSIZE")) == before
    assert before[0] >= 20
    caplog.clear()
    again = await start_proxy(**login)
    assert await client_of(again).ask("/user/7/") == (200, port_of(target))
    assert "has lost" not in caplog.text


async def test_a_default_user_without_rights_is_warned_of_where_the_hub_may_ask(
    redis_factory: Callable[..., RedisServer], start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """With the command that mends it, whose effect is that nothing is said any more."""
    redis = redis_factory(acl=["default off", f"{HUB} +acl|getuser"], appendonly=True)
    login = {"redis_url": redis.url, "redis_username": "hub", "redis_password": PASSWORD}
    proxy = await start_proxy(**login)
    [command] = re.findall(r"drop every transaction of the hub .* (ACL SETUSER default off .*?)\. Put", caplog.text)
    await proxy.stop()
    redis.command(*command.split())
    caplog.clear()
    await start_proxy(**login)
    assert "drop every transaction" not in caplog.text


@pytest.mark.parametrize("own_user", [False, True])
async def test_a_redis_that_answers_without_a_login_is_named_once_at_start_with_what_closes_it(
    own_user: bool,
    redis_factory: Callable[..., RedisServer],
    start_proxy: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where the hub itself has a login; nothing is said once it is closed."""
    redis = redis_factory(acl=["default on nopass ~* &* +@all", HUB], appendonly=True)
    login = {"redis_username": "hub", "redis_password": PASSWORD} if own_user else {}
    await start_proxy(redis_url=redis.url, **login)
    assert caplog.text.count("answers without a login") == 1
    if not own_user:
        assert "requirepass" in caplog.text
        return
    [command] = re.findall(r"aclfile: (ACL SETUSER .*?) \(docs", caplog.text)
    redis.command(*command.split())
    with pytest.raises(ReplyError, match="NOAUTH"):
        ask(redis.unix_socket, ("PING",))


async def test_a_unix_socket_that_only_its_group_may_open_is_no_open_door(
    redis_factory: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """The TCP port of the same server is one, and so is a socket that every user may open."""
    redis = redis_factory(appendonly=True)
    store = RedisStore(parse_connection(f"unix://{redis.unix_socket}"), "traefik", "jupyterhub")
    try:
        assert [said.partition(" answers")[0] for said in await store.check()] == [
            f"Redis at redis://127.0.0.1:{redis.port}/0"
        ]
        redis.unix_socket.chmod(0o777)
        assert len(await store.check()) == 2
        redis.unix_socket.chmod(0o770)
        redis.command("CONFIG", "SET", "port", "0")
        assert await store.check() == []
    finally:
        await store.aclose()


async def test_a_late_redis_is_waited_for_and_said_once(
    redis_factory: Callable[..., RedisServer],
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is assumed to be up, but need not be up first."""
    redis = redis_factory()
    redis.stop()
    starting = asyncio.create_task(start_proxy(redis_url=redis.url))
    await until(lambda: "Waiting for it" in caplog.text)
    redis.start()
    await assert_works(await starting, doors, client_of)
    assert caplog.text.count("cannot be reached") == 1


async def test_an_absent_redis_is_given_up_with_a_clear_error(start_proxy: Start) -> None:
    """After the configured time."""
    with pytest.raises(
        StoreUnavailableError, match=r"cannot be reached.*Gave up after 0.5 s \(c.KVTraefikProxy.store_timeout"
    ):
        await within(start_proxy(redis_url=f"redis://127.0.0.1:{free_port()}", store_timeout=0.5), 5)


async def test_a_cluster_is_refused(redis_factory: Callable[..., RedisServer], start_proxy: Start) -> None:
    """Traefik cannot read from one."""
    with pytest.raises(ConfigurationError, match="Redis Cluster"):
        await start_proxy(redis_url=redis_factory(cluster=True).url)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "'appendonly yes'"),
        ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy noeviction"),
    ],
)
async def test_settings_that_hurt_are_named_at_start(
    options: dict[str, Any],
    sentence: str,
    redis_factory: Callable[..., RedisServer],
    start_proxy: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A sentence each, naming the setting to change."""
    redis = redis_factory(**options)
    redis.command("CONFIG", "SET", "maxmemory", "100mb")
    await start_proxy(redis_url=redis.url)
    assert sentence in caplog.text


async def test_a_key_that_is_not_text_is_named(redis_server: RedisServer, start_proxy: Start) -> None:
    """At the hub's start; it could not be found otherwise."""
    redis_server.command("EVAL", "return redis.call('SET', KEYS[1], string.char(255))", "1", "traefik/http/odd")
    with pytest.raises(StoreError, match=r"not UTF-8 text.* 'traefik/http/odd'; remove it"):
        await start_proxy()
    redis_server.command("DEL", "traefik/http/odd")
    await start_proxy()


async def test_nothing_is_said_about_a_redis_that_is_set_up_well(
    redis_factory: Callable[..., RedisServer], start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Missing keyspace notifications are no fault."""
    redis = redis_factory(appendonly=True, password=PASSWORD)
    await start_proxy(redis_url=redis.url, redis_password=PASSWORD)
    assert complaints(caplog) == []


@pytest.mark.parametrize("prefix", ["/traefik/", "/some_dynamic_config_prefix/", "deep/er"])
async def test_prefixes_with_slashes(
    prefix: str,
    redis_server: RedisServer,
    external: External,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
) -> None:
    """As the documentation of the peer writes them, and as Traefik's rootKey has them."""
    proxy = await start_proxy(kv_traefik_prefix=prefix, kv_jupyterhub_prefix="/some_other/")
    await assert_works(proxy, doors, client_of)
    await proxy.stop()
    keys = redis_server.command("KEYS", "*")
    assert isinstance(keys, list)
    assert {str(key).partition(prefix.strip("/"))[0] for key in keys} == {"", "some_other/fence", "some_other/routes"}
    await assert_works(external(root=prefix.strip("/"), kv_traefik_prefix=prefix), doors, client_of)


async def test_roots_that_would_mix_are_refused(start_proxy: Start) -> None:
    """Traefik's pattern `traefik*` has no separator."""
    with pytest.raises(ConfigurationError, match="kv_jupyterhub_prefix"):
        await start_proxy(kv_jupyterhub_prefix="traefik-hub")


async def test_the_api_lets_in_the_configured_user_only(start_proxy: Start) -> None:
    """Each with an answer in a moment: the hub's own requests need no slow hash."""
    proxy = await start_proxy(traefik_api_username="abc", traefik_api_password="123")
    async with aiohttp.ClientSession() as session:
        for auth, status in [(b"", 401), (b"abc:123", 200), (b"abc:no", 401), (b"jupyterhub:123", 401)]:
            login = {"Authorization": "Basic " + base64.b64encode(auth).decode()} if auth else {}
            async with session.get(f"{proxy.traefik_api_url}/api/version", headers=login) as answer:
                assert answer.status == status, auth


async def test_a_task_that_writes_without_pause_can_be_cancelled(redis_server: RedisServer) -> None:
    """At any moment, by one cancellation: redis-py loses it when a command has just gone out (before Python 3.12)."""
    store, reader = (RedisStore(parse_connection(redis_server.url), "traefik", "jupyterhub") for _ in range(2))
    turns = itertools.count()

    async def write() -> None:
        while True:
            await store.apply(Transaction((Operation(Space.CONFIG, "a", str(next(turns))),)))

    try:
        for _ in range(30):
            writing = asyncio.create_task(write())
            await reader.snapshot()
            writing.cancel()
            done, _ = await asyncio.wait([writing], timeout=30)
            assert done
    finally:
        await store.aclose()
        await reader.aclose()
