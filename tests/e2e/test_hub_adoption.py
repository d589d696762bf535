"""A hub that is restarted, and those who are connected through its Traefik meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest

from kvproxy.testing.hub import HubProcess
from kvproxy.testing.servers import RedisServer, free_port, wait_until
from kvproxy.testing.servers.echo import EchoServer

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]

HubFactory = Callable[..., HubProcess]


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    """A server that the administrator has given a route of its own."""
    with EchoServer() as server:
        yield server


@pytest.fixture
def hub(hub_factory: HubFactory, redis_server: RedisServer, echo: EchoServer) -> HubProcess:
    """A hub that leaves its proxy running when it stops; it does not run yet."""
    return hub_factory(
        {
            "TraefikRedisProxy.redis_url": redis_server.url,
            "JupyterHub.cleanup_proxy": False,
            "Proxy.extra_routes": {"/echo/": echo.url},
        }
    )


class Conversation:
    """An open websocket, and the Traefik that it goes through."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._connection = connection

    async def goes_on(self) -> bool:
        """True if something that is said is heard."""
        await self._connection.send_str("x")
        return (await self._connection.receive(timeout=10)).data == "x"


@asynccontextmanager
async def conversation(hub: HubProcess) -> AsyncIterator[Conversation]:
    """A websocket through the hub's Traefik."""
    url = hub.url.replace("http", "ws") + "/echo/ws"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
        yield Conversation(connection)


def traefiks(hub: HubProcess) -> list[int]:
    """Process ids of the Traefiks of a hub."""
    return [process.pid for process in hub.family() if process.name() == "traefik"]


def files(hub: HubProcess) -> list[Path]:
    """The files that were written for Traefik."""
    return sorted(hub.directory.glob("*traefik.toml*"))


def answers(hub: HubProcess) -> bool:
    """True if the hub answers, restarted or not."""
    try:
        return hub.answers()
    except OSError:
        return False


async def test_websockets_outlive_the_hub(hub: HubProcess) -> None:
    """Stopped, killed, or not able to start; and in the end nothing is left, if that is what the setting says."""
    await asyncio.to_thread(hub.start)
    before = traefiks(hub)
    async with conversation(hub) as talk:
        assert await asyncio.to_thread(hub.end) == 0
        assert f"Traefik is left running (process {before[0]})" in hub.log_text
        assert len(files(hub)) == 3
        assert await talk.goes_on()

        await asyncio.to_thread(hub.start)
        assert f"Taking over the Traefik that an earlier hub left running (process {before[0]})" in hub.log_text
        assert hub.log_text.partition("Traceback")[2][:3000] == ""
        hub.kill()
        assert await talk.goes_on()

        hub_port = free_port()
        hub.configure({"JupyterHub.hub_bind_url": f"http://127.0.0.1:{hub_port}"})
        with socket.create_server(("127.0.0.1", hub_port)):
            hub.launch()
            assert await asyncio.to_thread(hub.wait) == 1
        assert f"Traefik is left running (process {before[0]})" in hub.log_text
        assert await talk.goes_on()

        hub.configure({"JupyterHub.cleanup_proxy": True})
        await asyncio.to_thread(hub.start)
        assert traefiks(hub) == before
        assert await talk.goes_on()
    assert await asyncio.to_thread(hub.end) == 0
    assert hub.family() == []
    assert files(hub) == []
    assert hub.log_text.partition("Traceback")[2][:3000] == ""


def test_a_changed_configuration_is_put_into_effect(hub: HubProcess) -> None:
    """By another Traefik in place of the first."""
    hub.start()
    before = traefiks(hub)
    assert hub.end() == 0
    hub.configure({"TraefikProxy.extra_static_config": {"log": {"level": "WARN"}}})
    hub.start()
    (now,) = traefiks(hub)
    assert [now] != before
    assert f"(process {before[0]}): its configuration changed" in hub.log_text
    assert 'level = "WARN"' in hub.static_config_file.read_text()
    assert hub.log_text.partition("Traceback")[2][:3000] == ""


def test_a_traefik_that_was_taken_over_is_started_again_when_it_dies(hub: HubProcess) -> None:
    """As one of the hub's own."""
    hub.start()
    (before,) = traefiks(hub)
    assert hub.end() == 0
    hub.start()
    psutil.Process(before).kill()
    wait_until(lambda: traefiks(hub) not in ([], [before]) and answers(hub), "another Traefik serves", 10)
    assert "Traefik ended (how is known only to the earlier hub that had started it)" in hub.log_text
    assert hub.log_text.partition("Traceback")[2][:3000] == ""


def test_a_first_start_that_fails_leaves_nothing(hub: HubProcess) -> None:
    """With any setting, if it is Traefik that does not come up."""
    hub.configure({"TraefikProxy.extra_static_config": {"providers": {"redis": {"nosuchoption": 1}}}})
    hub.launch()
    assert hub.wait(30) == 1
    assert "Traefik refuses its static configuration (field not found, node: nosuchoption)" in hub.log_text
    assert hub.family() == []
    assert files(hub) == []


def test_two_hubs_with_one_file(
    hub: HubProcess, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> None:
    """The second one says what is wrong, and the first goes on."""
    hub.start()
    before = traefiks(hub)
    second = HubProcess(
        tmp_path_factory.mktemp("second"),
        {
            "TraefikRedisProxy.redis_url": redis_server.url,
            "TraefikProxy.static_config_file": str(hub.static_config_file),
        },
    )
    second.launch()
    try:
        assert second.wait(30) == 1
        assert f"Another hub that runs at this moment (process {hub.pid})" in second.log_text
    finally:
        second.close()
    assert traefiks(hub) == before
    assert hub.answers()
