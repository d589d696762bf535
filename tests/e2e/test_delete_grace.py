"""Deletions that wait for other changes, on a real Redis and real Traefiks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.servers import EchoServer, free_port

from .proxies import Doors, Start, add_all, port_of, until_true
from .test_activity import basic
from .test_tiers import two

pytestmark = pytest.mark.timeout(240)

STOPPED = [f"/user/stopped-{n}/" for n in range(5)]


@pytest.fixture
def hub(echo_server: Callable[..., EchoServer]) -> SimpleNamespace:
    """A hub, as far as a proxy knows it, which says what it was asked."""
    server = echo_server("hub")
    return SimpleNamespace(url=f"{server.url}/hub/", server=server)


async def ask(url: str, **options: Any) -> tuple[int, str]:
    """Status and text of an answer."""
    async with aiohttp.ClientSession() as session, session.get(url, **options) as answer:
        return answer.status, await answer.text()


async def reloads(proxy: KVTraefikProxy) -> int:
    """Traefik's own count of its reloads."""
    _, text = await ask(f"{proxy.traefik_api_url}/metrics", headers=basic("abc", "123"))
    found = re.search(r"^traefik_config_reloads_total (\S+)", text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


@pytest.mark.parametrize("tiers", ["one", "two"])
async def test_servers_that_stop_one_after_another_cost_one_reload(
    start_proxy: Start, doors: Doors, hub: SimpleNamespace, tiers: str
) -> None:
    """Meanwhile each of them shows the hub's page, and one that is started again is served at once."""
    login = {"traefik_api_username": "abc", "traefik_api_password": "123"}
    places = two() if tiers == "two" else {}
    proxy = await start_proxy(hub=hub, delete_grace=600, **login, **places)
    default, ada = await doors.open(), await doors.open()
    await proxy.add_route("/", default, {"hub": True})
    await add_all(proxy, [("/user/ada/", ada), *((spec, f"http://127.0.0.1:{free_port()}") for spec in STOPPED)])
    if proxy._session.tiers is not None:
        await proxy._session.tiers.settle(30)
    before = await reloads(proxy)

    for spec in [*STOPPED, "/user/ada/"]:
        await proxy.delete_route(spec)
    assert set(await proxy.get_all_routes()) == {"/"}
    for spec in STOPPED:
        status, text = await ask(f"{proxy.public_url}{spec[1:]}lab")
        assert (status, '"path": "/hub/error/503"' in text) == (503, True)
    assert await reloads(proxy) == before

    await proxy.add_route("/user/ada/", ada, {})
    assert await ask(f"{proxy.public_url}user/ada/") == (200, port_of(ada))
    for spec in STOPPED:
        assert await ask(f"{proxy.public_url}{spec[1:]}lab") == (200, port_of(default))
    assert await reloads(proxy) == before + 1


@pytest.mark.parametrize("tiers", ["one", "two"])
async def test_a_deleted_route_does_not_lead_to_the_next_server_at_its_address(
    start_proxy: Start, doors: Doors, tiers: str
) -> None:
    """From the moment in which that server's route is served."""
    proxy = await start_proxy(delete_grace=600, **(two() if tiers == "two" else {}))
    default, server = await doors.open(), await doors.open()
    await add_all(proxy, [("/", default), ("/user/ada/", server)])
    if proxy._session.tiers is not None:
        await proxy._session.tiers.settle(30)
    await proxy.delete_route("/user/ada/")
    assert await ask(f"{proxy.public_url}user/ada/") == (200, port_of(server))
    await proxy.add_route("/user/bob/", server, {})
    assert await ask(f"{proxy.public_url}user/ada/") == (200, port_of(default))
    assert await ask(f"{proxy.public_url}user/bob/") == (200, port_of(server))


async def test_a_deletion_waits_for_its_grace_and_no_longer(start_proxy: Start, doors: Doors) -> None:
    """Without any other change."""
    proxy = await start_proxy(delete_grace=1)
    default = await doors.open()
    await add_all(proxy, [("/", default), ("/user/ada/", await doors.open())])
    await proxy.delete_route("/user/ada/")

    async def gone() -> bool:
        return await ask(f"{proxy.public_url}user/ada/") == (200, port_of(default))

    await until_true(gone, 5)


@pytest.mark.parametrize("end", ["stopped", "cancelled"])
async def test_at_the_hubs_end_the_store_has_no_deleted_route(start_proxy: Start, end: str) -> None:
    """JupyterHub stops the proxy, or cancels all tasks if it leaves it running."""
    proxy = await start_proxy(delete_grace=600)
    await add_all(proxy, [(spec, f"http://127.0.0.1:{free_port()}") for spec in ("/", "/user/ada/")])
    await proxy.delete_route("/user/ada/")
    store = proxy.open_store(proxy.roots)
    try:
        await store.check()
        assert "/user/ada/" in (await store.snapshot()).records
        if end == "stopped":
            await proxy.stop()
        else:
            tasks = proxy._session.reconciler._tasks
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert not (await store.snapshot()).records.keys() & {"/user/ada/"}
    finally:
        await store.aclose()
