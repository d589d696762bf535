"""A balancer in front of Traefik that ends TLS: what the hub and users' servers know of the browser behind it."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
import pytest
from yarl import URL

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import EchoServer, RedisServer

from .proxies import Start

pytestmark = pytest.mark.timeout(240)

#: As a balancer says it.
FORWARDED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Host": "hub.example.org",
}


async def shown(proxy: Any, headers: dict[str, str]) -> dict[str, str]:
    """The headers that a server sees of a request."""
    async with aiohttp.ClientSession() as session, session.get(f"{proxy.public_url}x/", headers=headers) as answer:
        return dict((await answer.json())["headers"])


async def test_headers_of_a_trusted_proxy_arrive(start_proxy: Start, echo_server: Callable[..., EchoServer]) -> None:
    """Address, protocol, port and host of the browser, with the balancer behind the first."""
    proxy = await start_proxy(trusted_proxies=["127.0.0.0/8"])
    await proxy.add_route("/x/", echo_server("x").url, {})
    seen = await shown(proxy, FORWARDED)
    assert {name: seen[name] for name in FORWARDED} == FORWARDED | {"X-Forwarded-For": "203.0.113.7, 127.0.0.1"}


async def test_headers_of_other_clients_do_not_arrive(
    start_proxy: Start, echo_server: Callable[..., EchoServer]
) -> None:
    """By default, and from outside the networks that are trusted: any client could claim anything."""
    for trusted in ([], ["10.0.0.0/8", "fd00::/8"]):
        proxy = await start_proxy(trusted_proxies=trusted)
        await proxy.add_route("/x/", echo_server("x").url, {})
        seen = await shown(proxy, FORWARDED)
        assert seen["X-Forwarded-For"] == "127.0.0.1"
        assert seen["X-Forwarded-Proto"] == "http"
        assert "hub.example.org" not in seen["X-Forwarded-Host"]
        await proxy.stop()


@pytest.mark.hub
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not trusted"])
async def test_a_hub_behind_a_balancer_knows_of_https(
    hub_factory: Callable[..., HubProcess], redis_server: RedisServer, trusted: bool
) -> None:
    """Cookies of a user's server are for https only, and the hub takes its own address with https for its own."""
    networks = ["127.0.0.1"] if trusted else []
    hub = hub_factory({"TraefikRedisProxy.redis_url": redis_server.url, "TraefikProxy.trusted_proxies": networks})
    hub.start()
    headers = FORWARDED | {"Host": "hub.example.org"}
    async with HubClient(hub, "ada") as ada:
        await ada.log_in()
        await ada.spawn()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as stranger:
            url = f"{hub.url}/user/ada/lab"
            async with stranger.get(url, headers=headers, allow_redirects=False) as answer:
                cookies = SimpleCookie("\n".join(answer.headers.getall("Set-Cookie")))
        assert cookies
        assert all(bool(cookie["secure"]) is trusted for cookie in cookies.values())
        login = URL(f"{hub.url}/hub/login").with_query(next="https://hub.example.org/user/ada/lab")
        async with ada.session.get(login, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 302
            assert answer.headers["Location"].endswith("/user/ada/lab") is trusted
