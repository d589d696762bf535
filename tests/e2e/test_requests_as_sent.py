"""Requests arrive at a server as they were sent, and what is not complete in time does not stay."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable

import pytest
from aiohttp import web

from kvproxy.testing.servers import EchoServer, within

from .proxies import Client, Start, port_of, serving

AS_SENT = {
    "/user/ada/a//b": "/user/ada/a//b",
    "/user/ada//": "/user/ada//",
    "/user/ada/proxy/https://example.org//x": "/user/ada/proxy/https://example.org//x",
    "/user/ada/a;b=1/c": "/user/ada/a;b=1/c",
    "/user/ada/%2F%25%3B%23%3F": "/user/ada/%2F%25%3B%23%3F",
    "/user/ada/.hidden/..x/a..b/...": "/user/ada/.hidden/..x/a..b/...",
    "/user/ada/?a=/../&b=//": "/user/ada/?a=/../&b=//",
    # The same in another spelling: Traefik writes escapes in capitals, and none where none is needed (RFC 3986).
    "/user/ada/%2f%7e": "/user/ada/%2F~",
    # A bare semicolon would be taken for an ampersand.
    "/user/ada/?a;b=1;c": "/user/ada/?a%3Bb=1%3Bc",
}
DOTS = ("/../", "/user/ada/../bob/lab", "/user/ada/./lab", "/user/ada/..", "/user/ada/%2e%2E/bob/", "/.%2e/user/bob/")


@pytest.mark.parametrize("layout", ["flat", "tree"])
@pytest.mark.parametrize("host", ["", "hub.example.org"])
async def test_a_path_arrives_as_it_was_sent(
    start_proxy: Start,
    client_of: Callable[..., Client],
    echo_server: Callable[..., EchoServer],
    layout: str,
    host: str,
) -> None:
    """Empty segments, percent-escapes and semicolons too."""
    proxy = await start_proxy(route_layout=layout)
    await proxy.add_route(f"{host}/", echo_server("hub").url, {"hub": True})
    await proxy.add_route(f"{host}/user/ada/", echo_server("ada").url, {"user": "ada"})
    client = client_of(proxy)
    for sent, arrives in AS_SENT.items():
        status, text = await client.ask(sent, host or "127.0.0.1")
        seen = json.loads(text)
        assert (status, seen["name"], seen["path"]) == (200, "ada", arrives)
    # As it begins otherwise, it is none of ada's.
    assert json.loads((await client.ask("//user/ada/", host or "127.0.0.1"))[1])["name"] == "hub"


@pytest.mark.parametrize("layout", ["flat", "tree"])
async def test_dot_segments_are_refused_before_any_server_sees_them(
    start_proxy: Start, client_of: Callable[..., Client], echo_server: Callable[..., EchoServer], layout: str
) -> None:
    """So none leads past what a hook protects."""
    proxy = await start_proxy(route_layout=layout)
    servers = {spec: echo_server(spec) for spec in ("/", "/user/ada/", "/user/bob/")}
    for spec, server in servers.items():
        await proxy.add_route(spec, server.url, {})
    for path in DOTS:
        assert (await client_of(proxy).ask(path))[0] == 400, path
    assert [server.requests for server in servers.values()] == [0, 0, 0]


async def test_a_request_that_is_not_complete_in_time_is_cut_off_and_nothing_else(
    start_proxy: Start, echo_server: Callable[..., EchoServer]
) -> None:
    """Half of a head, and half of a body; an answer may take longer than that."""
    proxy = await start_proxy(read_timeout=2)

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(5):
            await response.write(b"x")
            await asyncio.sleep(1)
        return response

    async def send(text: bytes) -> bytes:
        """All that comes back until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port_of(proxy.public_url)))
        writer.write(text)
        try:
            return await within(reader.read(), 30)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async with serving(slow) as target:
        await proxy.add_route("/slow/", target, {})
        await proxy.add_route("/x/", echo_server("x").url, {})
        head, body, answer = await asyncio.gather(
            send(b"GET /x/ HTTP/1.1\r\nHost:"),
            send(b"POST /x/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"),
            send(b"GET /slow/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
    assert b"200 OK" not in head + body
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b"\r\nx\r\n") == 5
