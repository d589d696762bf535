"""Starting and stopping: what is launched, what is written, and what is left behind."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import re
import signal
import socket
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

from kvproxy.errors import ConfigurationError, RouteNotReadyError, StoppedError, StoreError, TraefikError
from kvproxy.process.launch import check_free
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import Certificates, RedisServer, TraefikServer, free_port, within
from kvproxy_redis import TraefikRedisProxy

from .proxies import TOML, Client, Doors, External, Start, complaints, port_of


def traefiks() -> list[psutil.Process]:
    """The Traefiks that this process has started."""
    return [child for child in psutil.Process().children(recursive=True) if "traefik" in child.name()]


def pid_of(proxy: TraefikRedisProxy) -> int:
    """The process id of a proxy's Traefik."""
    assert proxy.traefik_pid is not None
    return proxy.traefik_pid


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which a program listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


async def test_start_and_stop(start_proxy: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The static configuration is private and signed; Traefik listens on loopback only; nothing is left."""
    caplog.set_level(logging.INFO)
    proxy = await start_proxy()
    file = tmp_path / "traefik.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("# Written by kvproxy")
    traefik = psutil.Process(pid_of(proxy))
    assert {c.laddr.ip for c in traefik.net_connections() if c.status == psutil.CONN_LISTEN} <= {"127.0.0.1", "::1"}
    await proxy.stop()
    assert list(tmp_path.iterdir()) == []
    assert not traefik.is_running()
    assert "Leaving 0 routes in the store, below 'traefik' and 'jupyterhub'" in caplog.text
    assert "\x1b" not in caplog.text
    with pytest.raises(StoppedError):
        await proxy.get_all_routes()
    await proxy.delete_route("/user/ada/")
    assert "left to the check at the hub's next start" in caplog.text
    await proxy.stop()
    await proxy.start()
    assert await proxy.get_all_routes() == {}


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ("public", "JupyterHub.bind_url.*another program listens there"),
        ("api", "traefik_api_url.*another program listens there"),
        ("static", "Traefik refuses its static configuration .*nosuchoption"),
        ("redis", "cannot be reached"),
        ("file", "static_config_file = ./dev/null/traefik.toml. cannot be written"),
        ("traefik", "There is no 'traefik' on PATH"),
    ],
)
async def test_a_failing_start_is_one_sentence_and_leaves_nothing_behind(
    trouble: str,
    sentence: str,
    start_proxy: Start,
    taken_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No Traefik on the ports, no file."""
    before = {process.pid for process in traefiks()}
    traits: dict[str, Any] = {
        "public": {"public_url": f"http://127.0.0.1:{taken_port}/"},
        "api": {"traefik_api_url": f"http://127.0.0.1:{taken_port}"},
        "static": {"extra_static_config": {"providers": {"redis": {"nosuchoption": 1}}}},
        "redis": {"redis_url": f"redis://127.0.0.1:{free_port()}", "store_timeout": 0.2},
        "file": {"static_config_file": "/dev/null/traefik.toml"},
        "traefik": {},
    }[trouble]
    if trouble == "traefik":
        monkeypatch.setattr("shutil.which", lambda *args, **kwargs: None)
    with pytest.raises((ConfigurationError, TraefikError, StoreError), match=sentence):
        await within(start_proxy(**traits), 10)
    assert {process.pid for process in traefiks()} == before
    assert list(tmp_path.iterdir()) == []
    assert [record for record in caplog.records if record.levelno == logging.CRITICAL]


@pytest.mark.parametrize("managed", [True, False])
async def test_names_with_reserved_characters_reach_their_server_or_the_log_says_why_not(
    managed: bool,
    start_proxy: Start,
    external: External,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`nox -s versions` runs this with Traefiks of both kinds."""
    caplog.set_level(logging.INFO)
    proxy, hub, target = await start_proxy() if managed else external(), await doors.open(), await doors.open()
    await proxy.add_route("/", hub, {})
    await proxy.add_route("/user/a%23b/", target, {})
    await until(lambda: ("runs (process" if managed else "serves the routes.") in caplog.text)
    reached = await client_of(proxy).ask("/user/a%23b/") == (200, port_of(target))
    assert reached is not any("decodes %23" in said for said in complaints(caplog))


async def test_a_traefik_that_dies_is_started_again(
    start_proxy: Start, doors: Doors, client_of: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is told, and all routes are served again."""
    proxy, target = await start_proxy(), await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    first = pid_of(proxy)
    os.kill(first, signal.SIGKILL)
    await until(lambda: proxy.traefik_pid not in {None, first})
    await proxy.add_route("/user/bob/", target, {})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    assert "Traefik was killed by signal 9; starting it again" in caplog.text


async def test_a_proxy_may_be_stopped_by_several_at_once(
    start_proxy: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As JupyterHub does at a second Ctrl-C. Each call returns when all is stopped; nothing is said twice."""
    caplog.set_level(logging.INFO)
    proxy = await start_proxy()
    await proxy.add_route("/", "http://127.0.0.1:1", {})
    traefik = psutil.Process(pid_of(proxy))

    async def stop() -> bool:
        await proxy.stop()
        return traefik.is_running()

    impatient = asyncio.create_task(stop())
    await asyncio.sleep(0)
    others = asyncio.gather(stop(), stop())
    impatient.cancel()
    assert await others == [False, False]
    assert list(tmp_path.iterdir()) == []
    assert caplog.text.count("Leaving 1 route in the store") == 1
    await proxy.stop()


async def test_stopping_complains_of_nothing(start_proxy: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A route that waits meanwhile is told, and one that goes is removed all the same."""
    proxy = await start_proxy()
    await proxy.add_route("/user/ada/", "http://127.0.0.1:1", {})
    caplog.clear()
    reconciler = proxy._reconciler
    assert reconciler is not None
    stopping = asyncio.create_task(proxy.stop())
    await asyncio.sleep(0)
    with pytest.raises(StoppedError):
        await proxy.add_route("/user/bob/", "http://127.0.0.1:1", {})
    await proxy.delete_route("/user/ada/")
    assert reconciler.get("/user/ada/") is None
    await stopping
    assert complaints(caplog) == []


async def test_users_are_out_for_a_moment_only_however_often_traefik_dies(
    start_proxy: Start, doors: Doors, client_of: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """A Traefik that has worked is no crash loop, so the pause before a restart does not grow."""
    proxy, target = await start_proxy(), await doors.open()
    for number in range(4):
        await proxy.add_route(f"/user/u{number}/", target, {})
        pid = pid_of(proxy)
        os.kill(pid, signal.SIGKILL)
        await until(lambda pid=pid: proxy.traefik_pid not in {None, pid})  # type: ignore[misc]
    await proxy.add_route("/user/ada/", target, {})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    assert caplog.text.count("Traefik was killed by signal 9; starting it again in 0.5 s") == 4


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (
            {"aaaaaaaaaaaaaaaa-kvg/rule": "Path(`/a`)"},
            "router must have either a service or child routers|the service is missing on the router",
        ),
        ({"bbbbbbbbbbbbbbbb-kvp/rule": "Path(`/b`)", "bbbbbbbbbbbbbbbb-kvp/service": "none"}, "does not exist"),
    ],
    ids=["no-service", "unknown-service"],
)
async def test_a_half_read_state_is_no_error_in_the_log(
    keys: dict[str, str],
    complaint: str,
    start_proxy: Start,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Traefik complains of what it has read while it was being written, which is over with its next read.

    Before 3.6 it has other words for a router without a service.
    """
    caplog.set_level(logging.DEBUG)
    proxy = await start_proxy()
    for key, value in keys.items():
        redis_server.command("SET", f"traefik/http/routers/{key}", value)
    redis_server.command("PUBLISH", "__keyspace@0__:traefik/x", "set")
    await until(lambda: re.search(complaint, caplog.text) is not None)
    await proxy.add_route("/user/ada/", "http://127.0.0.1:1", {})
    said = [record for record in caplog.records if record.getMessage().startswith("Traefik: ")]
    assert {record.levelno for record in said if re.search(complaint, record.getMessage())} == {logging.DEBUG}
    assert [record for record in said if record.levelno >= logging.ERROR] == []


async def test_only_traefik_gets_the_password_of_its_api(start_proxy: Start) -> None:
    """``localhost`` has two addresses, and Traefik listens at one of them. Any local user can listen at the other."""
    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("::1", 0))
        listener.listen()
        listener.setblocking(False)
        proxy = await start_proxy(traefik_api_url=f"http://localhost:{listener.getsockname()[1]}")
        await proxy.add_route("/user/ada/", "http://127.0.0.1:1", {})
        await proxy.get_all_routes()
        with pytest.raises(BlockingIOError):
            listener.accept()
        traefik = psutil.Process(pid_of(proxy))
        assert {c.laddr.ip for c in traefik.net_connections() if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


async def test_traefik_does_not_get_the_hubs_secrets(start_proxy: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It faces the network, and needs none of them."""
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "hard-to-guess")
    monkeypatch.setenv("CF_DNS_API_TOKEN", "for ACME")
    proxy = await start_proxy(traefik_env={"MINE": "set"})
    environment = psutil.Process(pid_of(proxy)).environ()
    assert {"CF_DNS_API_TOKEN", "MINE", "GOGC", "PATH"} <= environment.keys()
    assert "JUPYTERHUB_CRYPT_KEY" not in environment


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_every_address_of_a_name_must_be_free(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program on one of them would get a part of the users."""
    places = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    family = {where: family for family, where in places}[address]
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        found = [(family, socket.SOCK_STREAM, 6, "", (where, port)) for family, where in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
        with pytest.raises(TraefikError, match=rf"cannot listen on hub\.local:{port} \(bind_url\): another program"):
            check_free({("hub.local", port): "bind_url"})
        free = free_port()
        found = [(family, socket.SOCK_STREAM, 6, "", (where, free)) for family, where in places]
        check_free({("hub.local", free): "bind_url"})


def test_an_address_that_this_machine_has_not_is_no_matter_beside_one_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As without IPv6. If it has none of them, the reason is told."""
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", free_port()))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    with pytest.raises(TraefikError, match="Cannot assign requested address"):
        check_free({("hub.local", 8000): "bind_url"})
    found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", free_port())))
    check_free({("hub.local", 8000): "bind_url"})


async def test_https(start_proxy: Start, doors: Doors, certificates: Certificates) -> None:
    """With the hub's ssl_key and ssl_cert."""
    proxy = await start_proxy(
        public_url=f"https://localhost:{free_port()}/",
        ssl_key=str(certificates.server_key),
        ssl_cert=str(certificates.server_certificate),
    )
    target = await doors.open()
    await proxy.add_route("/", target, {})
    trust = ssl.create_default_context(cafile=str(certificates.ca))
    async with aiohttp.ClientSession() as session, session.get(proxy.public_url, ssl=trust) as answer:
        assert await answer.text() == port_of(target)


async def test_an_external_traefik_works_with_a_configuration_written_by_hand(
    external: External, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Nothing is launched; the API is set up and needs the configured credentials."""
    before = {process.pid for process in traefiks()}
    proxy = external(traefik_api_username="abc", traefik_api_password="123")
    assert await proxy.get_all_routes() == {}
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {"user": "ada"})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    assert len({process.pid for process in traefiks()} - before) == 1
    for login, status in [(b"abc:123", 200), (b"abc:no", 401), (b"", 401)]:
        headers = {"Authorization": "Basic " + base64.b64encode(login).decode()} if login else {}
        url = f"{proxy.traefik_api_url}/api/version"
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
            assert answer.status == status
    api = Client(int(port_of(proxy.traefik_api_url)))
    assert (await api.ask("/user/ada/"))[0] == 404
    await api.close()
    await proxy.stop()
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))


async def test_an_external_traefik_that_is_late_is_waited_for(
    make_proxy: Callable[..., TraefikRedisProxy],
    traefik_server: Callable[..., TraefikServer],
    redis_server: RedisServer,
    doors: Doors,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is said soon, and once; routes are in the store meanwhile and served when it comes."""
    public, api = free_port(), free_port()
    urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://localhost:{api}"}
    proxy = make_proxy(should_start=False, **urls)
    assert await proxy.get_all_routes() == {}
    target = await doors.open()
    adding = asyncio.create_task(proxy.add_route("/user/ada/", target, {}))
    await until(lambda: "Waiting for it" in caplog.text, 5)
    assert redis_server.command("HLEN", "jupyterhub/routes") == 2
    file = tmp_path / "late.toml"
    file.write_text(TOML.format(public=public, api=api, redis=redis_server.port, root="traefik"))
    traefik_server(file, [public, api])
    await adding
    assert caplog.text.count("Waiting for it") == 1


async def test_an_external_traefik_that_does_not_come_is_a_clear_error(
    make_proxy: Callable[..., TraefikRedisProxy], redis_server: RedisServer
) -> None:
    """With the address that was tried; the route is taken back."""
    proxy = make_proxy(should_start=False, check_route_timeout=2)
    with pytest.raises(RouteNotReadyError, match=r"Traefik's API at http://127.0.0.1:\d+ cannot be reached"):
        await proxy.add_route("/user/ada/", "http://127.0.0.1:1", {})
    assert redis_server.command("HLEN", "jupyterhub/routes") == 1


async def test_an_external_traefik_that_reads_elsewhere_is_a_clear_error(
    external: External, redis_server: RedisServer
) -> None:
    """The most likely mistake in a traefik.toml written by hand: another rootKey."""
    for key, value in {
        "elsewhere/http/routers/api/rule": "PathPrefix(`/api`)",
        "elsewhere/http/routers/api/entryPoints": "auth_api",
        "elsewhere/http/routers/api/service": "api@internal",
    }.items():
        redis_server.command("SET", key, value)
    proxy = external(root="elsewhere", check_route_timeout=2)
    with pytest.raises(RouteNotReadyError, match="rootKey"):
        await proxy.add_route("/user/ada/", "http://127.0.0.1:1", {})


async def test_a_setup_done_elsewhere_is_left_alone(
    external: External, redis_server: RedisServer, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """enable_setup_dynamic_config = False; wrong credentials are told as such."""
    keys = {
        "traefik/http/routers/api/rule": "PathPrefix(`/api`)",
        "traefik/http/routers/api/entryPoints": "auth_api",
        "traefik/http/routers/api/service": "api@internal",
        "traefik/http/routers/api/middlewares": "auth",
        "traefik/http/middlewares/auth/basicAuth/users": "abc:{SHA}QL0AFWMIX8NRZTKeof9cXsvbvu8=",
    }
    for key, value in keys.items():
        redis_server.command("SET", key, value)
    options = {"enable_setup_dynamic_config": False, "traefik_api_username": "abc"}
    proxy = external(**options, traefik_api_password="123")
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    found = redis_server.command("KEYS", "traefik/*kvproxy*")
    assert found == ["traefik/http/middlewares/kvproxy-revision/headers/customResponseHeaders/X-Kvproxy-Revision"]
    await proxy.stop()
    refused = external(**options, traefik_api_password="wrong", check_route_timeout=2)
    with pytest.raises(RouteNotReadyError, match="traefik_api_password"):
        await refused.add_route("/user/bob/", target, {})


async def test_extra_dynamic_configuration_is_kept_in_step(start_proxy: Start, redis_server: RedisServer) -> None:
    """Settings that a later configuration lacks are removed."""
    extra = {"http": {"middlewares": {"zip": {"compress": {}}}}}
    proxy = await start_proxy(extra_dynamic_config=extra)
    assert redis_server.command("GET", "traefik/http/middlewares/zip/compress") == "true"
    await proxy.stop()
    await start_proxy()
    assert redis_server.command("GET", "traefik/http/middlewares/zip/compress") is None


@pytest.mark.parametrize(("end", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), signal.SIGTERM)", 143)])
async def test_a_hub_that_ends_without_stopping_takes_its_traefik_along(
    end: str, status: int, tmp_path: Path, redis_server: RedisServer
) -> None:
    """An exit or SIGTERM in the middle of the hub's start runs no stop(); nothing must be left all the same."""
    port, api = free_port(), free_port()
    script = f"""
import asyncio, os, signal, sys
from kvproxy_redis import TraefikRedisProxy
async def main():
    proxy = TraefikRedisProxy(public_url="http://127.0.0.1:{port}/", traefik_api_url="http://127.0.0.1:{api}",
        redis_url={redis_server.url!r}, static_config_file={str(tmp_path / "t.toml")!r})
    await proxy.start()
    print(proxy.traefik_pid, flush=True)
    {end}
    await asyncio.sleep(30)
asyncio.run(main())
"""
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == status, ended.stderr
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(int(ended.stdout)).status() == psutil.STATUS_ZOMBIE
    assert list(tmp_path.iterdir()) == []
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_jupyterhub_lists_our_traits_with_help() -> None:
    """``jupyterhub --help-all`` imports the class by its entry point."""
    shown = subprocess.run(
        [sys.executable, "-m", "jupyterhub", "--help-all"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert "TraefikRedisProxy(KVTraefikProxy) options" in shown
    for trait in (
        "redis_url",
        "redis_traefik_username",
        "kv_traefik_prefix",
        "static_config_file",
        "store_timeout",
        "traefik_api_url",
    ):
        assert f"--TraefikRedisProxy.{trait}=<" in shown
    assert "Redis' address" in shown
