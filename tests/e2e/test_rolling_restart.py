"""One of two Traefiks is replaced, as by a rolling update: who is connected, who comes new, and when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from kvproxy.testing.servers import EchoServer, RedisServer, wait_until
from kvproxy_redis import TraefikRedisProxy

from .deployed import HUB_PASSWORD, ExampleTraefik, example_balancer, example_redis, static_of
from .proxies import making, serving, until_true

pytestmark = pytest.mark.timeout(120)

#: In the place of the examples' 60 s, for which no test can wait.
GRACE = 3
#: For how long newcomers are taken, in Compose's example; HAProxy has to hear of it in that time.
ACCEPT = 5
_SLOW_ANSWER = ACCEPT + GRACE - 2


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with example_redis() as server:
        yield server


@pytest.fixture
def traefiks(tmp_path: Path, redis: RedisServer, request: pytest.FixtureRequest) -> Iterator[list[ExampleTraefik]]:
    """Two of an example, kubernetes if the test does not say which."""
    example = getattr(request, "param", "kubernetes")
    times = {"graceTimeOut": f"{GRACE}s"}
    if example == "compose":
        life_cycle = static_of(example)["entryPoints"]["http"]["transport"]["lifeCycle"]
        assert life_cycle["requestAcceptGraceTimeout"] == f"{ACCEPT}s"
    made = [ExampleTraefik(tmp_path, f"traefik-{number}", example, redis.port, times) for number in (1, 2)]
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(one) for one in made]


@pytest.fixture
async def proxy(tmp_path: Path, redis: RedisServer, traefiks: list[ExampleTraefik]) -> AsyncIterator[TraefikRedisProxy]:
    """A hub's proxy beside both, with the login of the examples' hub."""
    login = {"redis_url": redis.url, "redis_username": "hub", "redis_password": HUB_PASSWORD}
    places = {"public_url": f"{traefiks[0].url}/", "traefik_api_url": [one.api_url for one in traefiks]}
    async with making(TraefikRedisProxy, tmp_path, should_start=False, placeholder_certificate=True, **login) as make:
        yield make(**places)


async def status_of(url: str) -> int:
    """By a new connection; 0 if there is none."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        try:
            async with session.get(url) as answer:
                await answer.read()
                return answer.status
        except aiohttp.ClientError:
            return 0


async def all_ready(traefiks: list[ExampleTraefik]) -> None:
    """Wait until each has what the hub has set up."""
    for one in traefiks:
        await until_true(functools.partial(_serves, one.probe_url), 10)


class Newcomers:
    """Somebody new comes all the time, by a connection of their own; what went wrong is kept."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[int] = []
        self._ended = False

    async def __aenter__(self) -> Newcomers:
        self._task = asyncio.create_task(self._come())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended = True
        await self._task

    async def _come(self) -> None:
        while not self._ended:
            self.seen.append(await status_of(self.url))
            await asyncio.sleep(0.02)


async def speaks(socket: aiohttp.ClientWebSocketResponse[bool]) -> bool:
    """Send a message; True if its echo comes back."""
    await socket.send_str("x")
    return (await socket.receive(timeout=10)).data == "x"


async def seconds_open(socket: aiohttp.ClientWebSocketResponse[bool], begin: float) -> float:
    """How long it goes on, spoken to all the time."""
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        while await speaks(socket):
            await asyncio.sleep(0.05)
    return time.monotonic() - begin


@pytest.mark.parametrize("traefiks", ["compose"], indirect=True)
async def test_nothing_is_cut_off_before_its_time_and_nobody_new_is_turned_away(
    proxy: TraefikRedisProxy, traefiks: list[ExampleTraefik]
) -> None:
    """Websockets and slow answers go on for the seconds that Traefik is given; the balancer leads others elsewhere."""

    async def slow(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(_SLOW_ANSWER)
        return web.Response(text="at last")

    leaving, staying = traefiks
    with EchoServer() as echo:
        async with serving(slow) as target, aiohttp.ClientSession() as session:
            await proxy.add_route("/user/ada/", echo.url, {})
            await proxy.add_route("/user/slow/", target, {})
            await all_ready(traefiks)
            with example_balancer(traefiks) as balancer:
                answer = asyncio.create_task(_text(session, f"{leaving.url}/user/slow/"))
                async with (
                    session.ws_connect(f"{leaving.url}/user/ada/ws") as socket,
                    session.ws_connect(f"{staying.url}/user/ada/ws") as other,
                    Newcomers(f"http://127.0.0.1:{balancer.port}/user/ada/") as newcomers,
                ):
                    assert await speaks(socket)
                    begin = time.monotonic()
                    os.kill(leaving.pid, signal.SIGTERM)
                    await until_true(functools.partial(_says, leaving.probe_url, 503), ACCEPT - 1)
                    assert await seconds_open(socket, begin) > ACCEPT + GRACE - 0.5
                    assert await answer == "at last"
                    await until_true(lambda: _ended(leaving), 10)
                    leaving.start()
                    await until_true(lambda: _serves(leaving.probe_url), 10)
                    assert await speaks(other)
                assert set(newcomers.seen) == {200}
                assert len(newcomers.seen) > 100


async def _ended(traefik: ExampleTraefik) -> bool:
    return not traefik.running


async def _says(url: str, status: int) -> bool:
    return await status_of(url) == status


async def _serves(url: str) -> bool:
    return await _says(url, 200)


async def _text(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        return await answer.text()


async def test_open_connections_go_on_after_the_port_is_closed(
    proxy: TraefikRedisProxy, traefiks: list[ExampleTraefik]
) -> None:
    """As in Kubernetes, which sends no newcomers while `preStop` sleeps, and only then the signal."""
    leaving = traefiks[0]
    with EchoServer() as echo:
        await proxy.add_route("/user/ada/", echo.url, {})
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{leaving.url}/user/ada/ws") as socket:
            begin = time.monotonic()
            os.kill(leaving.pid, signal.SIGTERM)
            await until_true(functools.partial(_says, f"{leaving.url}/user/ada/", 0), 2)
            assert await seconds_open(socket, begin) > GRACE - 0.5


async def test_it_is_ready_when_it_has_the_hubs_routes_and_not_before(
    proxy: TraefikRedisProxy, traefiks: list[ExampleTraefik], redis: RedisServer
) -> None:
    """Started while Redis is away, it would answer 404 to its share of the users; the other one serves on."""
    replaced, other = traefiks
    with EchoServer() as echo:
        await proxy.add_route("/user/ada/", echo.url, {})
        await all_ready(traefiks)
        redis.stop()
        replaced.restart()
        assert await status_of(replaced.probe_url) == 404
        assert await status_of(f"{replaced.url}/user/ada/") == 404
        assert await status_of(other.probe_url) == 200
        assert await status_of(f"{other.url}/user/ada/") == 200
        redis.start()
        await until_true(lambda: _serves(replaced.probe_url), 30)
        assert await status_of(f"{replaced.url}/user/ada/") == 200


async def test_it_is_not_ready_before_a_hub_has_set_it_up(traefiks: list[ExampleTraefik], redis: RedisServer) -> None:
    """On an empty Redis; it is alive all the same."""
    wait_until(lambda: redis.command("PUBSUB", "NUMPAT") != 0, "Traefik listens")
    assert [await status_of(one.probe_url) for one in traefiks] == [404, 404]
    assert all(one.running for one in traefiks)
