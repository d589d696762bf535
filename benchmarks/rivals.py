"""The other proxies: jupyterhub-traefik-proxy, and configurable-http-proxy, which JupyterHub uses by default."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from benchmarks.contestants import Contestant
from benchmarks.workload import Place, Route

T = TypeVar("T")

CHUNK = 500  # routes in one write of a fill


class Peer(Contestant):
    """jupyterhub-traefik-proxy on Redis."""

    def __init__(self, place: Place):
        super().__init__(place)
        from jupyterhub_traefik_proxy.redis import TraefikRedisProxy

        self.proxy = TraefikRedisProxy(
            public_url=place.public_url,
            traefik_api_url=place.api_url,
            redis_url=place.store_url.removesuffix("/0"),
            static_config_file=str(Path(place.directory, "traefik.toml")),
            traefik_api_username="jupyterhub",
            traefik_api_password=secrets.token_hex(32),
            should_start=True,
        )

    async def fill(self, routes: list[Route]) -> None:
        for chunk in chunks(routes, CHUNK):
            await self.proxy._kv_atomic_set({key: value for route in chunk for key, value in self.keys(route)})

    def keys(self, route: Route) -> Iterator[tuple[str, str]]:
        """The keys and values that its ``add_route`` writes for a route, made by its own methods."""
        proxy = self.proxy
        config, record = proxy._dynamic_config_for_route(route.routespec, route.target, route.data)
        yield from proxy.flatten_dict_for_kv(config, prefix=proxy.kv_traefik_prefix).items()
        yield from proxy.flatten_dict_for_kv(record, prefix=proxy.kv_jupyterhub_prefix).items()


class Chp(Contestant):
    """configurable-http-proxy, JupyterHub's default: routes in the memory of one Node.js process, no store."""

    def __init__(self, place: Place):
        super().__init__(place)
        from jupyterhub.proxy import ConfigurableHTTPProxy

        self.token = secrets.token_hex(32)
        self.waiting: list[Route] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.proxy = ConfigurableHTTPProxy(
            public_url=place.public_url, api_url=place.api_url, auth_token=self.token, should_start=False
        )

    async def fill(self, routes: list[Route]) -> None:
        """Kept for :meth:`start`: it is the hub that tells this proxy again after a restart."""
        self.waiting = routes

    async def start(self) -> None:
        public, api = (url.rpartition(":")[2].strip("/") for url in (self.place.public_url, self.place.api_url))
        command = [self.place.chp, "--ip=127.0.0.1", f"--port={public}", "--api-ip=127.0.0.1", f"--api-port={api}"]
        environment = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": self.token}
        self.process = subprocess.Popen([*command, "--log-level=error"], env=environment)
        await self.get_all()
        for chunk in chunks(self.waiting, CHUNK):
            await self.add_many(chunk)

    def again(self) -> Chp:
        fresh = Chp(self.place)
        fresh.waiting = self.waiting
        return fresh

    async def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items, in their order."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
