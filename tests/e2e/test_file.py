"""The file backend through the real Traefik: what users, and administrators with an editor, notice."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from kvproxy.errors import RouteRejectedError, StoreError
from kvproxy.testing.conformance.proxy import TraefikConformance
from kvproxy.testing.conformance.proxy_names import as_hub, as_literal
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest
from kvproxy.testing.servers import TraefikServer, free_port, within
from kvproxy_file import TraefikFileProviderProxy

from .proxies import Client, Doors, add_all, port_of

Make: TypeAlias = Callable[..., TraefikFileProviderProxy]
Start: TypeAlias = Callable[..., Awaitable[TraefikFileProviderProxy]]

METRICS = {"metrics": {"prometheus": {"entryPoint": "auth_api", "manualRouting": False}}}
#: As an administrator writes it by hand; no kvproxy had a part in it.
EXTERNAL = """
[api]

[entryPoints.http]
address = "127.0.0.1:{public}"

[entryPoints.auth_api]
address = "localhost:{api}"

[providers]
providersThrottleDuration = "0s"

[providers.file]
filename = "{file}"
"""
HAND = {
    "toml": """
[http.routers.mine]   # added by hand
rule = 'PathPrefix(`/mine`)'
priority = 1_000
service = "mine"

[[http.services.mine.loadBalancer.servers]]
url = "{url}"
""",
    "yaml": """
http:
  routers:
    mine:  # added by hand
      rule: PathPrefix(`/mine`)
      priority: 1000
      service: mine
  services:
    mine:
      loadBalancer:
        servers:
          - url: {url}
""",
}


@pytest.fixture(params=["toml", "yaml"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the routes are."""
    return tmp_path / f"rules.{request.param}"


@pytest.fixture
async def make_proxy(file: Path, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a proxy on free ports; traits as keyword arguments. All are stopped in the end."""
    async with AsyncExitStack() as stack:

        def make(**traits: Any) -> TraefikFileProviderProxy:
            settings = {
                "public_url": f"http://127.0.0.1:{free_port()}/",
                "traefik_api_url": f"http://127.0.0.1:{free_port()}",
                "dynamic_config_file": str(file),
                "static_config_file": str(tmp_path / "traefik.toml"),
                "check_route_timeout": 20,
                "log": logging.getLogger("kvproxy.test"),
            }
            proxy = TraefikFileProviderProxy(**{**settings, **traits})
            stack.push_async_callback(proxy.stop)
            return proxy

        yield make


@pytest.fixture
def start_proxy(make_proxy: Make) -> Start:
    """Makes a proxy and starts it."""

    async def start(**traits: Any) -> TraefikFileProviderProxy:
        proxy = make_proxy(**traits)
        await proxy.start()
        return proxy

    return start


async def until_served(client: Client, path: str, answer: tuple[int, str]) -> None:
    """Wait until a path is answered like this."""

    async def wait() -> None:
        while await client.ask(path) != answer:
            await asyncio.sleep(0.02)

    await within(wait(), 10)


async def reloads(proxy: TraefikFileProviderProxy) -> int:
    """How often this Traefik has loaded a configuration."""
    async with aiohttp.ClientSession() as session, session.get(f"{proxy.traefik_api_url}/metrics") as answer:
        found = re.search(r"^traefik_config_reloads_total (\d+)", await answer.text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1))


async def test_a_route_is_served_the_moment_add_route_returns(
    start_proxy: Start, doors: Doors, client_of: Callable[..., Client], file: Path, tmp_path: Path
) -> None:
    """New ones, changed ones, and ones that come back; the file is private all the time, and is left with its lock."""
    proxy = await start_proxy()
    targets = [await doors.open() for _ in range(2)]
    client = client_of(proxy)
    for turn in range(30):
        target = targets[turn % 2]
        await proxy.add_route("/user/ada/", target, {})
        assert await client.ask("/user/ada/lab") == (200, port_of(target)), turn
        if turn % 5 == 4:
            await proxy.delete_route("/user/ada/")
            await until_served(client, "/user/ada/lab", (404, "Not Found"))
        await proxy.add_route(f"/user/u{turn}/", target, {})
        assert await client.ask(f"/user/u{turn}/") == (200, port_of(target)), turn
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await proxy.stop()
    assert {path.name for path in tmp_path.iterdir()} == {file.name, f".{file.name}.lock"}


async def test_a_hundred_simultaneous_calls_are_a_handful_of_writes_and_reloads(
    start_proxy: Start, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traefik reads the file once for each new one; the first one more often, as it watches that by itself too."""
    proxy = await start_proxy(extra_static_config=METRICS)
    target = await doors.open()
    await proxy.add_route("/", target, {})
    loaded, writes = await reloads(proxy), []
    fsync = os.fsync
    monkeypatch.setattr("os.fsync", lambda descriptor: (writes.append(descriptor), fsync(descriptor)))
    await add_all(proxy, [(f"/user/u{n}/", target) for n in range(100)])
    assert len(await proxy.get_all_routes()) == 101
    await asyncio.gather(*(proxy.delete_route(f"/user/u{n}/") for n in range(100)))
    assert set(await proxy.get_all_routes()) == {"/"}
    assert len(writes) <= 6
    assert await reloads(proxy) - loaded <= 6


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"user": "ada", "server_name": "", "n": 1, "f": 1.5, "big": 2**60, "none": None, "no": False},
        {
            "nested": {"list": [1, {"": ""}], "empty": {}, "text": "中文 \u2028 \" ' \\ / \r\n # {{ env `HOME` }}"},
            "": [[]],
        },
    ],
)
async def test_routes_and_data_survive_a_restart_of_hub_and_traefik(
    data: Any, start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Exactly as JSON gave them; they are served as soon as Traefik is there."""
    target = await doors.open()
    proxy = await start_proxy()
    await proxy.add_route("/x/", target, data)
    wanted = {"routespec": "/x/", "target": target, "data": json.loads(json.dumps(data))}
    assert await proxy.get_route("/x/") == wanted
    await proxy.stop()
    again = await start_proxy()
    assert await client_of(again).ask("/x/") == (200, port_of(target))
    assert await again.get_all_routes() == {"/x/": wanted}


async def test_names_that_look_like_templates(
    start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Traefik treats the file as a template before it reads it."""
    proxy = await start_proxy()
    names = ["{{ env `HOME` }}", '{{"', "}}", "{{{", "{{/*", "{{`"]
    targets = [await doors.open() for _ in names]
    specs = [f"/user/{as_hub(name)}/" for name in names]
    await add_all(proxy, [*zip(specs, targets, strict=True)])
    client = client_of(proxy)
    for name, target in zip(names, targets, strict=True):
        for spelling in (as_hub, as_literal):
            assert await client.ask(f"/user/{spelling(name)}/x") == (200, port_of(target)), name
    assert set(await proxy.get_all_routes()) == set(specs)


async def test_additions_by_hand_are_served_and_kept(
    start_proxy: Start, doors: Doors, client_of: Callable[..., Client], file: Path
) -> None:
    """Before the hub is started, and while it runs."""
    first, second, target = [await doors.open() for _ in range(3)]
    text = HAND[file.suffix[1:]]
    file.write_text(text.format(url=first))
    proxy = await start_proxy()
    client = client_of(proxy)
    await proxy.add_route("/", target, {})
    assert await client.ask("/mine/x") == (200, port_of(first))
    assert "1_000" in text or "priority: 1000" in file.read_text()
    # An editor that writes in place, and one that renames.
    file.write_text(file.read_text().replace(first, second))
    await until_served(client, "/mine/x", (200, port_of(second)))
    await proxy.add_route("/user/ada/", target, {})
    other = file.with_name("new")
    other.write_text(file.read_text().replace(second, first))
    other.replace(file)
    await until_served(client, "/mine/x", (200, port_of(first)))
    await proxy.delete_route("/user/ada/")
    await proxy.add_route("/user/ada/", target, {})
    assert await client.ask("/mine/x") == (200, port_of(first))
    assert await client.ask("/user/ada/") == (200, port_of(target))
    assert set(await proxy.get_all_routes()) == {"/", "/user/ada/"}
    await proxy.delete_route("/user/ada/")
    await proxy.delete_route("/")
    await proxy.stop()
    assert "mine" in file.read_text()


def put(file: Path, text: str) -> None:
    """Have a file hold this, as an editor saves it: in one step, or Traefik may read it while it is empty."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    new.replace(file)


async def test_a_file_that_was_broken_by_hand_is_an_error_and_goes_on_serving(
    start_proxy: Start, doors: Doors, client_of: Callable[..., Client], file: Path
) -> None:
    """The error names the line; nothing is written until it has been mended."""
    proxy = await start_proxy()
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    good = file.read_text()
    broken = good.replace("\n", "\n[ {broken\n", 1)
    put(file, broken)
    with pytest.raises(StoreError, match=rf"{file.name}, line \d+: "):
        await proxy.add_route("/user/bob/", target, {})
    assert file.read_text() == broken
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    put(file, good)
    await proxy.add_route("/user/bob/", target, {})
    assert await client_of(proxy).ask("/user/bob/") == (200, port_of(target))
    await proxy.stop()
    put(file, broken)
    with pytest.raises(StoreError, match=rf"{file.name}, line \d+: "):
        await proxy.start()


@pytest.mark.parametrize("how", ["removed", "older"])
async def test_routes_that_were_lost_by_hand_come_back_with_the_next_change(
    how: str, start_proxy: Start, doors: Doors, client_of: Callable[..., Client], file: Path
) -> None:
    """An editor saved what it had read minutes ago, or the file was removed."""
    proxy = await start_proxy()
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {"user": "ada"})
    older = file.read_text()
    await proxy.add_route("/user/bob/", target, {})
    if how == "older":
        file.write_text(older)
    else:
        file.unlink()
    await proxy.add_route("/user/eve/", target, {})
    assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/bob/", "/user/eve/"}
    client = client_of(proxy)
    for name in ("ada", "bob", "eve"):
        await until_served(client, f"/user/{name}/", (200, port_of(target)))


async def test_extra_dynamic_config_of_every_type_arrives(start_proxy: Start) -> None:
    """Texts, numbers, booleans, lists, and options without fields; text that looks like a template stays text."""
    middlewares = {
        "strip": {"stripPrefix": {"prefixes": ["/a", "/b"]}},
        "compress": {"compress": {}},
        "rate": {"rateLimit": {"average": 100, "period": "1s", "burst": 3}},
        "headers": {"headers": {"customRequestHeaders": {"X-A": "{{ env `HOME` }}"}, "frameDeny": True}},
    }
    router = {"rule": "PathPrefix(`/mine`)", "service": "api@internal", "tls": {}, "middlewares": ["strip", "headers"]}
    proxy = await start_proxy(
        extra_dynamic_config={"http": {"middlewares": middlewares, "routers": {"mine": {**router, "priority": 77}}}},
        traefik_api_username="ada",
        traefik_api_password="secret",
    )
    access = {"Authorization": f"Basic {base64.b64encode(b'ada:secret').decode()}"}
    async with aiohttp.ClientSession(headers=access) as session:

        async def ask(what: str) -> Any:
            async with session.get(f"{proxy.traefik_api_url}/api/http/{what}@file") as answer:
                return await answer.json()

        for name, wanted in middlewares.items():
            ((kind, options),) = wanted.items()
            found = await ask(f"middlewares/{name}")
            assert found["status"] == "enabled"
            assert {**found[kind], **options} == found[kind]
        seen = await ask("routers/mine")
        assert (seen["priority"], seen["middlewares"], seen["status"]) == (
            77,
            ["strip@file", "headers@file"],
            "enabled",
        )
        assert "tls" in seen


async def test_a_traefik_that_the_hub_does_not_start(
    make_proxy: Make,
    traefik_server: Callable[..., TraefikServer],
    doors: Doors,
    client_of: Callable[..., Client],
    file: Path,
    tmp_path: Path,
) -> None:
    """Started before the hub on an empty file, restarted after it; its group may go on reading the file."""
    public, api = free_port(), free_port()
    static = tmp_path / "by-hand.toml"
    static.write_text(EXTERNAL.format(public=public, api=api, file=file))
    file.touch(0o640)
    server = traefik_server(static, [public, api])
    urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://localhost:{api}"}
    proxy = make_proxy(should_start=False, **urls)
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    client = client_of(proxy)
    assert await client.ask("/user/ada/") == (200, port_of(target))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    server.restart()
    await client.close()
    await until_served(client, "/user/ada/", (200, port_of(target)))
    await proxy.add_route("/user/bob/", target, {})
    assert await client.ask("/user/bob/") == (200, port_of(target))
    await proxy.stop()

    refused = make_proxy(should_start=False, traefik_entrypoint="nosuchentrypoint", **urls)
    with pytest.raises(RouteRejectedError, match="nosuchentrypoint"):
        await refused.add_route("/user/eve/", target, {})
    assert "/user/eve/" not in file.read_text()


class TestConformance(TraefikConformance):
    """The conformance kit, in both formats."""

    subject = "local file"

    @pytest.fixture
    def backend(self, file: Path) -> BackendUnderTest:
        return BackendUnderTest(TraefikFileProviderProxy, {"dynamic_config_file": str(file)})
