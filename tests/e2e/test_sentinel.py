"""Redis with Sentinel: real servers and sentinels, whose master is killed, cut off, and comes back under load."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kvproxy.errors import ConfigurationError, KVProxyError, StoreAuthError, StoreUnavailableError
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import Certificates, RedisServer, free_port, within
from kvproxy.testing.servers.network import Network
from kvproxy.testing.servers.programs import ServerError
from kvproxy.testing.servers.redis_tls import redis_with_tls
from kvproxy.testing.servers.resp import ReplyError
from kvproxy.testing.servers.sentinel import Access, SentinelGroup
from kvproxy_redis.connection import Connection, parse_connection
from kvproxy_redis.sentinels import parse_sentinels
from kvproxy_redis.store import RedisStore

from .load import Load, under_load
from .proxies import Client, Doors, Start, complaints, port_of
from .sentinels import ACCESS, LOGIN, PASSWORD, TWO_TIERS, Factory, admitting, settings
from .test_tiers import two

REVISION = "traefik/http/middlewares/kvproxy-revision/headers/customResponseHeaders/X-Kvproxy-Revision"
#: A value written to a master that is cut off.
ALONE = "traefik/http/routers/alone-kvp/rule"


@pytest.fixture(scope="module")
def quiet_group() -> Iterator[SentinelGroup]:
    """One that all tests share which leave it as it is."""
    with SentinelGroup(ACCESS) as group:
        yield group


def keys(group: SentinelGroup, number: int) -> Any:
    """A server's contents: how many keys, the revision, and the routes; None if it does not answer."""
    server = group.servers[number]
    with contextlib.suppress(OSError, ReplyError):
        routes = server.command("HKEYS", "jupyterhub/routes")
        assert isinstance(routes, list)
        return server.command("DBSIZE"), server.command("GET", REVISION), sorted(map(str, routes))
    return None


@pytest.mark.parametrize("tiers", ["one", "two"])
async def test_users_do_not_notice_that_the_master_is_killed(
    sentinel_factory: Factory, start_proxy: Start, doors: Doors, client_of: Callable[..., Client], tiers: str
) -> None:
    """A route that is added meanwhile is served when there is a new master; the old one comes back as a replica."""
    access, traits = (TWO_TIERS, two()) if tiers == "two" else (ACCESS, {})
    group = sentinel_factory(access)
    proxy = await start_proxy(**settings(group), **LOGIN, **traits)
    async with under_load(proxy, doors, client_of) as target:
        old = group.master()
        group.servers[old].kill()
        await proxy.add_route("/user/meanwhile/", target, {"user": "meanwhile"})
        assert await client_of(proxy).ask("/user/meanwhile/") == (200, port_of(target))
        assert group.master() != old
        group.servers[old].start()
        await until(group.complete, 60)
        assert group.role(old) == "slave"
        await proxy.add_route("/user/later/", target, {"user": "later"})
        assert await client_of(proxy).ask("/user/later/") == (200, port_of(target))
    await until(lambda: keys(group, old) == keys(group, group.master()))


@pytest.mark.endurance
async def test_users_do_not_notice_that_the_master_is_cut_off(
    sentinel_factory: Factory, start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """With its sentinel, without a word, and comes back: it was not written to, and its own data is gone.

    The hub follows the sentinels. Traefik goes on listening to a master that has not closed the connection, until that
    comes back or the connection is found to be dead (docs/how-to/sentinel.md); what it serves, it goes on serving.
    """
    group = sentinel_factory(ACCESS, separate=Network.possible())
    proxy = await start_proxy(**settings(group), **LOGIN, check_route_timeout=90)
    async with under_load(proxy, doors, client_of) as target:
        old = group.master()
        before = keys(group, old)
        group.cut(old)
        adding = asyncio.create_task(proxy.add_route("/user/meanwhile/", target, {"user": "meanwhile"}))
        await asyncio.to_thread(group.wait_for_another_master, old)
        await until(lambda: "/user/meanwhile/" in str(keys(group, group.master())))
        assert group.servers[group.master()].command("PUBSUB", "NUMPAT") == 0
        if Network.possible():
            assert keys(group, old) == before
            group.servers[old].command("SET", ALONE, "PathPrefix(`/user/u1/`)")
        group.join(old)
        await adding
        assert await client_of(proxy).ask("/user/meanwhile/") == (200, port_of(target))
        await until(group.complete, 60)
        assert group.role(old) == "slave"
        await proxy.add_route("/user/later/", target, {"user": "later"})
        assert await client_of(proxy).ask("/user/later/") == (200, port_of(target))
    await until(lambda: keys(group, old) == keys(group, group.master()))
    assert group.servers[old].command("EXISTS", ALONE) == 0


@pytest.mark.endurance
async def test_routes_that_a_failover_lost_come_back(
    sentinel_factory: Factory, start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Redis had confirmed them, but told no replica of them."""
    group = sentinel_factory(ACCESS, separate=Network.possible())
    proxy = await start_proxy(**settings(group), **LOGIN)
    async with under_load(proxy, doors, client_of) as target:
        old = let_replicas_lag(group)
        await proxy.add_route("/user/lost/", target, {"user": "lost"})
        await asyncio.to_thread(fail_over, group, old)
        await until(lambda: "/user/lost/" in str(keys(group, group.master())), 30)
        assert await client_of(proxy).ask("/user/lost/") == (200, port_of(target))


@pytest.mark.endurance
async def test_users_do_not_notice_what_a_failover_has_lost_where_the_hub_admits_traefik(
    sentinel_factory: Factory, start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """The new master does not know Traefik before the hub has written what is missing there."""
    group = sentinel_factory(admitting(), separate=Network.possible())
    proxy = await start_proxy(**settings(group), **LOGIN, redis_admit_traefik=True)
    async with under_load(proxy, doors, client_of) as target:
        old = let_replicas_lag(group)
        lost = {f"/user/lost{number}/": port_of(target) for number in range(5)}
        await asyncio.gather(*(proxy.add_route(path, target, {}) for path in lost))
        async with Load([client_of(proxy)], lost) as load:
            await asyncio.to_thread(fail_over, group, old)
            await until(lambda: "/user/lost4/" in str(keys(group, group.master())), 30)
            await proxy.add_route("/user/new/", target, {})
        assert load.failures == []
        assert load.requests > 100


def let_replicas_lag(group: SentinelGroup) -> int:
    """Have the replicas take nothing from the master from now on; returns its number."""
    master = group.master()
    for number in range(3):
        if number != master:
            group.servers[number].command("REPLICAOF", "NO", "ONE")
    return master


def fail_over(group: SentinelGroup, old: int) -> None:
    """Kill the master and wait until another one is."""
    group.servers[old].kill()
    group.wait_for_another_master(old)


async def test_a_read_never_mixes_two_servers(redis_factory: Callable[..., RedisServer]) -> None:
    """The cursor of a scan means something else to a server that has taken over, and skips keys there."""
    old, new = redis_factory(), redis_factory()
    for name, server in (("old", old), ("new", new)):
        server.command("MSET", *(part for number in range(5000) for part in (f"traefik/{name}-{number}", "x" * 50)))
    ports = iter([old.port, *[new.port] * 10])

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, limit: float) -> None:
        while limit > 0 and (data := await source.read(4096)):
            sink.write(data)
            limit -= len(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = next(ports)
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        # The old server is gone in the middle of its answers.
        limit = 200_000 if port == old.port else float("inf")
        ways = [pass_on(reader, back_writer, float("inf")), pass_on(back_reader, writer, limit)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        back_writer.close()
        writer.close()

    front = await asyncio.start_server(serve, "127.0.0.1", 0)
    store = RedisStore(Connection(port=front.sockets[0].getsockname()[1]), "traefik", "jupyterhub")
    found = await store.snapshot()
    await store.aclose()
    front.close()
    assert found.config == {f"new-{number}": "x" * 50 for number in range(5000)}


async def test_a_sentinel_that_is_away_keeps_no_hub_from_starting(
    sentinel_factory: Factory,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not even the first one of those that are named; it is said."""
    group = sentinel_factory(ACCESS)
    group.sentinels[0].kill()
    proxy = await within(start_proxy(**settings(group), **LOGIN), 15)
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {"user": "ada"})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    assert re.search(rf"The sentinel at {group.addresses[0]} cannot be reached .*The others are asked", caplog.text)


async def test_sentinels_that_could_not_agree_are_named(
    sentinel_factory: Factory, start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """One of three still tells where the master is; it could not replace it."""
    group = sentinel_factory(ACCESS)
    for sentinel in group.sentinels[1:]:
        sentinel.kill()

    def powerless() -> bool:
        try:
            return group.sentinels[0].command("SENTINEL", "CKQUORUM", group.name) is None
        except ReplyError:
            return True

    await until(powerless)
    await start_proxy(**settings(group), **LOGIN)
    assert re.search("could not fail over the master 'mymaster' just now: NOQUORUM", caplog.text)
    assert caplog.text.count("The others are asked instead") == 2


@pytest.mark.parametrize(
    ("wrong", "kind", "sentence"),
    [
        (
            {"redis_sentinel_master": "other"},
            ConfigurationError,
            r"no master 'other' \(redis_sentinel_master\), but 'my",
        ),
        ({"redis_sentinel_password": "wrong"}, StoreAuthError, r"sentinel at .* refuses .*redis_sentinel_password"),
        ({"redis_sentinel_username": "", "redis_sentinel_password": ""}, StoreAuthError, "redis_sentinel_password"),
        ({"redis_password": "wrong"}, StoreAuthError, r"Redis at .* refuses the credentials; .* redis_password"),
        ({"redis_username": "traefik", "redis_password": f"{PASSWORD}-too"}, StoreAuthError, "user 'traefik'"),
    ],
)
async def test_permanent_errors_are_reported_at_once(
    wrong: dict[str, str],
    kind: type[KVProxyError],
    sentence: str,
    quiet_group: SentinelGroup,
    start_proxy: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However long the store may be late; in one sentence, without a password."""
    with pytest.raises(kind, match=sentence) as refused:
        await within(start_proxy(**settings(quiet_group), **{**LOGIN, **wrong}, store_timeout=60), 10)
    assert PASSWORD not in str(refused.value) + caplog.text


async def test_a_password_of_the_sentinels_that_was_changed_is_told_when_the_master_is_lost(
    sentinel_factory: Factory,
) -> None:
    """Not as a master that is missing: all sentinels answer, and refuse."""
    group = sentinel_factory(ACCESS, replicas=0)
    names = {"username": "hub", "password": PASSWORD}
    sentinels = parse_sentinels(group.addresses, "mymaster", "kvproxy", f"{PASSWORD}-3")
    store = RedisStore(parse_connection("redis:///0", **names, sentinels=sentinels), "traefik", "jupyterhub")
    try:
        await store.snapshot()
        for sentinel in group.sentinels:
            sentinel.command("ACL", "SETUSER", "kvproxy", "resetpass", ">another")
            sentinel.command("CLIENT", "KILL", "USER", "kvproxy")
        group.servers[group.master()].kill()
        with pytest.raises(StoreUnavailableError, match=r"no master just now.* refuses .*redis_sentinel_password"):
            await store.snapshot()
    finally:
        await store.aclose()


async def test_a_sentinel_that_answers_without_a_login_is_named(
    sentinel_factory: Factory, start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """And so are the servers."""
    group = sentinel_factory(replicas=0)
    await start_proxy(**settings(group))
    assert re.search(rf"sentinel.* at .*{group.addresses[0]}.* without a login", caplog.text)
    assert re.search(r"Redis at .* answers without a login", caplog.text)


async def test_unreachable_sentinels_are_given_up(start_proxy: Start) -> None:
    """After the configured time."""
    traits = {"redis_sentinels": f"127.0.0.1:{free_port()}, 127.0.0.1:{free_port()}", "redis_url": "redis:///0"}
    with pytest.raises(StoreUnavailableError, match=r"sentinel at .* cannot be reached.*Gave up after 0.5 s"):
        await within(start_proxy(**traits, store_timeout=0.5), 5)


async def test_nothing_secret_is_shown_and_each_comes_as_its_own_user(
    quiet_group: SentinelGroup,
    start_proxy: Start,
    doors: Doors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing to complain of either, with the documented settings; no server has refused anything."""
    for sentinel in quiet_group.sentinels:
        sentinel.command("ACL", "LOG", "RESET")
    proxy = await start_proxy(**settings(quiet_group), **LOGIN, traefik_log_level="DEBUG")
    await proxy.add_route("/user/ada/", await doors.open(), {"user": "ada"})
    await proxy.delete_route("/user/ada/")
    master = quiet_group.servers[quiet_group.master()]
    connected = set(re.findall(r" user=([\w-]+)", str(master.command("CLIENT", "LIST"))))
    assert connected == {"hub", "traefik", "sentinel", "replica", "kvproxy-testing"}
    for sentinel in quiet_group.sentinels:
        assert sentinel.command("ACL", "LOG") == []
    await proxy.stop()
    assert [said for said in complaints(caplog) if "(CONFIG GET)" not in said] == []
    assert "without a login" not in caplog.text
    assert PASSWORD not in caplog.text


async def test_a_group_that_could_not_fail_over_is_named(
    sentinel_factory: Factory, start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """One server and one sentinel, with a password and no users, work like one server, and are no safer."""
    group = sentinel_factory(Access(sentinel_password=PASSWORD), replicas=0)
    await start_proxy(**settings(group), redis_sentinel_password=PASSWORD)
    assert "is watched by 1 sentinel only" in caplog.text
    assert "has no replica" in caplog.text


async def test_tls(
    sentinel_factory: Factory,
    certificates: Certificates,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
) -> None:
    """To servers and sentinels alike, before and after a change of the master."""
    try:
        program = redis_with_tls()
    except ServerError as error:
        pytest.skip(str(error))
    group = sentinel_factory(ACCESS, certificates=certificates, program=program)
    traits = {**settings(group), **LOGIN, "redis_url": "rediss:///0"}
    proxy = await start_proxy(**traits, redis_client_kwargs={"ssl_ca_certs": str(certificates.ca)})
    async with under_load(proxy, doors, client_of) as target:
        old = group.master()
        group.servers[old].kill()
        await proxy.add_route("/user/ada/", target, {"user": "ada"})
        assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))


async def test_tls_with_an_unknown_authority_fails_at_once(
    sentinel_factory: Factory, certificates: Certificates, start_proxy: Start
) -> None:
    """Already at the sentinels."""
    try:
        program = redis_with_tls()
    except ServerError as error:
        pytest.skip(str(error))
    group = sentinel_factory(certificates=certificates, program=program)
    with pytest.raises(KVProxyError, match=r"sentinel at .*ssl_ca_certs"):
        await within(start_proxy(**settings(group) | {"redis_url": "rediss:///0"}), 10)
