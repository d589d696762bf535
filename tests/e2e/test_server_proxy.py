"""Applications behind jupyter-server-proxy, as users run them beside JupyterLab, seen from the browser's side.

They are the scripts in applications/, each on an HTTP library of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer, free_port, within

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]

APPLICATIONS = Path(__file__).parent / "applications"
#: By name, the port at which each of them listens as soon as somebody opens it.
PORTS = {name: free_port() for name in ("addresses", "chat", "news")}
SERVICE_PORT = free_port()

#: As the browser sends it, and as the application receives it.
TARGETS = {
    "https://example.org//x": "/https://example.org//x",
    "https://example.org//x/?url=https://example.org//y/../z": "/https://example.org//x/?url=https://example.org//y/../z",
    "a//b///c//": "/a//b///c//",
    "a;v=1/b;w/;": "/a;v=1/b;w/;",
    "a%20b%25c%C3%A9": "/a%20b%25c%C3%A9",
    "data.dods?x[0:1],y&z%3E=2": "/data.dods?x[0:1],y&z%3E=2",
    # Another spelling of the same query: a bare semicolon is taken for an ampersand by Traefik.
    "https://example.org//x?a;b=1;c": "/https://example.org//x?a%3Bb=1%3Bc",
}
#: jupyter-server-proxy itself makes something else of these.
ODD_TARGETS = ["", "//x", "a%2Fb", "a%3Fb%23c", "a%253Bb", "a%3Bb", "?"]


def command(name: str, port: int) -> list[str]:
    """The command that starts an application."""
    return [sys.executable, str(APPLICATIONS / f"{name}.py"), str(port)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A running hub whose users' servers have the applications, and which has one of them as a service."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "jupyter").mkdir()
    servers = {name: {"command": command(name, port), "port": port, "timeout": 60} for name, port in PORTS.items()}
    (folder / "jupyter" / "jupyter_server_config.py").write_text(f"c.ServerProxy.servers = {servers!r}\n")
    service = {"name": "chat", "url": f"http://127.0.0.1:{SERVICE_PORT}", "command": command("chat", SERVICE_PORT)}
    config = f"""
c.Spawner.environment["JUPYTER_CONFIG_PATH"] = {str(folder / "jupyter")!r}
c.JupyterHub.services.append({service!r})
"""
    with RedisServer() as redis:
        settings = {
            "TraefikRedisProxy.redis_url": redis.url,
            "TraefikRedisProxy.error_pages_except": ["/user/*/proxy/"],
        }
        with HubProcess(folder, settings, config=config) as running:
            yield running


async def enter(user: HubClient) -> None:
    """Log in and open the user's server, as a person does; it runs on from one test to the next."""
    assert (await user.log_in()).status == 200
    await user.spawn()
    assert (await user.browse(user.server_path() + "lab")).status == 200


def websocket(user: HubClient, path: str) -> Any:
    """A websocket as a page of the hub's opens it, which offers two subprotocols."""
    url = URL(f"{user.hub.url}{path}".replace("http", "ws", 1), encoded=True)
    return user.session.ws_connect(url, origin=user.hub.url, protocols=["second", "first"])


async def test_an_application_receives_the_urls_that_the_browser_sends(hub: HubProcess) -> None:
    """With a URL in the path, empty segments and semicolons; by its name and by its port."""
    async with HubClient(hub, "ada") as ada:
        await enter(ada)
        for below in ("addresses", f"proxy/{PORTS['addresses']}"):
            place = f"{ada.server_path()}{below}"
            for sent, arrives in TARGETS.items():
                answer = await ada.browse(f"{place}/{sent}")
                assert answer.status == 200
                assert answer.json() == {"method": "GET", "target": arrives, "body": "", "prefix": place}
            posted = await ada.browse(f"{place}/https://example.org//x;y", {"a": "1;2"})
            seen = posted.json()
            assert (seen["method"], seen["target"], seen["body"]) == ("POST", "/https://example.org//x;y", "a=1%3B2")


async def test_changes_by_jupyter_server_proxy_are_the_same_without_traefik(hub: HubProcess) -> None:
    """An escaped slash, for one."""
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
        around = await ada.server_url()
        for sent in ODD_TARGETS:
            through, direct = [await ada.server("GET", f"addresses/{sent}", base=base) for base in ("", around)]
            assert (through.status, through.json()) == (direct.status, direct.json()), sent


async def test_an_applications_websocket_has_what_the_browser_offers(hub: HubProcess) -> None:
    """Subprotocol, path, text and bytes, and an end when the application closes."""
    async with HubClient(hub, "ada") as ada:
        await enter(ada)
        async with websocket(ada, f"{ada.server_path()}chat/room;1//https://example.org//x?a=1") as socket:
            assert socket.protocol == "second"
            await socket.send_str("who")
            told = json.loads(await socket.receive_str(timeout=10))
            assert told == {"path": "/room;1//https://example.org//x?a=1", "subprotocol": "second"}
            for message in ("one", "zoë 🚀", "x" * 1_000_000):
                await socket.send_str(message)
                assert await socket.receive_str(timeout=10) == message
            for content in (b"\0\xff", b"\xff" * 1_000_000):
                await socket.send_bytes(content)
                assert await socket.receive_bytes(timeout=10) == content
            await socket.send_str("enough")
            assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE


async def test_a_services_websocket_closes_with_its_code_and_reason(hub: HubProcess) -> None:
    """The same application without jupyter-server-proxy, which would drop them."""
    async with HubClient(hub, "ada") as ada, websocket(ada, "/services/chat/room;1//x") as socket:
        await socket.send_str("who")
        told = json.loads(await socket.receive_str(timeout=10))
        assert told == {"path": "/services/chat/room;1//x", "subprotocol": "second"}
        await socket.send_str("enough")
        closed = await socket.receive(timeout=10)
        assert (closed.type, closed.data, closed.extra) == (aiohttp.WSMsgType.CLOSE, 4001, "it is late")


async def test_an_event_arrives_before_the_next_one_is_sent(hub: HubProcess) -> None:
    """The stream is held up nowhere."""
    async with HubClient(hub, "ada") as ada:
        await enter(ada)
        path = f"{ada.server_path()}news/events"
        async with ada.session.get(hub.url + path, headers={"Accept": "text/event-stream"}) as stream:
            assert (stream.status, stream.content_type) == (200, "text/event-stream")
            first = await within(stream.content.readuntil(b"\n\n"), 10)
            assert first == b"data: first\n\n"
            assert (await ada.browse(path, {"send": "it"})).text == "asked"
            assert await within(stream.content.read(), 10) == b"data: second\n\n"


async def test_an_applications_own_502_passes_below_an_excepted_path(hub: HubProcess) -> None:
    """Elsewhere a browser gets the hub's page."""
    async with HubClient(hub, "ada") as ada:
        await enter(ada)
        for status in (404, 500, 503):
            assert (await ada.browse(f"{ada.server_path()}addresses/status/{status}")).json()["target"]
        for status in (502, 504):
            excepted = await ada.browse(f"{ada.server_path()}proxy/{PORTS['addresses']}/status/{status}")
            assert (excepted.status, excepted.json()["target"]) == (status, f"/status/{status}")
            other = await ada.browse(f"{ada.server_path()}addresses/status/{status}")
            assert (other.status, "/hub/home" in other.text) == (503, True)
