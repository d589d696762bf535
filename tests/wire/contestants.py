"""The two proxies with one interface, each as JupyterHub starts it, and a hub that has the pages they ask for."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, accepts
from kvproxy_file import TraefikFileProviderProxy

from .backend import Backend, Talk
from .case import Setup

#: Enough users for groups in a tree.
CROWD = 100


class Routes(Protocol):
    """JupyterHub's interface of proxies, as far as it is used here."""

    async def add_route(self, routespec: str, target: str, data: Mapping[str, Any]) -> Any:
        """Add a route."""


class Contestant:
    """A running proxy.

    Args:
        port: its public one.
        routes: where routes are added.
    """

    def __init__(self, port: int, routes: Routes):
        self.port = port
        self.routes = routes


#: Starts a proxy for a set-up; the URL is the hub's, the directory its own.
Making = Callable[[Setup, str, "Tls", Path], AbstractAsyncContextManager[Contestant]]


class Tls:
    """A certificate of RSA, which old clients take, made in a directory."""

    def __init__(self, directory: Path):
        import trustme

        made = trustme.CA(key_type=trustme.KeyType.RSA)
        server = made.issue_cert("wire.test", "*.wire.test", "127.0.0.1", key_type=trustme.KeyType.RSA)
        self.certificate, self.key = directory / "server.pem", directory / "server-key.pem"
        server.private_key_pem.write_to_path(self.key)
        server.cert_chain_pems[0].write_to_path(self.certificate)
        self.key.chmod(0o600)


@asynccontextmanager
async def kvproxy(setup: Setup, hub: str, tls: Tls, directory: Path, **more: Any) -> AsyncIterator[Contestant]:
    """kvproxy with Traefik, the routes in a file; further traits as keyword arguments."""
    port = free_port()
    traits: dict[str, Any] = {
        "public_url": f"{'https' if setup.tls else 'http'}://127.0.0.1:{port}{setup.base}",
        "traefik_api_url": f"http://127.0.0.1:{free_port()}",
        "static_config_file": str(directory / "traefik.toml"),
        "dynamic_config_file": str(directory / "rules.toml"),
        "route_layout": setup.layout,
        "host_routing": setup.hosts,
        "trusted_proxies": list(setup.trusted),
        "error_pages_except": list(setup.excepted),
        "hub": SimpleNamespace(url=hub),
        "app": SimpleNamespace(cookie_secret=secrets.token_bytes(32), cleanup_proxy=True, internal_ssl=False),
        "log": logging.getLogger("kvproxy.wire"),
    }
    if setup.tls:
        traits |= {"ssl_cert": str(tls.certificate), "ssl_key": str(tls.key)}
    proxy = TraefikFileProviderProxy(**traits, **more)
    await proxy.start()
    try:
        yield Contestant(port, proxy)
    finally:
        await proxy.stop()


def two_tiers(setup: Setup, hub: str, tls: Tls, directory: Path) -> AbstractAsyncContextManager[Contestant]:
    """kvproxy with two Traefiks."""
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("hot_traefik_url", "hot_traefik_api_url")}
    return kvproxy(setup, hub, tls, directory, route_tiers="two", **urls)


def chp(program: str) -> Making:
    """configurable-http-proxy, started from that program as JupyterHub does."""

    @asynccontextmanager
    async def start(setup: Setup, hub: str, tls: Tls, directory: Path) -> AsyncIterator[Contestant]:
        from jupyterhub.proxy import ConfigurableHTTPProxy

        port, api, token = free_port(), free_port(), secrets.token_hex(32)
        command = [program, "--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1", "--api-port", str(api)]
        command += ["--error-target", f"{hub}error", "--log-level", "error"]
        command += ["--host-routing"] if setup.hosts else []
        command += ["--ssl-key", str(tls.key), "--ssl-cert", str(tls.certificate)] if setup.tls else []
        node = Program(command, directory / "chp.log", {**os.environ, "CONFIGPROXY_AUTH_TOKEN": token})
        routes = ConfigurableHTTPProxy(
            public_url=f"http://127.0.0.1:{port}{setup.base}",
            api_url=f"http://127.0.0.1:{api}",
            auth_token=token,
            host_routing=setup.hosts,
            should_start=False,
        )
        node.start()
        try:
            await asyncio.to_thread(node.wait_ready, lambda: accepts(port) and accepts(api), 30)
            yield Contestant(port, routes)
        finally:
            await asyncio.to_thread(node.stop)

    return start


async def hub_pages(talk: Talk) -> None:
    """Answer as JupyterHub does: ``/hub/error/503`` is a page with status 200, what there is none for is a 404."""
    while request := await talk.request():
        target = request.first.split(" ")[1].partition("?")[0]
        _, found, code = target.partition("/hub/error/")
        status, page = ("200 OK", code) if found else ("404 Not Found", "404")
        if target.endswith("/hub/home"):
            status, page = "200 OK", "home"
        # A proxy may tell the hub which URL was asked for, and then its token too.
        told = " (the hub was told the token)" if "token" in request.first else ""
        text = f"the hub's page: {page}{told}".encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(text)}\r\n\r\n".encode()
        await talk.send(head if request.first.startswith("HEAD ") else head + text)


def hub_server() -> Backend:
    """The server of a hub."""
    return Backend(hub_pages)
