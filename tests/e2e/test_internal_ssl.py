"""`JupyterHub.internal_ssl`: hub, Traefik and users' servers know each other by JupyterHub's own certificates."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import Certificates, RedisServer, TraefikServer

from .proxies import TOML

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]


@pytest.fixture
def stranger(certificates: Certificates) -> Iterator[str]:
    """The URL of a server that speaks https with a certificate that is not JupyterHub's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_hub(hub_factory: Callable[..., HubProcess], tmp_path: Path, stranger: str) -> Callable[..., HubProcess]:
    """Makes a hub with certificates of its own."""

    def make(settings: Mapping[str, Any]) -> HubProcess:
        return hub_factory(
            {
                "JupyterHub.internal_ssl": True,
                "JupyterHub.internal_certs_location": str(tmp_path / "internal"),
                "JupyterHub.cleanup_servers": False,
                "JupyterHub.extra_routes": {"/stranger/": stranger},
                **settings,
            }
        )

    return make


async def a_day(hub: HubProcess) -> None:
    """Log in, compute over a websocket, restart the hub, go on; a stranger's server is not spoken to."""
    hub.start()
    async with HubClient(hub, "ada") as user:
        await user.log_in()
        await user.spawn()
        assert await user.run("print(6*7)") == "42\n"
        routes = await user.routes()
        assert routes["/user/ada/"]["target"].startswith("https://")
    assert requests.get(f"{hub.url}/stranger/", timeout=10).status_code >= 500
    assert hub.end() == 0
    hub.start()
    async with HubClient(hub, "ada") as user:
        await user.log_in()
        assert await user.run("print(7*7)") == "49\n"
        await user.stop_server()
    assert hub.end() == 0
    assert "Traceback" not in hub.log_text


async def test_with_routes_in_redis(make_hub: Callable[..., HubProcess], redis_server: RedisServer) -> None:
    """And a Traefik that the hub starts, which is told of the hub's files: no key of the hub's stands in Redis."""
    hub = make_hub({"TraefikRedisProxy.redis_url": redis_server.url})
    await a_day(hub)
    found = redis_server.command("KEYS", "traefik/*")
    assert isinstance(found, list)
    assert not any(
        "PRIVATE" in str(redis_server.command("GET", str(key))) for key in found if "kvproxy-internal" in str(key)
    )


async def test_with_routes_in_a_file(make_hub: Callable[..., HubProcess], tmp_path: Path) -> None:
    """Likewise."""
    await a_day(
        make_hub(
            {
                "JupyterHub.proxy_class": "traefik_file",
                "TraefikFileProviderProxy.dynamic_config_file": str(tmp_path / "rules.toml"),
            }
        )
    )


async def test_with_a_traefik_that_is_elsewhere(
    make_hub: Callable[..., HubProcess],
    redis_server: RedisServer,
    tmp_path: Path,
    traefik_server: Callable[..., TraefikServer],
) -> None:
    """It finds the certificates in Redis."""
    hub = make_hub({"TraefikRedisProxy.redis_url": redis_server.url, "TraefikProxy.should_start": False})
    file = tmp_path / "external.toml"
    file.write_text(TOML.format(public=hub.port, api=hub.api_port, redis=redis_server.port, root="traefik"))
    traefik_server(file, [hub.port])
    await a_day(hub)
