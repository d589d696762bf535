"""The parts of the kit for whole backends: a backend under test, and fixtures that start and ask it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from kvproxy.proxy.base import KVTraefikProxy
from kvproxy.store.base import Store
from kvproxy.testing.conformance.suite import Kit
from kvproxy.testing.servers import free_port, slowness
from kvproxy.testing.servers.named import Doors, RawClient, port_of

#: Values of the fixtures: starts a proxy with traits, makes a client of its public port, opens a second store of its.
Start: TypeAlias = Callable[..., Awaitable[KVTraefikProxy]]
ClientOf: TypeAlias = Callable[[KVTraefikProxy], RawClient]
StoreOf: TypeAlias = Callable[[KVTraefikProxy], Awaitable[Store]]


@dataclass(frozen=True)
class BackendUnderTest:
    """A backend and a running, empty server of its store.

    Args:
        proxy_class: the backend's proxy class.
        traits: what leads it to the server.
        stop: makes the server unreachable, keeping its data; None if there is no server.
        start: makes it reachable again.
    """

    proxy_class: type[KVTraefikProxy]
    traits: Mapping[str, Any] = field(default_factory=dict)
    stop: Callable[[], Any] | None = None
    start: Callable[[], Any] | None = None


async def add_all(proxy: KVTraefikProxy, routes: Iterable[tuple[str, str]]) -> None:
    """Add many routes at once."""
    await asyncio.gather(*(proxy.add_route(spec, target, {}) for spec, target in routes))


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition, for the given seconds at most, or more on a machine that is busy.

    Raises:
        asyncio.TimeoutError: if it does not come about.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while not condition():
        if loop.time() - begin > seconds * slowness():
            raise asyncio.TimeoutError
        await asyncio.sleep(0.01)


class TraefikKit(Kit):
    """Fixtures; ``backend`` is to be overridden."""

    @pytest.fixture
    def backend(self) -> BackendUnderTest:
        """To be overridden: the backend, its server running and empty."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture 'backend'")

    @pytest.fixture
    async def start_proxy(self, backend: BackendUnderTest, tmp_path: Path) -> AsyncIterator[Start]:
        """Makes a proxy on free ports and starts it; traits as keyword arguments. All are stopped in the end."""
        async with AsyncExitStack() as stack:

            async def start(**traits: Any) -> KVTraefikProxy:
                settings = {
                    "public_url": f"http://127.0.0.1:{free_port()}/",
                    "traefik_api_url": f"http://127.0.0.1:{free_port()}",
                    "static_config_file": str(tmp_path / "traefik.toml"),
                    "check_route_timeout": 20,
                    "store_timeout": 20,
                    "log": logging.getLogger("kvproxy.test"),
                }
                proxy = backend.proxy_class(**{**settings, **backend.traits, **traits})
                stack.push_async_callback(proxy.stop)
                await proxy.start()
                return proxy

            yield start

    @pytest.fixture
    async def doors(self) -> AsyncIterator[Doors]:
        """Opens servers: ``await doors.open()``."""
        made = Doors()
        yield made
        await made.close()

    @pytest.fixture
    async def client_of(self) -> AsyncIterator[ClientOf]:
        """Makes clients of a proxy's public port."""
        clients: list[RawClient] = []

        def make(proxy: KVTraefikProxy) -> RawClient:
            clients.append(RawClient(int(port_of(proxy.public_url))))
            return clients[-1]

        yield make
        for client in clients:
            await client.close()

    @pytest.fixture
    async def store_of(self) -> AsyncIterator[StoreOf]:
        """Opens a second store where a proxy keeps its routes."""
        stores: list[Store] = []

        async def open_store(proxy: KVTraefikProxy) -> Store:
            stores.append(proxy.open_store(proxy.roots))
            await stores[-1].check()
            return stores[-1]

        yield open_store
        for store in stores:
            await store.aclose()
