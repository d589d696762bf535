"""A day in the life of a real hub: users, servers, kernels, named servers, and JupyterHub's own route check."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from urllib.parse import quote

import psutil
import pytest

from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.route import make_route
from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer, accepts, wait_until

pytestmark = [pytest.mark.hub, pytest.mark.timeout(300)]

PASSWORD = "hard/to%2Fguess&short"
WHICH_SERVER = "import os; print(os.environ['JUPYTERHUB_SERVER_NAME'])"


@pytest.fixture
def guarded_redis():
    """A Redis that needs a password, and the hub as a user of its own."""
    with RedisServer(password="another", acl=[f"hub on >{PASSWORD} ~* &* +@all"]) as server:
        yield server


def tells_password(text: str) -> bool:
    return PASSWORD in text or quote(PASSWORD, safe="") in text


def command_lines() -> str:
    return "\n".join(" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))


def readable_by_others(hub: HubProcess) -> str:
    files = [path for path in hub.directory.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    return "\n".join(path.read_text(errors="replace") for path in files)


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    found = [c.laddr for p in processes for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    return {(address.ip, address.port) for address in found}


async def work(hub: HubProcess, name: str) -> None:
    async with HubClient(hub, name) as user:
        assert (await user.log_in()).status == 200
        await user.spawn()
        lab = await user.browse(f"/user/{name}/lab")
        assert (lab.status, "jupyter-config-data" in lab.text) == (200, True)
        assert await user.run("print(6*7)") == "42\n"


async def test_a_day_from_start_to_stop(hub_factory, guarded_redis):
    settings = {
        "TraefikRedisProxy.redis_url": guarded_redis.url,
        "TraefikRedisProxy.redis_username": "hub",
        "TraefikRedisProxy.redis_password": PASSWORD,
        "TraefikProxy.traefik_log_level": "DEBUG",
        "JupyterHub.log_level": "DEBUG",
    }
    hub = hub_factory(settings)
    hub.start()
    await asyncio.gather(work(hub, "ada"), work(hub, "bob"))

    assert tells_password(hub.static_config_file.read_text())  # or the checks below check nothing
    assert stat.S_IMODE(hub.static_config_file.stat().st_mode) == 0o600
    assert not tells_password(command_lines())
    assert not tells_password(readable_by_others(hub))
    async with HubClient(hub, "ada") as ada:
        await ada.log_in()
        await ada.stop_server()
        page = await ada.browse("/user/ada/")
        assert page.url.startswith(f"{hub.url}/hub/user/ada")
        assert "Server not running" in page.text
        assert "/user/ada/" not in await ada.routes()

    processes = hub.family()
    assert [p.name() for p in processes].count("traefik") == 1
    addresses = listening(processes)
    assert {ip for ip, _ in addresses} <= {"127.0.0.1", "::1"}
    assert hub.end() == 0  # while bob's server runs
    assert hub.family() == []
    # A notebook's kernel looks every second whether its server has ended.
    wait_until(lambda: not any(accepts(port) for _, port in addresses), "all ports are closed")
    assert list(hub.directory.glob("*traefik.toml*")) == []
    assert hub.log_text.partition("Traceback")[2][:3000] == ""
    assert not tells_password(hub.log_text)


async def test_named_servers_are_kept_apart(hub):
    async with HubClient(hub, "cleo") as cleo:
        await asyncio.gather(cleo.spawn("one"), cleo.spawn("two"))
        assert await cleo.run(WHICH_SERVER, "one") == "one\n"
        assert await cleo.run(WHICH_SERVER, "two") == "two\n"
        assert (await cleo.server("GET", "api")).status != 200  # the default server was not started

        await cleo.stop_server("one", remove=True)
        assert (await cleo.server("GET", "api", server="one")).status != 200
        assert await cleo.run(WHICH_SERVER, "two") == "two\n"


async def test_routes_are_told_with_their_data(hub):
    async with HubClient(hub, "dora") as dora:
        await dora.spawn()
        routes = await dora.routes()
        await dora.stop_server()
    assert routes["/base/"]["data"] == {"hub": True}
    assert routes["/base/user/dora/"]["data"] == {"user": "dora", "server_name": ""}
    assert routes["/base/user/dora/"]["target"].startswith("http://127.0.0.1:")


async def until_status(client: HubClient, path: str, status: int, before: Callable[[], object] = lambda: None) -> None:
    for _ in range(200):
        before()
        if (answer := await client.server("GET", path)).status == status:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path} of {client.user} still gives {answer.status}")


async def test_route_check_heals_a_lost_route(hub, redis_of_hub):
    async with HubClient(hub, "eve") as eve:
        await eve.spawn()
        route = make_route("/base/user/eve/", (await eve.routes())["/base/user/eve/"]["target"], {})
        keys = ["traefik/" + key for key in encode_route(route, Layout()).config]
        assert redis_of_hub.command("DEL", *keys) == len(keys)
        assert redis_of_hub.command("HDEL", "jupyterhub/routes", route.key) == 1
        redis_of_hub.command("PUBLISH", "__keyspace@0__:traefik/", "del")
        await until_status(eve, "api", 302)  # the hub answers

        assert (await eve.check_routes()).status == 200
        await until_status(eve, "api", 200)
        await eve.stop_server()


async def test_route_check_removes_a_stale_route(hub, redis_of_hub):
    route = make_route("/base/user/ghost/", "http://127.0.0.1:1", {"user": "ghost", "server_name": ""})
    entry = encode_route(route, Layout())
    pairs = [part for key, value in entry.config.items() for part in ("traefik/" + key, value)]

    def plant() -> None:
        redis_of_hub.command("MSET", *pairs)
        redis_of_hub.command("HSET", "jupyterhub/routes", *next(iter(entry.records.items())))
        redis_of_hub.command("PUBLISH", "__keyspace@0__:traefik/", "set")

    async with HubClient(hub, "ghost") as ghost:
        # Planted each time, as the hub's own look at the store may remove it first; no server listens at that target.
        await until_status(ghost, "api", 502, plant)

        assert (await ghost.check_routes()).status == 200
        await until_status(ghost, "api", 302)
        assert "/base/user/ghost/" not in await ghost.routes()
    assert redis_of_hub.command("EXISTS", *pairs[::2]) == 0
    assert redis_of_hub.command("HEXISTS", "jupyterhub/routes", route.key) == 0
