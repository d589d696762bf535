"""The conformance kit for what a backend tells kvproxy and Traefik, as tests to inherit.

A plugin's author derives a class whose name begins with ``Test`` and overrides one fixture, with the same values as for
:class:`~kvproxy.testing.conformance.proxy.TraefikConformance`::

    class TestMyBackend(BackendConformance):
        scheme = "my"

        @pytest.fixture
        def backend(self):
            with MyServer() as running:
                yield BackendUnderTest(MyProxy, {"my_url": running.url})
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kvproxy.hookspecs import Backend
from kvproxy.plugins import import_proxy_class, load_backends
from kvproxy.process.launch import find_traefik, traefik_version
from kvproxy.proxy.base import KVTraefikProxy
from kvproxy.store.base import Operation, Space, Store, Transaction
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest
from kvproxy.testing.conformance.suite import Kit
from kvproxy.testing.servers import TraefikServer, free_port, wait_until
from kvproxy.testing.servers.programs import fetch
from kvproxy.traefik.static_config import static_configuration, static_file

#: Settings without which Traefik logs an error that no backend is about.
_ROUTE = {
    "http/routers/kit/rule": "Path(`/kit`)",
    "http/routers/kit/service": "kit",
    "http/services/kit/loadBalancer/servers/0/url": "http://127.0.0.1:9",
}


class BackendConformance(Kit):
    """Tests of one backend; see the module."""

    #: A scheme of URLs that lead to the backend.
    scheme: ClassVar[str]

    @pytest.fixture
    def backend(self) -> BackendUnderTest:
        """To be overridden: the backend, its server running and empty."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture 'backend'")

    @pytest.fixture
    def found(self) -> Backend:
        """The backend as its plugin, found by its entry point, describes it."""
        return load_backends().for_url(f"{self.scheme}://")

    @pytest.fixture
    def proxy(self, backend: BackendUnderTest, tmp_path: Path) -> KVTraefikProxy:
        """A proxy on free ports that is not started."""
        settings: dict[str, Any] = {
            "public_url": f"http://127.0.0.1:{free_port()}/",
            "traefik_api_url": f"http://127.0.0.1:{free_port()}",
            "static_config_file": str(tmp_path / "traefik.toml"),
        }
        return backend.proxy_class(**{**settings, **backend.traits})

    def test_its_plugin_is_found_and_breaks_no_other(self, found: Backend) -> None:
        """By an entry point of the group ``kvproxy``."""
        loaded = load_backends()
        assert found.name in loaded.origin
        assert loaded.origin[found.name] not in loaded.broken
        assert not set(found.schemes) & set(loaded.clashes)

    def test_what_its_hook_says_is_true(self, found: Backend, backend: BackendUnderTest) -> None:
        """Schemes as URLs have them, a proxy class that can be imported, a trait of that class for the URL."""
        assert self.scheme in found.schemes
        assert all(scheme and scheme == scheme.lower() and ":" not in scheme for scheme in found.schemes)
        proxy_class = import_proxy_class(found)
        assert proxy_class is backend.proxy_class
        assert issubclass(proxy_class, KVTraefikProxy)
        assert found.url_trait in proxy_class.class_trait_names(config=True)

    def test_every_setting_has_help(self, backend: BackendUnderTest) -> None:
        """It is what ``jupyterhub --help-all`` and the documentation show."""
        traits = backend.proxy_class.class_own_traits(config=True)
        assert [name for name, trait in traits.items() if len(trait.help.strip()) < 10] == []

    def test_secrets_are_texts(self, proxy: KVTraefikProxy) -> None:
        """Texts that must never be logged."""
        assert all(isinstance(secret, str) for secret in proxy.store_secrets())

    def test_a_store_is_opened_without_a_connection(self, proxy: KVTraefikProxy) -> None:
        """Connecting is what :meth:`kvproxy.store.base.Store.check` is for."""

        async def open_and_close() -> None:
            store = proxy.open_store(proxy.roots)
            assert isinstance(store, Store)
            await store.aclose()

        asyncio.run(open_and_close())

    def test_traefik_accepts_its_static_configuration(self, proxy: KVTraefikProxy) -> None:
        """The real one: it starts, stays, reads a route from the store, and has nothing to complain of."""

        async def seed() -> None:
            store = proxy.open_store(proxy.roots)
            await store.check()
            await store.apply(Transaction(tuple(Operation(Space.CONFIG, key, value) for key, value in _ROUTE.items())))
            await store.aclose()

        asyncio.run(seed())
        proxy.traefik_log_level = "WARN"
        settings = proxy.static_settings(proxy.traefik_provider(), traefik_version(find_traefik()))
        file = Path(proxy.static_config_file)
        file.write_text(static_file(static_configuration(settings), file.name))
        ports = [port for _, port in proxy.listen_addresses()]
        with TraefikServer(file, ports, {**os.environ, **proxy.traefik_environment()}) as traefik:
            wait_until(
                lambda: fetch(f"{proxy.public_url}kit", 5)[0] != 404, "Traefik serves a route out of the store", 20
            )
            assert traefik.running
            assert [line for line in traefik.log_tail(1000).splitlines() if _is_trouble(line)] == []


def _is_trouble(line: str) -> bool:
    try:
        return json.loads(line).get("level") in {"error", "fatal", "panic"}
    except ValueError:
        # Traefik speaks JSON as soon as it has read its configuration.
        return bool(line.strip())
