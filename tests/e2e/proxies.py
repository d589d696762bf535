"""A proxy on a real Redis and a real Traefik, without a hub, and a client that sends paths exactly as given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from kvproxy.testing.servers import RedisServer, TraefikServer, free_port
from kvproxy_redis import TraefikRedisProxy

Start = Callable[..., Awaitable[TraefikRedisProxy]]
External = Callable[..., TraefikRedisProxy]

#: As an administrator writes it by hand; no kvproxy had a part in it.
TOML = """
[api]

[entryPoints.http]
address = "127.0.0.1:{public}"

[entryPoints.auth_api]
address = "localhost:{api}"

[providers.redis]
endpoints = ["127.0.0.1:{redis}"]
rootKey = "{root}"
"""


class Doors:
    """Many servers in one: each port answers with its own number, whatever it is asked."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []

    async def open(self) -> str:
        """A new server; gives back its URL."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Close all of them."""
        for server in self._servers:
            server.close()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = str(writer.get_extra_info("sockname")[1]).encode()
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(port), port))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class Client:
    """One kept-alive connection to a proxy's public port; sends a path byte for byte."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
        """Status and body of the answer to GET."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path.encode(), host.encode()))
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r")[0] or 0)
        body = (await reader.readexactly(length)).decode()
        if "connection: close" in head:
            await self.close()
        return int(head.split()[1]), body

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def port_of(url: str) -> str:
    """What a door answers with."""
    return url.rpartition(":")[2]


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    """Opens servers: ``await doors.open()``."""
    made = Doors()
    yield made
    await made.close()


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[[TraefikRedisProxy], Client]]:
    """Makes clients of a proxy's public port."""
    clients: list[Client] = []

    def make(proxy: TraefikRedisProxy) -> Client:
        clients.append(Client(int(port_of(proxy.public_url.rstrip("/")))))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def make_proxy(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Callable[..., TraefikRedisProxy]]:
    """Makes a proxy on free ports; traits as keyword arguments. All are stopped in the end."""
    async with AsyncExitStack() as stack:

        def make(**traits: Any) -> TraefikRedisProxy:
            settings = {
                "public_url": f"http://127.0.0.1:{free_port()}/",
                "traefik_api_url": f"http://127.0.0.1:{free_port()}",
                "redis_url": redis_server.url,
                "static_config_file": str(tmp_path / "traefik.toml"),
                "check_route_timeout": 20,
                "store_timeout": 10,
                "log": logging.getLogger("kvproxy.test"),
            }
            proxy = TraefikRedisProxy(**{**settings, **traits})
            stack.push_async_callback(proxy.stop)
            return proxy

        yield make


@pytest.fixture
def start_proxy(make_proxy: Callable[..., TraefikRedisProxy]) -> Start:
    """Makes a proxy and starts it."""

    async def start(**traits: Any) -> TraefikRedisProxy:
        proxy = make_proxy(**traits)
        await proxy.start()
        return proxy

    return start


@pytest.fixture
def external(
    make_proxy: Callable[..., TraefikRedisProxy],
    traefik_server: Callable[..., TraefikServer],
    redis_server: RedisServer,
    tmp_path: Path,
) -> External:
    """Makes a proxy beside a Traefik that it does not start, which is running already."""

    def start(root: str = "traefik", **traits: Any) -> TraefikRedisProxy:
        public, api = free_port(), free_port()
        file = tmp_path / "by-hand.toml"
        file.write_text(TOML.format(public=public, api=api, redis=redis_server.port, root=root))
        traefik_server(file, [public, api])
        urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://localhost:{api}"}
        return make_proxy(should_start=False, **urls, **traits)

    return start


async def add_all(proxy: TraefikRedisProxy, routes: Iterable[tuple[str, str]]) -> None:
    """Add many routes at once."""
    await asyncio.gather(*(proxy.add_route(spec, target, {}) for spec, target in routes))
