"""The conformance kit for whole backends: routes through the real Traefik, as tests to inherit.

A plugin's author derives a class whose name begins with ``Test`` and overrides one fixture::

    class TestMyBackend(TraefikConformance):
        @pytest.fixture
        def backend(self):
            with MyServer() as running:
                yield BackendUnderTest(MyProxy, {"my_url": running.url}, running.stop, running.start)
"""

from __future__ import annotations

import asyncio

from kvproxy.testing.conformance.proxy_life import LifeTests
from kvproxy.testing.conformance.proxy_names import NAMES, SPELLINGS, NameTests, as_hub, as_literal
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest, ClientOf, Start, TraefikKit, add_all, until
from kvproxy.testing.conformance.proxy_tree import TreeTests
from kvproxy.testing.servers.named import Doors, port_of

__all__ = [
    "NAMES",
    "SPELLINGS",
    "BackendUnderTest",
    "TraefikConformance",
    "TraefikServerConformance",
    "add_all",
    "as_hub",
    "as_literal",
    "until",
]


class TraefikConformance(NameTests, LifeTests, TreeTests, TraefikKit):
    """Tests of one backend; see the module."""


class TraefikServerConformance(TraefikConformance):
    """Tests of a backend whose store has a server, which may be away."""

    async def test_a_store_that_is_away_delays_and_loses_nothing(
        self, backend: BackendUnderTest, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """Routes go on being served; what was asked for meanwhile is done when the store is back."""
        assert backend.stop is not None
        assert backend.start is not None
        proxy, target = await start_proxy(check_route_timeout=60, store_timeout=60), await doors.open()
        await add_all(proxy, [("/user/ada/", target), ("/user/bob/", target)])
        client = client_of(proxy)
        backend.stop()
        adding = asyncio.create_task(proxy.add_route("/user/eve/", target, {}))
        deleting = asyncio.create_task(proxy.delete_route("/user/bob/"))
        assert await client.ask("/user/ada/") == (200, port_of(target))
        backend.start()
        await asyncio.gather(adding, deleting)
        assert await client.ask("/user/eve/") == (200, port_of(target))
        assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/eve/"}
