"""Parts of a running site die or lose what they know; its users and their servers go on, and so does the hub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import psutil
import pytest

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer, wait_until

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]

#: Within how many seconds everything has to be as before.
SECONDS = 10.0
WHO = "import os; print(os.environ['JUPYTERHUB_USER'])"


@pytest.fixture
def redis(redis_factory: Callable[..., RedisServer]) -> RedisServer:
    """The Redis of the hub."""
    return redis_factory(appendonly=True)


@pytest.fixture
def patience() -> float:
    """For how many seconds a removal waits for the store."""
    return 60.0


@pytest.fixture
def hub(hub_factory: Callable[..., HubProcess], redis: RedisServer, patience: float) -> Iterator[HubProcess]:
    """A running hub."""
    hub = hub_factory(
        {
            "TraefikRedisProxy.redis_url": redis.url,
            "KVTraefikProxy.store_timeout": patience,
            # A request for a server is answered at once, not when the server runs.
            "JupyterHub.tornado_settings": {"slow_spawn_timeout": 0},
        }
    )
    hub.start()
    yield hub
    assert hub.end() == 0
    # A server whose stop waited for the store ends a moment after the hub.
    wait_until(lambda: hub.family() == [], "all processes have ended", 10)
    assert hub.log_text.partition("Traceback")[2][:3000] == ""


@pytest.fixture
async def ada(hub: HubProcess) -> AsyncIterator[HubClient]:
    """A user whose server runs."""
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
        yield ada


async def becomes(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = SECONDS) -> None:
    """Wait for something to become so."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.05)


async def reaches_server(user: HubClient) -> bool:
    """True if a user's server answers at the public URL."""
    try:
        return (await user.server("GET", "api")).status == 200
    except (aiohttp.ClientError, asyncio.TimeoutError):
        return False


async def works(user: HubClient) -> bool:
    """True if a user's server does what the user wants, and is his own."""
    return await user.run(WHO) == f"{user.user}\n"


def recorded(redis: RedisServer, user: str) -> bool:
    """True if the store holds the record of a user's route."""
    return bool(redis.command("HEXISTS", "jupyterhub/routes", f"/user/{user}/"))


@pytest.mark.endurance
async def test_traefik_dies(hub: HubProcess, ada: HubClient) -> None:
    """It is started again; a spawn under way succeeds, and so does the next one."""
    (traefik,) = [process for process in hub.family() if process.name() == "traefik"]
    async with HubClient(hub, "bob") as bob:
        await bob.api("POST", "/users/bob")
        assert (await bob.api("POST", "/users/bob/server", {})).status == 202
        traefik.kill()
        await becomes(lambda: reaches_server(ada), "ada's server is reached")
        assert await works(ada)
        await bob.spawn()
        assert await works(bob)
    async with HubClient(hub, "eve") as eve:
        await eve.spawn()
        assert await works(eve)
    assert "Traefik was killed by signal 9; starting it again in 0.5 s." in hub.log_text
    assert [process.name() for process in hub.family()].count("traefik") == 1
    assert traefik not in psutil.process_iter()


async def test_the_store_is_emptied(hub: HubProcess, ada: HubClient, redis: RedisServer) -> None:
    """The hub is not asked to do anything about it."""
    assert recorded(redis, "ada")
    redis.command("FLUSHALL")

    async def restored() -> bool:
        return recorded(redis, "ada") and bool(redis.command("KEYS", "traefik/http/routers/kvproxy-api/*"))

    await becomes(restored, "ada's route is in the store again")
    assert await works(ada)
    async with HubClient(hub, "bob") as bob:
        await bob.spawn()
        assert await works(bob)


@pytest.mark.parametrize("patience", [2.0])
async def test_the_store_is_away_while_a_server_stops(hub: HubProcess, ada: HubClient, redis: RedisServer) -> None:
    """The server stops; the log says why its route has not gone yet, which it does when the store is back."""
    assert recorded(redis, "ada")
    redis.stop()
    assert await works(ada)
    answer = await ada.api("DELETE", "/users/ada/server")
    assert answer.status in {202, 204}

    async def told() -> bool:
        return "The route '/user/ada/' is removed as soon as the store is back. The store could not be" in hub.log_text

    async def stopped() -> bool:
        return not await ada.servers()

    await becomes(told, "the hub's log says that the route is removed later")
    await becomes(stopped, "the server does not go on though the store is away")
    redis.start()

    async def removed() -> bool:
        return not recorded(redis, "ada")

    await becomes(removed, "the route is removed")
    assert "/user/ada/" not in await ada.routes()
    await ada.spawn()
    assert await works(ada)


async def test_the_store_is_back_in_time_while_a_server_stops(
    hub: HubProcess, ada: HubClient, redis: RedisServer
) -> None:
    """Nothing is to be noticed but that it takes longer."""
    redis.stop()
    stopping = asyncio.create_task(ada.api("DELETE", "/users/ada/server"))

    async def told() -> bool:
        return "cannot be reached" in hub.log_text

    await becomes(told, "the hub says that the store is away")
    redis.start()
    assert (await stopping).status in {202, 204}
    await ada.stop_server()
    assert not recorded(redis, "ada")
    assert "is removed as soon" not in hub.log_text
