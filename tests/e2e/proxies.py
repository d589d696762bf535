"""A proxy on a real Redis and a real Traefik, without a hub, and a client that sends paths exactly as given."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from cryptography import x509

from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.servers import RedisServer, TraefikServer, free_port, slowness
from kvproxy.testing.servers.named import Doors, port_of
from kvproxy.testing.servers.named import RawClient as Client
from kvproxy_redis import TraefikRedisProxy

__all__ = ["Client", "Doors", "External", "Start", "add_all", "complaints", "making", "port_of", "serving"]

P = TypeVar("P", bound=KVTraefikProxy)
Start = Callable[..., Awaitable[TraefikRedisProxy]]
External = Callable[..., TraefikRedisProxy]


def complaints(log: pytest.LogCaptureFixture) -> list[str]:
    """Warnings of kvproxy, but for a part that is late, as one may be on a busy machine."""
    warned = [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]
    return [said for said in warned if not said.startswith("Traefik: ") and "Waiting for it for up to" not in said]


#: As an administrator writes it by hand; no kvproxy had a part in it.
TOML = """
[api]

[entryPoints.http]
address = "127.0.0.1:{public}"

[entryPoints.auth_api]
address = "localhost:{api}"

[providers]
providersThrottleDuration = "0s"

[providers.redis]
endpoints = ["127.0.0.1:{redis}"]
rootKey = "{root}"
"""


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
        clients.append(Client(int(port_of(proxy.public_url))))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@asynccontextmanager
async def making(proxy_class: type[P], directory: Path, **defaults: Any) -> AsyncIterator[Callable[..., P]]:
    """Makes proxies of a class on free ports; traits as keyword arguments. All are stopped in the end."""
    async with AsyncExitStack() as stack:

        def make(**traits: Any) -> P:
            settings = {
                "public_url": f"http://127.0.0.1:{free_port()}/",
                "traefik_api_url": f"http://127.0.0.1:{free_port()}",
                "static_config_file": str(directory / "traefik.toml"),
                "check_route_timeout": 20,
                "store_timeout": 10,
                "log": logging.getLogger("kvproxy.test"),
            }
            proxy = proxy_class(**{**settings, **defaults, **traits})
            stack.push_async_callback(proxy.stop)
            return proxy

        yield make


@pytest.fixture
async def make_proxy(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Callable[..., TraefikRedisProxy]]:
    """Makes a proxy on Redis and free ports; traits as keyword arguments. All are stopped in the end."""
    async with making(TraefikRedisProxy, tmp_path, redis_url=redis_server.url) as make:
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
        # It has no certificate of its own that could be displaced, and would make a key at each reload.
        return make_proxy(should_start=False, **urls, **{"placeholder_certificate": True, **traits})

    return start


def number_in(file: Path) -> int:
    """The serial number of the certificate in a file."""
    return x509.load_pem_x509_certificate(file.read_bytes()).serial_number


async def served_number(port: int, name: str = "localhost") -> int:
    """The serial number of the certificate that is served for a name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    # At once, and before the loop ends: a transport that is left open fails whatever test comes next.
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
    return x509.load_der_x509_certificate(der).serial_number


async def until_true(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait for a condition, for the given seconds at most, or more on a machine that is busy."""
    begin = asyncio.get_running_loop().time()
    while not await condition():
        assert asyncio.get_running_loop().time() - begin < seconds * slowness()
        await asyncio.sleep(0.1)


async def add_all(proxy: TraefikRedisProxy, routes: Iterable[tuple[str, str]]) -> None:
    """Add many routes at once."""
    await asyncio.gather(*(proxy.add_route(spec, target, {}) for spec, target in routes))


@asynccontextmanager
async def serving(answer: Callable[[web.BaseRequest], Any]) -> AsyncIterator[str]:
    """The URL of a server that answers so."""
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
