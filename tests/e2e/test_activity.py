"""When a server was used last, as Traefik has counted it, in what JupyterHub is told of its routes."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from dateutil.parser import parse as parse_date
from jupyterhub.metrics import metrics_prefix
from prometheus_client import REGISTRY

from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import EchoServer, RedisServer, TraefikServer, free_port, within
from kvproxy.traefik.request_counts import Sieve
from kvproxy_redis import TraefikRedisProxy

from .proxies import TOML, Client, Doors, External, Start, port_of, serving, until_true

pytestmark = pytest.mark.timeout(180)

#: Lines that `kvproxy static-config` adds for it.
METRICS = """
[metrics.prometheus]
addEntryPointsLabels = false
manualRouting = true
"""
#: A server that does not know JupyterHub's API and reports nothing.
SERVER = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
HTTPServer((url.hostname, url.port), Handler).serve_forever()
"""


async def active(proxy: KVTraefikProxy) -> dict[str, datetime]:
    """The routes that the hub is told to have been used, and when."""
    told = {spec: route["data"].get("last_activity") for spec, route in (await proxy.get_all_routes()).items()}
    return {spec: parse_date(last) for spec, last in told.items() if last is not None}


async def until_active(proxy: KVTraefikProxy, spec: str, after: datetime, seconds: float = 20) -> datetime:
    """Wait until the hub is told that a route was used after this time; gives back when."""

    async def wait() -> datetime:
        while (last := (await active(proxy)).get(spec)) is None or last < after:
            await asyncio.sleep(0.05)
        return last

    return await within(wait(), seconds)


def now() -> datetime:
    """The time, as finely as JupyterHub is told it."""
    return datetime.now(timezone.utc).replace(microsecond=0)


async def get(url: str, **options: Any) -> int:
    """The status of an answer."""
    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False, **options) as answer:
        await answer.read()
        return answer.status


def basic(name: str, password: str) -> dict[str, str]:
    """The header of basic authentication."""
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


@asynccontextmanager
async def answering(status: int) -> AsyncIterator[str]:
    """The URL of a server that gives this status to every request."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status)

    async with serving(answer) as url:
        yield url


async def test_the_route_that_was_used_is_told_of_and_no_other(start_proxy: Start, doors: Doors) -> None:
    """With its data as they were given; the store knows nothing of it, and nothing is repaired."""
    proxy = await start_proxy()
    data = {"/user/ada/": {"user": "ada", "last_activity": "1999-01-01T00:00:00Z"}, "/user/bob/": {"user": "bob"}}
    target = await doors.open()
    for spec in data:
        await proxy.add_route(spec, target, data[spec])
    store = proxy.open_store(proxy.roots)
    before = await store.snapshot()
    assert {spec: route["data"] for spec, route in (await proxy.get_all_routes()).items()} == data
    start, client = now(), Client(int(port_of(proxy.public_url)))
    assert (await client.ask("/user/ada/lab"))[0] == 200
    last = await until_active(proxy, "/user/ada/", start)
    assert start <= last <= datetime.now(timezone.utc)
    routes = await proxy.get_all_routes()
    assert routes["/user/bob/"]["data"] == data["/user/bob/"]
    assert {**routes["/user/ada/"]["data"], "last_activity": "1999-01-01T00:00:00Z"} == data["/user/ada/"]
    assert await proxy.get_route("/user/ada/") == routes["/user/ada/"]
    assert await store.snapshot() == before
    await proxy.delete_route("/user/ada/")
    await proxy.add_route("/user/ada/", target, {})
    assert set(await active(proxy)) <= {"/user/ada/"}
    await client.close()
    await store.aclose()


async def test_redirects_and_errors_are_no_use(start_proxy: Start, doors: Doors) -> None:
    """A browser that was logged out, a robot, a server that is down: as with configurable-http-proxy."""
    proxy = await start_proxy()
    async with answering(302) as redirecting, answering(403) as forbidding, answering(204) as serving:
        targets = {"302": redirecting, "403": forbidding, "502": f"http://127.0.0.1:{free_port()}", "204": serving}
        for name, target in targets.items():
            await proxy.add_route(f"/user/{name}/", target, {})
        assert await active(proxy) == {}
        start = now()
        for name in targets:
            assert await get(f"{proxy.public_url}user/{name}/") == int(name)
        await until_active(proxy, "/user/204/", start)
        assert set(await active(proxy)) == {"/user/204/"}


async def test_an_open_websocket_is_seen_when_it_is_closed(
    start_proxy: Start, echo_server: Callable[..., EchoServer]
) -> None:
    """Traefik counts it then; docs/how-to/activity-and-error-pages.md says so."""
    proxy = await start_proxy()
    await proxy.add_route("/user/ada/", echo_server("ada").url, {})
    await proxy.add_route("/user/bob/", echo_server("bob").url, {})
    assert await active(proxy) == {}
    start = now()
    url = f"{proxy.public_url}user/ada/ws".replace("http", "ws", 1)
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_str("x")
        assert (await socket.receive(timeout=10)).data == "x"
        # Something that is counted for certain, so that the websocket could have been as well.
        assert await get(f"{proxy.public_url}user/bob/") == 200
        await until_active(proxy, "/user/bob/", start)
        assert set(await active(proxy)) == {"/user/bob/"}
    await until_active(proxy, "/user/ada/", start)


async def test_a_restarted_traefik_counts_from_zero(start_proxy: Start, doors: Doors) -> None:
    """One request before and one after: the counter shows the same, and it is seen all the same."""
    proxy = await start_proxy()
    await proxy.add_route("/user/ada/", await doors.open(), {})
    assert await active(proxy) == {}
    client, before = Client(int(port_of(proxy.public_url))), now()
    assert (await client.ask("/user/ada/"))[0] == 200
    first = await until_active(proxy, "/user/ada/", before)
    pid = proxy.traefik_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: proxy.traefik_pid not in {None, pid})
    await client.close()

    async def served() -> bool:
        try:
            return (await client.ask("/user/ada/"))[0] == 200
        except (OSError, asyncio.IncompleteReadError):
            await client.close()
            return False

    await until_true(served, 20)
    assert await until_active(proxy, "/user/ada/", first.replace(microsecond=first.microsecond + 1)) > first
    await client.close()


async def test_a_server_that_makes_traefik_grow_is_named_once(
    start_proxy: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its route and Traefik's memory, which is a metric of the hub's as long as the proxy runs."""
    monkeypatch.setattr("kvproxy.traefik.api.Sieve", partial(Sieve, many=3))

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=int(request.rel_url.query["status"]))

    async with serving(answer) as target:
        proxy = await start_proxy()
        for user in ("ada", "bob"):
            await proxy.add_route(f"/user/{user}/", target, {})
        for user, statuses in [("bob", (200, 201, 404)), ("ada", (200, 201, 404, 500))]:
            for status in statuses:
                assert await get(f"{proxy.public_url}user/{user}/?status={status}") == status
        for _ in range(3):
            await proxy.get_all_routes()
    [said] = [line for line in caplog.messages if "counters for" in line]
    assert re.search(r"4 counters for /user/ada/, .* uses \d+ MB now\. Give Traefik a memory limit", said)
    name, labels = f"{metrics_prefix}_kvproxy_traefik_memory_bytes", {"replica": str(proxy.traefik_api_url)}
    assert (REGISTRY.get_sample_value(name, labels) or 0) > 10_000_000
    await proxy.stop()
    assert REGISTRY.get_sample_value(name, labels) is None


async def test_metrics_are_for_the_hub_only(start_proxy: Start, doors: Doors) -> None:
    """As the API is; the public port has none."""
    proxy = await start_proxy(traefik_api_username="abc", traefik_api_password="123")
    await proxy.add_route("/", await doors.open(), {})
    assert await get(f"{proxy.traefik_api_url}/metrics") == 401
    assert await get(f"{proxy.traefik_api_url}/metrics", headers=basic("abc", "wrong")) == 401
    assert await get(f"{proxy.traefik_api_url}/metrics", headers=basic("abc", "123")) == 200
    client = Client(int(port_of(proxy.public_url)))
    assert "traefik" not in (await client.ask("/metrics"))[1]
    await client.close()


async def test_switched_off(start_proxy: Start, doors: Doors) -> None:
    """Traefik has no metrics, and routes are as they were given."""
    proxy = await start_proxy(track_last_activity=False)
    assert "metrics" not in Path(proxy.static_config_file).read_text(encoding="utf-8")
    await proxy.add_route("/user/ada/", await doors.open(), {"user": "ada"})
    assert await get(f"{proxy.traefik_api_url}/metrics") == 404
    assert await get(f"{proxy.public_url}user/ada/") == 200
    assert (await proxy.get_all_routes())["/user/ada/"]["data"] == {"user": "ada"}


async def test_metrics_of_the_administrators_own_stay_as_they_are(start_proxy: Start, doors: Doors) -> None:
    """They are shown where he wants them, by entry points too, and the hub learns from them as well."""
    port = free_port()
    extra = {
        "metrics": {"prometheus": {"entryPoint": "metrics"}},
        "entryPoints": {"metrics": {"address": f"127.0.0.1:{port}"}},
    }
    proxy = await start_proxy(extra_static_config=extra)
    await proxy.add_route("/user/ada/", await doors.open(), {})
    assert await active(proxy) == {}
    start = now()
    assert await get(f"{proxy.public_url}user/ada/") == 200
    await until_active(proxy, "/user/ada/", start)
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert "traefik_entrypoint_requests_total" in await answer.text()


async def test_a_traefik_without_metrics_is_told_of_once(
    external: External, doors: Doors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All else works, and nothing is set up that such a Traefik would complain of."""
    caplog.set_level(logging.INFO)
    proxy = external()
    await proxy.add_route("/user/ada/", await doors.open(), {"user": "ada"})
    assert await get(f"{proxy.public_url}user/ada/") == 200
    for _ in range(3):
        assert (await proxy.get_all_routes())["/user/ada/"]["data"] == {"user": "ada"}
    assert caplog.text.count("shows no metrics") == 1
    assert "kvproxy static-config" in caplog.text
    assert "prometheus" not in (tmp_path / "by-hand.toml.log").read_text(encoding="utf-8")


async def test_an_external_traefik_that_gets_metrics_is_noticed(
    make_proxy: Callable[..., TraefikRedisProxy], redis_server: RedisServer, doors: Doors, tmp_path: Path
) -> None:
    """Without a restart of the hub. A hub that is started later finds all as it should be, and writes nothing."""
    public, api, file = free_port(), free_port(), tmp_path / "external.toml"
    file.write_text(TOML.format(public=public, api=api, redis=redis_server.port, root="traefik"))
    urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://127.0.0.1:{api}"}
    app = SimpleNamespace(cookie_secret=b"0" * 32)
    proxy = make_proxy(should_start=False, app=app, **urls)
    with TraefikServer(file, [public, api]) as traefik:
        await proxy.add_route("/user/ada/", await doors.open(), {})
        assert await active(proxy) == {}
        traefik.stop()
        file.write_text(file.read_text() + METRICS)
        traefik.start()
        await until_metrics(proxy)
        start = now()
        assert await get(f"{proxy.public_url}user/ada/") == 200
        await until_active(proxy, "/user/ada/", start)
        store = proxy.open_store(proxy.roots)
        await proxy.stop()
        before = await store.snapshot()
        again = make_proxy(should_start=False, app=app, **urls)
        assert set(await again.get_all_routes()) == {"/user/ada/"}
        assert (await store.snapshot()).config == before.config
        await store.aclose()


async def test_every_replica_counts_and_a_hanging_one_delays_no_call(
    make_proxy: Callable[..., TraefikRedisProxy], redis_server: RedisServer, doors: Doors, tmp_path: Path
) -> None:
    """Requests through either are seen; a replica that hangs costs one short wait, and then none."""
    ports = [(free_port(), free_port()) for _ in range(2)]
    servers = []
    for number, (public, api) in enumerate(ports):
        file = tmp_path / f"replica{number}.toml"
        file.write_text(TOML.format(public=public, api=api, redis=redis_server.port, root="traefik") + METRICS)
        servers.append(TraefikServer(file, [public, api]))
    try:
        for server in servers:
            server.start()
        proxy = make_proxy(
            should_start=False,
            public_url=f"http://127.0.0.1:{ports[0][0]}/",
            traefik_api_url=[f"http://127.0.0.1:{api}" for _, api in ports],
            traefik_replica_grace=1.0,
        )
        for user in ("ada", "bob"):
            await proxy.add_route(f"/user/{user}/", await doors.open(), {})
        await until_metrics(proxy)
        for user, (public, _) in zip(("ada", "bob"), ports, strict=True):
            start = now()
            assert await get(f"http://127.0.0.1:{public}/user/{user}/") == 200
            await until_active(proxy, f"/user/{user}/", start)
        os.kill(servers[1].pid, signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        took = []
        for _ in range(3):
            begin = loop.time()
            assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/bob/"}
            took.append(loop.time() - begin)
        assert max(took) < 8
        start = now()
        assert await get(f"http://127.0.0.1:{ports[0][0]}/user/ada/") == 200
        await until_active(proxy, "/user/ada/", start)
    finally:
        for server in servers:
            if server.running:
                os.kill(server.pid, signal.SIGCONT)
            server.close()


async def test_no_hub_sees_another_ones(
    make_proxy: Callable[..., TraefikRedisProxy],
    traefik_server: Callable[..., TraefikServer],
    redis_server: RedisServer,
    doors: Doors,
    tmp_path: Path,
) -> None:
    """Two hubs on one Traefik, with users of the same name."""
    public, api = free_port(), free_port()
    file = tmp_path / "shared.toml"
    file.write_text(TOML.format(public=public, api=api, redis=redis_server.port, root="traefik") + METRICS)
    traefik_server(file, [public, api])
    hubs = {}
    for name in ("blue", "red"):
        urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://127.0.0.1:{api}"}
        hubs[name] = make_proxy(should_start=False, hub_id=name, hub_host=f"{name}.example.org", **urls)
        await hubs[name].add_route("/user/ada/", await doors.open(), {})
        await until_metrics(hubs[name])
    client, start = Client(public), now()
    assert (await client.ask("/user/ada/", "blue.example.org"))[0] == 200
    await until_active(hubs["blue"], "/user/ada/", start)
    assert await active(hubs["red"]) == {}
    await client.close()


async def until_metrics(proxy: KVTraefikProxy) -> None:
    """Wait until an external Traefik has been set up to show its metrics, and a first look was taken at them."""

    async def shown() -> bool:
        await proxy.get_all_routes()
        members = await proxy._session.discovery.members()  # type: ignore[union-attr]
        return all([await member.sample() is not None for member in members])

    await until_true(shown, 20)
    await proxy.get_all_routes()


@pytest.mark.hub
async def test_the_hubs_database_has_it(hub_factory: Callable[..., HubProcess], redis_server: RedisServer) -> None:
    """For a server that reports nothing, after the hub's own `update_last_activity`."""
    hub = hub_factory(
        {
            "TraefikRedisProxy.redis_url": redis_server.url,
            "JupyterHub.last_activity_interval": 1,
            "Spawner.cmd": [sys.executable, "-c", SERVER],
            "Spawner.args": [],
        }
    )
    hub.start()
    async with HubClient(hub, "ada") as ada, HubClient(hub, "bob") as bob:
        for client in (ada, bob):
            await client.spawn()
        start = datetime.now(timezone.utc)

        async def used(client: HubClient) -> bool:
            return parse_date((await client.servers())[""]["last_activity"]) > start

        async def ada_is_active() -> bool:
            assert await get(f"{hub.url}/user/ada/") == 200
            return await used(ada)

        await until_true(ada_is_active, 30)
        assert not await used(bob)
    assert "Traceback" not in hub.log_text
