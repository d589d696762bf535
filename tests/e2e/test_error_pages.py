"""The hub's page for a browser where a user's server does not answer."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from kvproxy.testing.conformance.proxy_tree import groups_in
from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import EchoServer, RedisServer, free_port, within
from kvproxy_redis import TraefikRedisProxy

from .proxies import Start, serving

pytestmark = pytest.mark.timeout(240)

PAGE = "/hub/error/503"
ADA = {"user": "ada", "server_name": ""}


@pytest.fixture
def hub(echo_server: Callable[..., EchoServer]) -> SimpleNamespace:
    """A hub, as far as a proxy knows it, which says what it was asked."""
    server = echo_server("hub")
    return SimpleNamespace(url=f"{server.url}/hub/", server=server)


def nobody() -> str:
    """The URL of a server that is gone."""
    return f"http://127.0.0.1:{free_port()}"


async def ask(url: str, method: str = "GET", **options: Any) -> tuple[int, str, Any]:
    """Status, text and headers of an answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, allow_redirects=False, **options) as answer,
    ):
        return answer.status, await answer.text(), answer.headers


async def test_a_server_that_is_gone_gives_the_hubs_page(start_proxy: Start, hub: SimpleNamespace) -> None:
    """For any request, with the status that JupyterLab knows; others' routes are as they were."""
    proxy = await start_proxy(hub=hub)
    url = f"{proxy.public_url}user/ada/"
    await proxy.add_route("/user/ada/", nobody(), ADA)
    await proxy.add_route("/services/x/", nobody(), {"service": "x"})
    await proxy.add_route("/", nobody(), {"hub": True})
    status, text, _ = await ask(f"{url}lab?token=secret", headers={"Accept-Language": "de"})
    assert status == 503
    assert f'"path": "{PAGE}"' in text
    assert "secret" not in text
    assert '"Accept-Language": "de"' in text
    assert (await ask(f"{url}api/kernels", "POST", data=io.BytesIO(b"x" * 2_000_000)))[0] == 503
    assert (await ask(url, "HEAD"))[:2] == (503, "")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{url}ws".replace("http", "ws", 1))
        assert refused.value.status == 502
    for path in ("services/x/", "hub/home"):
        status, text, _ = await ask(proxy.public_url + path)
        assert (status, PAGE in text) == (503, True)


async def test_a_servers_own_answers_pass(start_proxy: Start, hub: SimpleNamespace) -> None:
    """All of its statuses but the two that Traefik uses too."""
    proxy = await start_proxy(hub=hub)

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=int(request.path.rpartition("/")[2]), text="its own")

    async with serving(answer) as target:
        await proxy.add_route("/user/ada/", target, ADA)
        for status in (200, 403, 404, 424, 500, 501, 503, 599):
            assert (await ask(f"{proxy.public_url}user/ada/{status}"))[:2] == (status, "its own")
        for status in (502, 504):
            shown, text, _ = await ask(f"{proxy.public_url}user/ada/{status}")
            assert (shown, PAGE in text) == (503, True)
            # A client that names what it takes cannot show a page.
            for accept in ("application/json", "text/event-stream"):
                url = f"{proxy.public_url}user/ada/{status}"
                assert (await ask(url, headers={"Accept": accept}))[:2] == (status, "its own")


@pytest.mark.parametrize("layout", ["flat", "tree"])
async def test_a_server_of_an_excepted_path_answers_for_itself(
    start_proxy: Start, hub: SimpleNamespace, layout: str
) -> None:
    """A gateway whose 502 means something; all others have the hub's page."""
    proxy = await start_proxy(hub=hub, route_layout=layout, error_pages_except=["/services/gateway/", "/user/*/raw/"])

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=502, text="its own")

    async with serving(answer) as target:
        for spec, data in (("/", {"hub": True}), ("/services/gateway/", {"service": "gateway"}), ("/user/ada/", ADA)):
            await proxy.add_route(spec, target, data)
        for path in ("services/gateway/x", "services/gateway", "user/ada/raw/1"):
            assert (await ask(proxy.public_url + path))[:2] == (502, "its own")
        for path in ("services/gateways", "user/ada/lab", "user/raw/"):
            assert (await ask(proxy.public_url + path))[0] == 503


async def test_requests_that_match_no_route_get_the_hubs_page(start_proxy: Start, hub: SimpleNamespace) -> None:
    """A hub below a path, and a user who types the host alone; a health check needs no hub."""
    hub.url = hub.url.replace("/hub/", "/jh/hub/")
    proxy = await start_proxy(hub=hub, public_url=f"http://127.0.0.1:{free_port()}/jh/")
    await proxy.add_route("/jh/", hub.server.url, {"hub": True})
    root = proxy.public_url.removesuffix("jh/")
    for method in ("GET", "POST"):
        status, text, _ = await ask(root, method)
        assert (status, '"path": "/jh/hub/error/404"' in text) == (404, True)
    assert (await ask(f"{root}_chp_healthz"))[:2] == (200, "OK")
    assert '"path": "/jh/hub/home"' in (await ask(f"{root}jh/hub/home"))[1]


async def test_a_health_check_depends_on_traefik_alone(
    start_proxy: Start, hub: SimpleNamespace, redis_server: RedisServer
) -> None:
    """Neither on the store nor on the hub, once Traefik has loaded what the hub has set up."""
    proxy = await start_proxy(hub=hub)
    url = f"{proxy.public_url}_chp_healthz"
    hub.server.stop()
    assert (await ask(url))[0] == 200
    redis_server.stop()
    for method in ("GET", "HEAD"):
        assert (await ask(url, method))[0] == 200


async def test_an_unknown_host_gets_the_hubs_page(start_proxy: Start, hub: SimpleNamespace) -> None:
    """Of a hub that gives every user a domain."""
    proxy = await start_proxy(hub=hub)
    await proxy.add_route("hub.example.org/", hub.server.url, {"hub": True})
    known, unknown = ({"Host": f"{name}.example.org"} for name in ("hub", "nobody"))
    assert (await ask(proxy.public_url, headers=known))[0] == 200
    status, text, _ = await ask(proxy.public_url, headers=unknown)
    assert (status, '"path": "/hub/error/404"' in text) == (404, True)


async def test_without_a_hub_what_fits_no_route_is_a_plain_404(start_proxy: Start) -> None:
    """As there is no service to ask for a page."""
    proxy = await start_proxy()
    assert (await ask(proxy.public_url))[:2] == (404, "Not Found")


async def test_websockets_and_streams_are_not_held_up(
    start_proxy: Start, hub: SimpleNamespace, echo_server: Callable[..., EchoServer]
) -> None:
    """Data that a server has sent arrives before it goes on; large bodies arrive whole in both directions."""
    proxy, go_on = await start_proxy(hub=hub), asyncio.Event()

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await go_on.wait()
        await response.write(b"x" * 3_000_000)
        return response

    async with serving(stream) as target, aiohttp.ClientSession() as session:
        await proxy.add_route("/user/ada/", target, ADA)
        async with session.get(f"{proxy.public_url}user/ada/") as answer:
            assert await within(answer.content.readexactly(5), 10) == b"first"
            go_on.set()
            assert len(await answer.read()) == 3_000_000
        await proxy.add_route("/user/bob/", echo_server("bob").url, {"user": "bob"})
        async with session.post(f"{proxy.public_url}user/bob/", data=io.BytesIO(b"x" * 3_000_000)) as answer:
            assert (await answer.json())["body_length"] == 3_000_000
        async with session.ws_connect(f"{proxy.public_url}user/bob/ws".replace("http", "ws", 1)) as socket:
            for text in ("one", "two"):
                await socket.send_str(text)
                assert (await socket.receive(timeout=10)).data == text


async def test_in_a_tree_too(start_proxy: Start, hub: SimpleNamespace, echo_server: Callable[..., EchoServer]) -> None:
    """Where the groups are behind the routers that have the middleware."""
    proxy, target = await start_proxy(hub=hub, route_layout="tree"), echo_server("all").url
    await proxy.add_route("/", target, {"hub": True})
    for number in range(0, 120, 40):
        users = [f"student{n}" for n in range(number, number + 40)]
        await asyncio.gather(*(proxy.add_route(f"/user/{user}/", target, {"user": user}) for user in users))
    store = proxy.open_store(proxy.roots)

    async def grouped() -> None:
        while True:
            keys = (await store.snapshot()).config
            roots = [key for key, value in keys.items() if value == proxy.names.roots]
            if groups_in(keys) and 0 < len(roots) < 64:
                return
            await asyncio.sleep(0.1)

    await within(grouped(), 60)
    await proxy.add_route("/user/student7/", nobody(), {"user": "student7"})
    status, text, _ = await ask(f"{proxy.public_url}user/student7/lab")
    assert (status, PAGE in text) == (503, True)
    assert (await ask(f"{proxy.public_url}user/student8/lab"))[0] == 200
    assert '"path": "/user/nobody/lab"' in (await ask(f"{proxy.public_url}user/nobody/lab"))[1]
    await store.aclose()


async def test_switching_them_on_and_off(start_proxy: Start, hub: SimpleNamespace) -> None:
    """Routes that are there get them, and lose them, with the next start."""
    target = nobody()
    for turn, wanted in enumerate([(502, False), (503, True), (502, False)]):
        proxy = await start_proxy(hub=hub, error_pages=wanted[1])
        if turn == 0:
            await proxy.add_route("/user/ada/", target, ADA)
        status, text, _ = await ask(f"{proxy.public_url}user/ada/")
        assert (status, PAGE in text) == wanted
        await proxy.stop()


async def test_where_the_hub_is_gone_too_the_answer_is_plain(start_proxy: Start) -> None:
    """At once, as without it."""
    proxy = await start_proxy(hub=SimpleNamespace(url=f"{nobody()}/hub/"))
    await proxy.add_route("/user/ada/", nobody(), ADA)
    status, text, _ = await within(ask(f"{proxy.public_url}user/ada/"), 10)
    assert (status, text) == (503, "Bad Gateway")


async def test_an_external_traefik_has_them(external: Callable[..., TraefikRedisProxy], hub: SimpleNamespace) -> None:
    """With the status of the hub's page as soon as it has said that it can give it."""
    proxy = external(hub=hub)
    await proxy.add_route("/user/ada/", nobody(), ADA)

    async def wait() -> None:
        while (await ask(f"{proxy.public_url}user/ada/"))[0] != 503:
            await asyncio.sleep(0.05)

    assert PAGE in (await ask(f"{proxy.public_url}user/ada/"))[1]
    await within(wait(), 20)


@pytest.mark.hub
@pytest.mark.parametrize("internal_ssl", [False, True])
async def test_a_killed_server_of_a_real_hub(
    hub_factory: Callable[..., HubProcess], redis_server: RedisServer, internal_ssl: bool, tmp_path: Path
) -> None:
    """The page has the hub's look and leads to it, and a logged-in user can start the server again from there."""
    hub = hub_factory(
        {
            "TraefikRedisProxy.redis_url": redis_server.url,
            "JupyterHub.internal_ssl": internal_ssl,
            "JupyterHub.internal_certs_location": str(tmp_path / "internal-ssl"),
            "Spawner.poll_interval": 10,
        }
    )
    hub.start()
    async with HubClient(hub, "ada") as ada:
        await ada.log_in()
        await ada.spawn()
        assert (await ada.browse("/user/ada/lab")).status == 200
        for process in [one for one in hub.family() if "jupyterhub.singleuser" in one.cmdline()]:
            process.kill()
        answer = await ada.browse("/user/ada/lab")
        assert answer.status == 503
        assert "does not answer, or says itself" in answer.text
        assert "href='/hub/home'" in answer.text or 'href="/hub/home"' in answer.text
        assert "jupyterhub" in answer.text.lower()
        assert (await ada.server("GET", "api/status")).status == 503
        assert (await ada.browse("/hub/home")).status == 200
        await until_gone(ada)
        await ada.spawn()
        assert (await ada.browse("/user/ada/lab")).status == 200


async def until_gone(client: HubClient) -> None:
    """Wait until the hub has noticed that the server has ended."""

    async def wait() -> None:
        while await client.servers():
            await asyncio.sleep(0.2)

    await within(wait(), 60)
