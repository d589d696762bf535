"""A hub whose newest routes are in a second Traefik."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal

import psutil
import pytest

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer, free_port

from .command import process
from .proxies import until_true
from .test_admission import ADMITS

pytestmark = [pytest.mark.hub, pytest.mark.timeout(300)]


@pytest.fixture(params=["plain", pytest.param("admits", marks=pytest.mark.endurance)])
def hub(request: pytest.FixtureRequest, hub_factory, redis_server: RedisServer) -> HubProcess:
    """A hub with two tiers that leaves its users' servers running when it stops; one of two admits the Traefiks."""
    admits = ADMITS if request.param == "admits" else {}
    settings = {
        "TraefikRedisProxy.redis_url": redis_server.url,
        **{f"TraefikRedisProxy.{name}": value for name, value in admits.items()},
        "JupyterHub.cleanup_servers": False,
        "TraefikProxy.route_tiers": "two",
        "TraefikProxy.hot_traefik_url": f"http://127.0.0.1:{free_port()}",
        "TraefikProxy.hot_traefik_api_url": f"http://127.0.0.1:{free_port()}",
    }
    hub = hub_factory(settings, base_url="/base/")
    hub.start()
    return hub


def traefiks(hub: HubProcess) -> list[psutil.Process]:
    """The first and the second Traefik, without one that has just died."""
    found: dict[psutil.Process, bool] = {}
    for one in hub.family():
        with contextlib.suppress(psutil.Error):
            if one.name() == "traefik":
                found[one] = "hot" in " ".join(one.cmdline())
    return sorted(found, key=found.__getitem__)


async def test_users_work_in_a_new_route_while_hub_and_traefiks_die(hub: HubProcess) -> None:
    """Their routes are in the second Traefik all the time, and each of the parts comes back by itself."""
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
        assert await ada.run("print(40 + 2)") == "42\n"
        routes = await ada.routes()
        shown = json.loads((await asyncio.to_thread(process, hub.directory, "routes", "--json")).out)
        seen = {row["routespec"]: row["target"] for row in shown["routes"] if not row["differs"]}
        # The first Traefik leads to the hub's own pages by itself.
        assert seen == {spec: route["target"] for spec, route in routes.items()} | {
            "/base/hub/": routes["/base/"]["target"]
        }
        checked = await asyncio.to_thread(process, hub.directory, "check")
        assert "error" not in checked.out, checked.out
        for number in (0, 1):
            killed = traefiks(hub)[number]
            os.kill(killed.pid, signal.SIGKILL)
            await until_true(
                lambda killed=killed: asyncio.sleep(0, len(traefiks(hub)) == 2 and not killed.is_running()), 30
            )
            await until_true(lambda: answers(ada), 30)

        before = [process.pid for process in traefiks(hub)]
        hub.kill()
        assert await ada.run("print(40 + 3)") == "43\n"
        await asyncio.to_thread(hub.start)
        assert await ada.run("print(40 + 4)") == "44\n"
        assert [process.pid for process in traefiks(hub)] == before
        assert await ada.routes() == routes
        await ada.stop_server()
        assert hub.log_text.partition("Traceback")[2][:3000] == ""
    assert hub.end() == 0
    assert hub.family() == []


async def answers(client: HubClient) -> bool:
    """True if the user's server runs a cell."""
    try:
        return await client.run("print(40 + 2)") == "42\n"
    except Exception:
        return False
