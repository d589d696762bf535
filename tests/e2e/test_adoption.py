"""A Traefik that an earlier hub has left running is taken over, or replaced if it is not as it has to be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from kvproxy.errors import ConfigurationError, StoreUnavailableError, TraefikError
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.hub.fork_server import FORK_SERVER
from kvproxy.testing.servers import Certificates, RedisServer, free_port
from kvproxy.testing.servers.echo import EchoServer
from kvproxy.testing.servers.programs import wait_until
from kvproxy_redis import TraefikRedisProxy

from .proxies import Client, Start, port_of

#: An earlier hub: start its Traefik, add a route, tell that it is done, and go on.
SCRIPT = """
import asyncio, logging, sys
from kvproxy_redis import TraefikRedisProxy
async def main():
    logging.basicConfig(level=logging.INFO)
    proxy = TraefikRedisProxy(log=logging.getLogger(), **{traits!r})
    await proxy.start()
    await proxy.add_route("/user/ada/", {target!r}, {{}})
    print(proxy.traefik_pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


class EarlierHub:
    """A process with a proxy, and the Traefik that it has started."""

    def __init__(self, traits: dict[str, Any], target: str) -> None:
        self.traits = traits
        self.files = [Path(traits["static_config_file"] + end) for end in ("", ".log", ".pid")]
        directory = self.files[0].parent
        (directory / "earlier_hub.py").write_text(SCRIPT.format(traits=traits, target=target))
        command = [sys.executable, "-m", "earlier_hub"]
        reading, writing = os.pipe()
        with open(reading) as printed:
            with open(writing, "w"), open(os.devnull) as nothing:
                self.process = FORK_SERVER.start(command, os.environ, directory, [nothing.fileno(), writing, 2])
            self.traefik = psutil.Process(int(printed.readline()))

    def kill(self) -> None:
        """End it without giving it a chance to clean up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End it and its Traefik."""
        self.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            self.traefik.kill()

    @property
    def record(self) -> dict[str, Any]:
        """The record that it has left about its Traefik."""
        record: dict[str, Any] = json.loads(self.files[2].read_text())
        return record


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    """A user's server."""
    with EchoServer() as server:
        yield server


@pytest.fixture
def earlier(redis_server: RedisServer, tmp_path: Path, echo: EchoServer) -> Iterator[EarlierHub]:
    """An earlier hub, which runs."""
    traits = {
        "public_url": f"http://127.0.0.1:{free_port()}/",
        "traefik_api_url": f"http://127.0.0.1:{free_port()}",
        "static_config_file": str(tmp_path / "traefik.toml"),
        "redis_url": redis_server.url,
    }
    hub = EarlierHub(traits, echo.url)
    yield hub
    hub.close()


@pytest.fixture
def left(earlier: EarlierHub) -> EarlierHub:
    """An earlier hub, which was killed; its Traefik runs."""
    earlier.kill()
    return earlier


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The proxy's log."""
    caplog.set_level(logging.INFO)
    return caplog


Make = Callable[..., TraefikRedisProxy]


def gone(process: psutil.Process) -> bool:
    """True if a process has ended."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


async def serves(proxy: TraefikRedisProxy, path: str = "/user/ada/") -> bool:
    """True if a user's server answers through the proxy."""
    client = Client(int(port_of(proxy.public_url)))
    status, _ = await client.ask(path)
    await client.close()
    return status == 200


async def test_a_traefik_left_running_is_taken_over(
    left: EarlierHub, make_proxy: Make, echo: EchoServer, redis_server: RedisServer, log: pytest.LogCaptureFixture
) -> None:
    """Its connections, log and end are the new hub's."""
    assert [stat.S_IMODE(file.stat().st_mode) for file in left.files] == [0o600] * 3
    left.files[1].write_text('{"level":"error","message":"told already"}\n')
    proxy = make_proxy(**left.traits)
    url = proxy.public_url.replace("http", "ws") + "user/ada/ws"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await proxy.start()
        assert proxy.traefik_pid == left.traefik.pid
        await socket.send_str("still there?")
        assert await socket.receive_str(timeout=5) == "still there?"
    await proxy.add_route("/user/bob/", echo.url, {})
    assert await serves(proxy, "/user/bob/")
    assert f"Taking over the Traefik that an earlier hub left running (process {left.traefik.pid})" in log.text

    redis_server.command("SET", "traefik/http/routers/bad/rule", "Path(`/bad`)")
    redis_server.command("SET", "traefik/http/routers/bad/service", "none")
    redis_server.command("PUBLISH", "__keyspace@0__:traefik/x", "set")
    await until(lambda: "routerName=bad@redis" in log.text)
    assert "told already" not in log.text

    await proxy.stop()
    assert gone(left.traefik)
    assert [file for file in left.files if file.exists()] == []


async def test_one_that_was_taken_over_is_looked_after(
    left: EarlierHub, make_proxy: Make, log: pytest.LogCaptureFixture
) -> None:
    """When it dies another one is started, and the next hub takes over that one."""
    proxy = make_proxy(**left.traits)
    await proxy.start()
    left.files[0].unlink()
    left.traefik.kill()
    await until(lambda: proxy.traefik_pid not in {None, left.traefik.pid}, 5)
    assert left.record["pid"] == proxy.traefik_pid
    await until(lambda: "It said nothing" in log.text)
    assert "Traefik ended (how is known only to the earlier hub that had started it); starting it again" in log.text
    await proxy.add_route("/user/bob/", "http://127.0.0.1:1", {})
    assert await serves(proxy)


@pytest.mark.parametrize(
    ("traits", "why"),
    [
        ({"extra_static_config": {"log": {"level": "WARN"}}}, "its configuration changed"),
        ({"traefik_env": {"GOGC": "150"}}, "its environment changed"),
        ({}, "its binary changed"),
    ],
)
async def test_one_that_is_not_as_a_new_one_would_be_is_replaced(
    traits: dict[str, Any],
    why: str,
    left: EarlierHub,
    make_proxy: Make,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    """The log says why."""
    if why == "its binary changed":
        place = tmp_path_factory.mktemp("bin")
        (place / "traefik").symlink_to(left.traefik.exe())
        monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
    proxy = make_proxy(**left.traits, **traits)
    await proxy.start()
    assert proxy.traefik_pid != left.traefik.pid
    assert gone(left.traefik)
    assert await serves(proxy)
    assert f"Replacing the Traefik that an earlier hub left running (process {left.traefik.pid}): {why}" in log.text


async def test_one_that_hangs_is_replaced(left: EarlierHub, make_proxy: Make, log: pytest.LogCaptureFixture) -> None:
    """As soon as it is clear that it does not answer."""
    left.traefik.suspend()
    proxy = make_proxy(**left.traits, check_route_timeout=2)
    starting = asyncio.create_task(proxy.start())
    await until(lambda: "Replacing the Traefik" in log.text, 20)
    left.traefik.kill()  # it would be, when its time to stop is over
    await starting
    assert "it does not work. Traefik's API at " in log.text
    assert await serves(proxy)


async def test_one_that_has_ended_is_not_looked_for(left: EarlierHub, make_proxy: Make) -> None:
    """Nor is another process that has got its id since."""
    left.traefik.kill()
    wait_until(lambda: gone(left.traefik), "Traefik has ended")
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            left.files[2].write_text(json.dumps({**left.record, "pid": other.pid}))
            proxy = make_proxy(**left.traits)
            await proxy.start()
            assert await serves(proxy)
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize("damage", ["cut", "gone", "of another"])
async def test_a_traefik_without_its_record_is_known_by_its_command_line(
    damage: str, left: EarlierHub, make_proxy: Make, log: pytest.LogCaptureFixture
) -> None:
    """As after a full disk, or a clean-up of files: it has the ports, and the hub must start all the same."""
    if damage == "gone":
        left.files[2].unlink()
    elif damage == "cut":
        left.files[2].write_text(left.files[2].read_text()[:-20])
    else:
        left.files[2].write_text(json.dumps({**left.record, "pid": 2**22 + 1}))
    proxy = make_proxy(**left.traits)
    await proxy.start()
    assert gone(left.traefik)
    assert await serves(proxy)
    assert f"(process {left.traefik.pid}): its start was not recorded" in log.text


async def test_the_program_on_the_port_is_named(
    left: EarlierHub, make_proxy: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One that nothing tells to be the hub's is not touched."""
    other = {**left.traits, "static_config_file": str(tmp_path_factory.mktemp("other") / "traefik.toml")}
    with pytest.raises(TraefikError, match=rf"another program listens there \(traefik, process {left.traefik.pid}\);"):
        await make_proxy(**other).start()
    assert not gone(left.traefik)


async def test_a_start_without_the_store_leaves_traefik_alone(
    left: EarlierHub, make_proxy: Make, redis_server: RedisServer
) -> None:
    """Users work on; the next try takes it over."""
    redis_server.stop()
    proxy = make_proxy(**left.traits, store_timeout=0.5)
    with pytest.raises(StoreUnavailableError):
        await proxy.start()
    assert await serves(proxy)
    redis_server.start()
    await proxy.start()
    assert proxy.traefik_pid == left.traefik.pid


async def test_two_hubs_cannot_have_one_traefik(earlier: EarlierHub, make_proxy: Make) -> None:
    """The second one is told whose it is, and changes nothing."""
    with pytest.raises(ConfigurationError, match=f"Another hub that runs at this .* {earlier.process.pid}"):
        await make_proxy(**earlier.traits).start()
    assert not gone(earlier.traefik)
    assert [file for file in earlier.files if not file.exists()] == []
    earlier.process.send_signal(signal.SIGTERM)
    assert earlier.process.wait(15) == 143
    assert gone(earlier.traefik)
    assert [file for file in earlier.files if file.exists()] == []


async def test_a_renewed_certificate_is_served_from_the_next_route_on(
    start_proxy: Start, echo: EchoServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """So no connection has to be cut off for it."""
    now, renewed = (Certificates.make(tmp_path_factory.mktemp("tls")) for _ in range(2))
    port = free_port()
    proxy = await start_proxy(
        public_url=f"https://localhost:{port}/", ssl_key=str(now.server_key), ssl_cert=str(now.server_certificate)
    )
    before = proxy.traefik_pid
    shutil.copyfile(renewed.server_key, now.server_key)
    shutil.copyfile(renewed.server_certificate, now.server_certificate)
    await proxy.add_route("/user/ada/", echo.url, {})
    trust = ssl.create_default_context(cafile=str(renewed.ca))
    async with aiohttp.ClientSession() as session, session.get(proxy.public_url + "user/ada/", ssl=trust) as answer:
        assert answer.status == 200
    assert proxy.traefik_pid == before
