"""The HTTP client of etcd and Consul, on servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from kvproxy.errors import StoreError, StoreUnavailableError
from kvproxy.store import http as http_store
from kvproxy.store.connection import HttpConnection
from kvproxy.store.http import Answer, HttpClient
from kvproxy.testing.servers import free_port
from kvproxy_consul.connection import parse_connection as consul
from kvproxy_consul.store import ConsulStore
from kvproxy_etcd.connection import ETCD
from kvproxy_etcd.connection import parse_connection as etcd
from kvproxy_etcd.store import EtcdStore

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts a server: ``await serve(handler)`` gives back ``host:port``."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler, port: int = 0) -> str:
            runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            stack.push_async_callback(runner.cleanup)
            return "{}:{}".format(*runner.addresses[0])

        yield start


def busy(answer: Answer) -> StoreUnavailableError | None:
    """A server that answers 503 is one that cannot help at the moment."""
    return StoreUnavailableError(f"{answer.endpoint} is busy.") if answer.status == 503 else None


@asynccontextmanager
async def connected(*endpoints: str, **more: Any) -> AsyncIterator[HttpClient]:
    """A client of these endpoints."""
    client = HttpClient(HttpConnection(ETCD, endpoints, **more), authorization=True, passing=busy)
    try:
        yield client
    finally:
        await client.aclose()


async def echo(request: web.Request) -> web.Response:
    """Answers with what was asked."""
    text = f"{request.method} {request.raw_path} {(await request.read()).decode()}"
    return web.Response(text=f"{text} {request.headers.get('Authorization')}")


async def test_a_request_and_its_answer(serve: Callable[..., Awaitable[str]]) -> None:
    """Body as JSON, header for user and password."""
    async with connected(await serve(echo), username="ä", password="p:") as client:
        answer = await client.request("PUT", "/x?y=1", {"ü": [1]})
        assert (answer.status, answer.text) == (200, 'PUT /x?y=1 {"ü":[1]} Basic w6Q6cDo=')
        assert answer.json() is None


async def test_a_connection_that_died_meanwhile_is_tried_once_more(serve: Callable[..., Awaitable[str]]) -> None:
    """The server closed it; the request has not been heard."""
    asked: list[str] = []

    async def hang_up_on_the_second(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if len(asked) == 2:
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    async with connected(await serve(hang_up_on_the_second)) as client:
        assert (await client.request("POST", "/one", {})).status == 200
        assert (await client.request("POST", "/two", {})).status == 200
    assert asked == ["/one", "/two", "/two"]


async def test_a_server_that_always_hangs_up_is_unavailable(serve: Callable[..., Awaitable[str]]) -> None:
    """After two tries, with a sentence and nothing of aiohttp."""
    asked: list[str] = []

    async def hang_up(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with connected(await serve(hang_up)) as client:
        with pytest.raises(StoreUnavailableError, match="begin etcd_url with etcds://") as failed:
            await client.request("POST", "/")
    assert len(asked) == 2
    assert failed.value.__cause__ is None


async def test_the_endpoint_that_answers_is_kept(serve: Callable[..., Awaitable[str]]) -> None:
    """And one that does not is not asked first again."""
    alive = await serve(echo)
    async with connected(f"127.0.0.1:{free_port()}", alive) as client:
        for _ in range(2):
            assert (await client.request("GET", "/")).endpoint == alive
            assert client._at == 1


async def test_no_endpoint_helps(serve: Callable[..., Awaitable[str]]) -> None:
    """The error of each is reported; all are asked again the next time."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    gone, full = f"127.0.0.1:{free_port()}", await serve(refuse)
    async with connected(gone, full) as client:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError) as failed:
                await client.request("GET", "/")
            assert f"etcd at etcd://{gone} cannot be reached (Connection refused)." in str(failed.value)
            assert f"{full} is busy." in str(failed.value)
        host, _, port = gone.rpartition(":")
        assert host == "127.0.0.1"
        await serve(echo, int(port))
        assert (await client.request("GET", "/")).endpoint == gone
    async with connected("nosuch.invalid:1") as client:
        with pytest.raises(StoreUnavailableError, match=r"nosuch\.invalid:1 cannot be reached"):
            await client.request("GET", "/")


async def test_a_server_that_is_silent_is_given_up_in_time(serve: Callable[..., Awaitable[str]]) -> None:
    """After the configured time, and the next endpoint is asked."""

    async def sleep(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    silent = await serve(sleep)
    async with connected(silent, timeout=0.1) as client:
        with pytest.raises(StoreUnavailableError, match="does not answer in time"):
            await client.request("GET", "/")
    async with connected(silent, await serve(echo), timeout=0.1) as client:
        assert (await client.request("GET", "/")).status == 200


async def test_a_silent_server_is_left_for_another_long_before_its_time_is_up(
    serve: Callable[..., Awaitable[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is that is paused, or cut off from the others; the last one to be asked has all the time."""
    monkeypatch.setattr(http_store, "_PATIENCE", 0.1)
    asked: list[str] = []

    async def answer_late(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        await asyncio.sleep(0.5)
        return web.Response()

    late = await serve(answer_late)
    async with connected(late, await serve(echo)) as client:
        for _ in range(2):
            assert (await asyncio.wait_for(client.request("GET", "/one"), 0.4)).text.startswith("GET /one")
    async with connected(f"127.0.0.1:{free_port()}", late) as client:
        assert (await client.request("GET", "/two")).endpoint == late
    async with connected(late) as client:
        assert (await client.request("GET", "/three")).endpoint == late
    assert asked == ["/one", "/two", "/three"]


async def test_redirects_are_not_followed(serve: Callable[..., Awaitable[str]]) -> None:
    """A token must not be sent to wherever a server says."""

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://nowhere.invalid/")

    async with connected(await serve(elsewhere)) as client:
        assert (await client.request("GET", "/")).status == 302


async def test_an_answer_that_is_no_http_is_unavailable() -> None:
    """Some other service at that port."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, connected(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(StoreError, match="etcd at etcd://"):
            await client.request("GET", "/")


async def list_from(kind: str, url: str) -> None:
    """Read all from a server that is said to be etcd or Consul."""
    place, roots = f"http://{url}", ("traefik", "jupyterhub")
    store = EtcdStore(etcd(place), *roots) if kind == "etcd" else ConsulStore(consul(place), *roots)
    try:
        await store.snapshot()
    finally:
        await store.aclose()


@pytest.mark.parametrize("kind", ["etcd", "consul"])
@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_store_behind_a_busy_gateway_is_waited_for(
    kind: str, status: int, serve: Callable[..., Awaitable[str]]
) -> None:
    """The login of that moment does not fail."""

    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=status, text="slow down")

    with pytest.raises(StoreUnavailableError, match="slow down"):
        await list_from(kind, await serve(busy))


@pytest.mark.parametrize("kind", ["etcd", "consul"])
async def test_an_answer_of_tens_of_thousands_of_brackets_is_a_sentence(
    kind: str, serve: Callable[..., Awaitable[str]]
) -> None:
    """Not an error of Python's."""

    async def nested(request: web.Request) -> web.Response:
        return web.Response(text="[" * 60_000)

    with pytest.raises(StoreError, match="answer"):
        await list_from(kind, await serve(nested))


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_answer_to_a_request_that_was_sent_twice_is_not_all_there_is_to_say(
    method: str,
    serve: Callable[..., Awaitable[str]],
) -> None:
    """The first request may still be carried out, also where aiohttp sends it again by itself (PUT)."""
    asked: list[str] = []

    async def once(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) == 2:
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    async with connected(await serve(once)) as client:
        assert (await client.request(method, "/a", {})).alone
        assert not (await client.request(method, "/b", {})).alone
