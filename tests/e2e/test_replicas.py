"""Several Traefiks that read one Redis: a route is ready when all serve it, and a dead one delays none for long."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvproxy.errors import ConfigurationError
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import RedisServer, TraefikServer, free_port
from kvproxy_redis import TraefikRedisProxy

from .proxies import TOML, Client, Doors, port_of

GRACE = 2.0


class Replica:
    """One Traefik, as an administrator starts it."""

    def __init__(self, file: Path, redis: RedisServer, address: str = "127.0.0.1", api: int | None = None) -> None:
        self.public, self.api = free_port(), api or free_port()
        text = TOML.format(public=self.public, api=self.api, redis=redis.port, root="traefik")
        file.write_text(text.replace("localhost:", f"{address}:"))
        self.server = TraefikServer(file, [self.public])
        self.client = Client(self.public)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to it."""
        assert self.server.pid is not None
        os.kill(self.server.pid, number)


@pytest.fixture
def replicas(redis_server: RedisServer, tmp_path: Path) -> Any:
    """Two Traefiks at work."""
    made = [Replica(tmp_path / f"replica{number}.toml", redis_server) for number in range(2)]
    for replica in made:
        replica.server.start()
    yield made
    for replica in made:
        replica.server.close()


@pytest.fixture
def proxy(make_proxy: Callable[..., TraefikRedisProxy], replicas: list[Replica]) -> TraefikRedisProxy:
    """A proxy that knows both."""
    return make_proxy(
        should_start=False,
        public_url=f"http://127.0.0.1:{replicas[0].public}/",
        traefik_api_url=[f"http://127.0.0.1:{replica.api}" for replica in replicas],
        traefik_replica_grace=GRACE,
        check_route_timeout=30,
    )


async def seconds(work: Any) -> float:
    """How long something takes."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await work
    return loop.time() - start


async def test_a_route_is_served_by_every_replica_when_add_route_returns(
    proxy: TraefikRedisProxy, replicas: list[Replica], doors: Doors
) -> None:
    """And its change, and the routes of a tree."""
    target, other = await doors.open(), await doors.open()
    for turn in range(20):
        where = (target, other)[turn % 2]
        await proxy.add_route("/user/ada/", where, {})
        for replica in replicas:
            assert await replica.client.ask("/user/ada/lab") == (200, port_of(where)), turn
    for replica in replicas:
        await replica.client.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_dead_replica_is_named_and_left_out_until_it_is_back(
    number: int,
    proxy: TraefikRedisProxy,
    replicas: list[Replica],
    doors: Doors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Killed, or hanging: no route waits for it beyond the grace period. When it is back, it is waited for again."""
    caplog.set_level(logging.INFO)
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    replicas[1].kill(number)
    assert await seconds(proxy.add_route("/user/bob/", target, {})) < 3 * GRACE
    assert f"127.0.0.1:{replicas[1].api}" in caplog.text
    assert await seconds(proxy.add_route("/user/eve/", target, {})) < GRACE
    assert await replicas[0].client.ask("/user/eve/") == (200, port_of(target))
    if number == signal.SIGSTOP:
        replicas[1].kill(signal.SIGCONT)
    else:
        replicas[1].server.stop()
        replicas[1].server.start()
    await until(lambda: not any(replica.lost for replica in proxy.traefik_replicas))
    await proxy.add_route("/user/joe/", target, {})
    for user in ("ada", "bob", "eve", "joe"):
        assert await replicas[1].client.ask(f"/user/{user}/") == (200, port_of(target))
    for replica in replicas:
        await replica.client.close()


async def test_one_name_with_many_addresses(
    make_proxy: Callable[..., TraefikRedisProxy],
    redis_server: RedisServer,
    tmp_path: Path,
    doors: Doors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a headless service of Kubernetes has it; a replica that is added is met within seconds."""
    api = free_port()
    made = [Replica(tmp_path / f"r{n}.toml", redis_server, f"127.0.0.{n}", api) for n in (1, 2, 3)]
    addresses = ["127.0.0.1", "127.0.0.2"]
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if host != "traefik.test":
            return real(host, port, *more, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        for replica in made[:2]:
            replica.server.start()
        proxy = make_proxy(
            should_start=False,
            public_url=f"http://127.0.0.1:{made[0].public}/",
            traefik_api_url=f"http://traefik.test:{api}",
        )
        target = await doors.open()
        await proxy.add_route("/user/ada/", target, {})
        for replica in made[:2]:
            assert await replica.client.ask("/user/ada/") == (200, port_of(target))
        made[2].server.start()
        addresses.append("127.0.0.3")
        await until(lambda: len(proxy.traefik_replicas) == 3)
        await proxy.add_route("/user/bob/", target, {})
        for replica in made:
            assert await replica.client.ask("/user/bob/") == (200, port_of(target))
            await replica.client.close()
    finally:
        for replica in made:
            replica.server.close()


async def test_several_for_a_traefik_that_the_hub_starts_are_refused(
    make_proxy: Callable[..., TraefikRedisProxy],
) -> None:
    """It starts one."""
    proxy = make_proxy(traefik_api_url=["http://127.0.0.1:1", "http://127.0.0.1:2"])
    with pytest.raises(ConfigurationError, match="should_start"):
        await proxy.start()
    with pytest.raises(Exception, match="different paths"):
        make_proxy(traefik_api_url=["http://127.0.0.1:1/a", "http://127.0.0.1:2/b"])
