"""`SENTINEL FAILOVER` while users come and go: the old master lives on, and takes writes for ten seconds more."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import RedisServer, free_port
from kvproxy.testing.servers.named import RawClient
from kvproxy.testing.servers.resp import ReplyError
from kvproxy.testing.servers.sentinel import SentinelGroup
from kvproxy_redis.client import connect
from kvproxy_redis.connection import Connection
from kvproxy_redis.sentinels import Sentinels

from .proxies import Client, Doors, Start, port_of, until_true
from .sentinels import ACCESS, LOGIN, Factory, admitting, settings

ADMITS = {"redis_admit_traefik": True}
#: Seconds between two logins.
_PACE = 0.25
#: Seconds that a login may take while the master changes.
_SLOWEST = 3.0
#: The number of the last routes that are asked for without a pause.
_ASKING = 40


class Users:
    """Users who log in one after another, and from then on ask for their servers without a pause."""

    def __init__(self, proxy: KVTraefikProxy, target: str, clients: list[RawClient]) -> None:
        self._proxy, self._target, self._clients = proxy, target, clients
        self._told: list[str] = []
        self._ended = asyncio.Event()
        self._number = 0
        self.took: list[float] = []
        self.lost: list[tuple[float, str, object]] = []
        self.requests = 0

    async def _log_in(self) -> None:
        loop, path = asyncio.get_running_loop(), f"/user/come{self._number}/"
        self._number += 1
        start = loop.time()
        await self._proxy.add_route(path, self._target, {})
        self.took.append(loop.time() - start)
        self._told.append(path)

    async def _come(self) -> None:
        coming = []
        while not self._ended.is_set():
            coming.append(asyncio.create_task(self._log_in()))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._ended.wait()), _PACE)
        await asyncio.gather(*coming)

    async def _ask(self, client: RawClient) -> None:
        loop = asyncio.get_running_loop()
        while not self._ended.is_set():
            for path in self._told[-_ASKING:]:
                answer = await client.ask(path)
                self.lost += [] if answer == (200, port_of(self._target)) else [(loop.time(), path, answer)]
                self.requests += 1
                await asyncio.sleep(0.002)
            await asyncio.sleep(0.01)

    def longest(self) -> dict[str, float]:
        """For how many seconds, at least a thousandth, each was lost who was."""
        moments: dict[str, list[float]] = {}
        for moment, path, _ in self.lost:
            moments.setdefault(path, []).append(moment)
        return {path: max(found) - min(found) + 0.001 for path, found in moments.items()}

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Let them come and ask as long as this is open."""
        work = [self._come(), *map(self._ask, self._clients)]
        tasks = [asyncio.create_task(one) for one in work]
        try:
            yield
        finally:
            self._ended.set()
            await asyncio.gather(*tasks)


def settled(group: SentinelGroup) -> bool:
    """True if no sentinel is going to tell a server again to be a replica.

    One that has not noticed yet that a former master is one by now may do so when another sentinel has just made it the
    master again; then there is none for half a minute (Redis 7.0.15).
    """
    replies = [sentinel.command("SENTINEL", "REPLICAS", group.name) for sentinel in group.sentinels]
    return all(str(reply).count("'role-reported', 'slave'") == len(group.servers) - 1 for reply in replies)


async def replace_master(group: SentinelGroup) -> int:
    """Have the sentinels make another server the master, and wait until all is as before; gives back its number."""
    old = group.master()
    leader, before = group.sentinels[old], group.sentinels[old].master()

    def replaced() -> bool:
        if leader.master() == before:
            # Refused while one is under way, and given up if no replica is good enough at that moment.
            with contextlib.suppress(ReplyError):
                leader.command("SENTINEL", "FAILOVER", group.name)
        return leader.master() != before

    await until_true(lambda: asyncio.to_thread(settled, group), 60)
    await until_true(lambda: asyncio.to_thread(replaced), 60)
    await asyncio.to_thread(group.wait_for_another_master, old)
    await until_true(lambda: asyncio.to_thread(group.complete), 60)
    return group.master()


CASES = pytest.mark.parametrize(
    ("access", "traits", "seconds"), [(ACCESS, {}, 0.5), (admitting(), ADMITS, 0.0)], ids=["plain", "admitting"]
)
TIMES = [pytest.param(1, id="once"), pytest.param(10, id="ten-times", marks=pytest.mark.endurance)]


@pytest.mark.timeout(600)
@CASES
@pytest.mark.parametrize("times", TIMES)
async def test_users_do_not_notice_that_the_master_is_replaced(
    access: Any,
    traits: dict[str, Any],
    seconds: float,
    times: int,
    sentinel_factory: Factory,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Routes that were served stay so, new ones wait for a moment, and the log names the new master."""
    caplog.set_level("INFO")
    group = sentinel_factory(access)
    proxy = await start_proxy(**settings(group), **LOGIN, **traits)
    users = Users(proxy, await doors.open(), [client_of(proxy) for _ in range(2)])
    async with users.at_work():
        masters = []
        for _ in range(times):
            masters.append(await replace_master(group))
            # The hub takes a second to make a former master forget Traefik.
            await until(lambda: not traits or knowing(group) == masters[-1:])
    print(
        f"{times} failovers: {len(users.took)} logins, the slowest {max(users.took):.2f} s; {users.requests} requests, "
        f"{len(users.lost)} without an answer, a route for {max(users.longest().values(), default=0):.2f} s at most."
    )
    # Without admission, Traefik may read a part of each server, until the hub's next message to it.
    assert [path for path, lasted in users.longest().items() if lasted > seconds] == []
    assert users.requests > 0
    # Told by time only where nothing else is at work on the machine.
    assert times == 1 or max(users.took) < _SLOWEST
    said = re.findall(r"The master of Redis is now 127\.0\.0\.1:(\d+)", caplog.text)
    assert [int(port) for port in said][-times:] == [group.servers[number].port for number in masters]


async def test_no_replica_knows_a_traefik_that_the_hub_admits(sentinel_factory: Factory, start_proxy: Start) -> None:
    """Not even one that was the master, nor one that was told of it."""
    group = sentinel_factory(admitting())
    await start_proxy(**settings(group), **LOGIN, **ADMITS)
    assert knowing(group) == [group.master()]
    master = await replace_master(group)
    await until(lambda: knowing(group) == [master])
    group.servers[(master + 1) % 3].command("ACL", "SETUSER", "traefik", "on", ">x", "+@read", "~*")
    assert len(knowing(group)) == 2
    await until(lambda: knowing(group) == [master])


def knowing(group: SentinelGroup) -> list[int]:
    """Which servers know Traefik's user."""
    return [number for number in range(3) if "user traefik on" in str(group.servers[number].command("ACL", "LIST"))]


async def test_a_hub_that_may_not_remove_traefiks_user_from_a_replica_says_so(
    sentinel_factory: Factory, start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each server that is a replica, with the command that mends it; a command that really does."""
    group = sentinel_factory(admitting("+acl|setuser +acl|getuser"))
    await start_proxy(**settings(group), **LOGIN, **ADMITS)
    await until(lambda: caplog.text.count("remove Traefik's user") == 2)
    old, master = group.master(), await replace_master(group)
    await until(lambda: caplog.text.count("remove Traefik's user") == 3)
    assert knowing(group) == sorted({old, master})
    (command,) = set(re.findall(r"Say on every server: (.*) \(docs", caplog.text))
    for server in group.servers:
        server.command(*command.split())
    await until(lambda: knowing(group) == [master])


async def test_no_connection_to_a_server_that_was_replaced_is_used_again(
    redis_factory: Callable[..., RedisServer],
) -> None:
    """Idle ones are closed at once; one that is in use when it has done what it does, not in the midst of it."""
    old, new = redis_factory(), redis_factory()

    def connected() -> int:
        return str(old.command("CLIENT", "LIST")).count("name=kvproxy ")

    redis = connect(Connection(sentinels=Sentinels((("127.0.0.1", free_port()),))))
    redis.guide.heard = "127.0.0.1", old.port
    async with aclosing(redis.client()) as busy:
        await busy.set("begun", "1")
        await redis.set("idle", "1")
        assert connected() == 2
        redis.guide.heard = "127.0.0.1", new.port
        await redis.lead(redis.guide.heard)
        await until(lambda: connected() == 1)
        await busy.set("ended", "1")
    await redis.set("new", "1")
    await until(lambda: connected() == 0)
    await redis.aclose()
    assert [old.command("EXISTS", "begun", "ended"), new.command("KEYS", "*")] == [2, ["new"]]
