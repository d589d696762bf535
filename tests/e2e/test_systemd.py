"""The Traefik of examples/systemd under the limits of its unit, as far as they can be set without systemd."""

from __future__ import annotations

import ctypes.util
import functools
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from kvproxy.testing.servers import EchoServer, RedisServer, wait_until
from kvproxy_redis import TraefikRedisProxy

from .deployed import EXAMPLES, HUB_PASSWORD, ExampleTraefik, example_redis
from .proxies import making, until_true

pytestmark = pytest.mark.timeout(120)

UNIT = EXAMPLES / "systemd/traefik.service"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with example_redis() as server:
        yield server


@pytest.fixture
async def make(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Callable[..., TraefikRedisProxy]]:
    """Makes the proxy of a hub beside a Traefik."""
    login = {"redis_url": redis.url, "redis_username": "hub", "redis_password": HUB_PASSWORD, "should_start": False}
    async with making(TraefikRedisProxy, tmp_path, placeholder_certificate=True, **login) as made:
        yield lambda traefik: made(public_url=f"{traefik.url}/", traefik_api_url=traefik.api_url)


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


async def _ready(traefik: ExampleTraefik) -> bool:
    return await status_of(traefik.probe_url) == 200


async def test_traefik_works_within_the_limits_of_its_unit(
    tmp_path: Path, redis: RedisServer, make: Callable[..., TraefikRedisProxy], request: pytest.FixtureRequest
) -> None:
    """Routes, websockets, metrics, a restart of Redis: with the system calls, address families and memory left."""
    traefik = ExampleTraefik(tmp_path, "traefik", "systemd", redis.port)
    if limited := bool(shutil.which("systemd-analyze") and ctypes.util.find_library("seccomp")):
        confined = str(Path(__file__).with_name("confined.py"))
        traefik._program.arguments[:0] = [sys.executable, confined, str(UNIT)]
    else:
        reporter = request.config.pluginmanager.get_plugin("terminalreporter")
        assert reporter is not None
        reporter.write_line(f"{request.node.name}: no systemd-analyze or libseccomp; Traefik ran without limits")
    with traefik, EchoServer("ada") as echo:
        filters = "Seccomp:\t2" if limited else "Seccomp:"
        assert filters in Path(f"/proc/{traefik.pid}/status").read_text()
        proxy = make(traefik)
        await proxy.add_route("/user/ada/", echo.url, {})
        await until_true(functools.partial(_ready, traefik), 10)
        assert await status_of(f"{traefik.url}/user/ada/") == 200
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{traefik.url}/user/ada/ws") as socket:
            await socket.send_str("x")
            assert (await socket.receive(timeout=10)).data == "x"
        redis.restart()
        await proxy.add_route("/user/grace/", echo.url, {})
        assert await status_of(f"{traefik.url}/user/grace/") == 200
        assert "ada" in str(await proxy.get_all_routes())
        assert not re.search("operation not permitted", traefik.log_tail(1000), re.IGNORECASE)


async def test_the_access_log_is_rotated(
    tmp_path: Path, redis: RedisServer, make: Callable[..., TraefikRedisProxy]
) -> None:
    """By the signal that the example's logrotate sends; nobody notices."""
    (name,) = re.findall(r"--signal=(\w+)", (EXAMPLES / "systemd/traefik.logrotate").read_text())
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    extra = {"accessLog": {"filePath": str(log)}}
    with ExampleTraefik(tmp_path, "traefik", "systemd", redis.port, extra=extra) as traefik, EchoServer("ada") as echo:
        proxy = make(traefik)
        await proxy.add_route("/user/ada/", echo.url, {})
        assert await status_of(f"{traefik.url}/user/ada/?first") == 200
        wait_until(lambda: "?first" in log.read_text(), "the first request is logged")
        log.rename(old)
        os.kill(traefik.pid, getattr(signal, f"SIG{name}"))
        wait_until(log.exists, "the file is opened again")
        assert await status_of(f"{traefik.url}/user/ada/?second") == 200
        wait_until(lambda: "?second" in log.read_text(), "the second request is logged")
        assert "?second" not in old.read_text()
