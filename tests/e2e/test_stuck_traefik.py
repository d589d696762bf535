"""A Traefik that runs and does not work: the hub says so, and restarts its own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.servers import TcpProxy
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_redis import TraefikRedisProxy
from tests.faults.network import APART

from .proxies import Client, Doors, Start, add_all, making, port_of

USERS = [f"/user/u{number}/" for number in range(20)]
CLASSES: dict[str, type[KVTraefikProxy]] = {
    "redis": TraefikRedisProxy,
    "etcd": TraefikEtcdProxy,
    "consul": TraefikConsulProxy,
}


@pytest.fixture(params=CLASSES)
def behind(request: pytest.FixtureRequest) -> Iterator[tuple[type[KVTraefikProxy], dict[str, Any], TcpProxy]]:
    """A proxy class whose Traefik, alone, comes to the store through a network that can be made bad."""
    server = request.getfixturevalue(f"{request.param}_server")
    with TcpProxy(server.port) as network:
        settings = {f"{request.param}_url": server.url, "traefik_ports": {server.port: network.port}}
        proxy_class = APART[CLASSES[request.param]]
        assert f":{network.port}" in json.dumps(proxy_class(**settings).traefik_provider())
        yield proxy_class, settings, network


async def test_a_traefik_with_a_forgotten_connection_to_the_store_is_restarted(
    behind: tuple[type[KVTraefikProxy], dict[str, Any], TcpProxy],
    tmp_path: Path,
    doors: Doors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A user who logs in meanwhile gets in when it is back, and the log says why."""
    proxy_class, settings, network = behind
    caplog.set_level(logging.INFO)
    async with making(proxy_class, tmp_path, **settings) as make:
        proxy = make(traefik_stuck_timeout=3, check_route_timeout=60)
        await proxy.start()
        target = await doors.open()
        await add_all(proxy, [(user, target) for user in USERS])
        before = proxy.traefik_pid
        network.forget()
        await proxy.add_route("/user/new/", target, {})
        assert proxy.traefik_pid != before
        assert f"Restarting Traefik (process {before}). It does not follow the store." in caplog.text
        assert "its connection to the store is most likely dead" in caplog.text
        client = Client(int(port_of(proxy.public_url)))
        for user in [*USERS, "/user/new/"]:
            assert await client.ask(user) == (200, port_of(target))
        await client.close()


async def test_a_traefik_that_hangs_is_restarted(
    start_proxy: Start, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """As one does whose process is stopped."""
    proxy = await start_proxy(traefik_stuck_timeout=3, check_route_timeout=60)
    target, before = await doors.open(), proxy.traefik_pid
    assert before is not None
    os.kill(before, signal.SIGSTOP)
    await proxy.add_route("/user/new/", target, {})
    assert proxy.traefik_pid != before
    assert f"Restarting Traefik (process {before}). It hangs. Traefik's API at" in caplog.text


# Traefik's client of etcd tries again without a word, so that it cannot be told from one that hears nothing.
@pytest.mark.parametrize("behind", ["redis", "consul"], indirect=True)
async def test_one_that_is_cut_off_from_the_store_is_left_alone(
    behind: tuple[type[KVTraefikProxy], dict[str, Any], TcpProxy],
    tmp_path: Path,
    doors: Doors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another start would mend nothing, and close what is open; it says itself what is wrong."""
    proxy_class, settings, network = behind
    async with making(proxy_class, tmp_path, **settings) as make:
        proxy = make(traefik_stuck_timeout=0.5, check_route_timeout=60)
        await proxy.start()
        before, target = proxy.traefik_pid, await doors.open()
        network.refuse()
        adding = asyncio.create_task(proxy.add_route("/user/new/", target, {}))
        while "Traefik does not follow the store" not in caplog.text:
            await asyncio.sleep(0.1)
        assert "It cannot read the store; its provider says" in caplog.text
        network.heal()
        await adding
        assert proxy.traefik_pid == before
