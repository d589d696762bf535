"""What is compared: proxy classes driven as JupyterHub drives them, and the floor below which none can get.

Each runs in a worker process of its own. The libraries are imported late, as no environment holds all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.workload import Place, Route

T = TypeVar("T")

_CHUNK = 500  # routes in one write of a fill
_CHANNEL = "__keyspace@0__:traefik/"  # what Traefik listens to, as a key's own notifications would come


class Contestant:
    """One proxy on its own Redis. Times in seconds, memory in bytes."""

    #: Whether `add` and `add_many` wait until the routes are served; if not, the worker polls the public URL.
    waits = True

    def __init__(self, place: Place):
        self.place = place
        self.proxy: Any = None

    async def fill(self, routes: list[Route]) -> None:
        """Write routes to the store as the contestant lays them out, without a Traefik that has to follow."""
        raise NotImplementedError

    async def start(self) -> None:
        """Start the proxy over what is in the store."""
        await self.proxy.start()

    async def stop(self) -> None:
        """Stop the proxy and what it started."""
        await self.proxy.stop()

    async def add(self, route: Route) -> None:
        """Add one route."""
        await self.proxy.add_route(route.routespec, route.target, dict(route.data))

    async def add_many(self, routes: list[Route]) -> None:
        """Add routes at the same time."""
        await asyncio.gather(*map(self.add, routes))

    async def get(self, routespec: str) -> object:
        """What the proxy knows about a route."""
        return await self.proxy.get_route(routespec)

    async def get_all(self) -> int:
        """How many routes the proxy knows, after a full read."""
        return len(await self.proxy.get_all_routes())

    async def delete(self, routespec: str) -> None:
        """Remove one route."""
        await self.proxy.delete_route(routespec)


class Kvproxy(Contestant):
    """kvproxy on Redis. Its Traefik logs in as the place says: as the hub does, or with lesser rights."""

    def __init__(self, place: Place):
        super().__init__(place)
        from kvproxy_redis import TraefikRedisProxy

        login = {"username": place.traefik_username, "password": place.traefik_password}
        self.proxy = TraefikRedisProxy(
            public_url=place.public_url,
            traefik_api_url=place.api_url,
            redis_url=place.redis_url,
            static_config_file=str(Path(place.directory, "traefik.toml")),
            extra_static_config={"providers": {"redis": login}} if place.traefik_username else {},
        )

    async def fill(self, routes: list[Route]) -> None:
        from kvproxy.store import Transaction

        store = self.proxy.open_store()
        for chunk in chunks(routes, _CHUNK):
            await store.apply(Transaction(tuple(o for route in chunk for o in operations(route)), wake=False))
        await store.aclose()


class Floor(Kvproxy):
    """A bare write of the keys that kvproxy writes: one MULTI with one PUBLISH; nobody looks whether it was seen.

    The Traefik that reads them is started by kvproxy, whose class has nothing more to do with it.
    """

    waits = False

    def __init__(self, place: Place):
        super().__init__(place)
        from redis.asyncio import Redis

        self.redis: Any = Redis.from_url(place.redis_url)

    async def stop(self) -> None:
        await self.redis.aclose()
        await super().stop()

    async def add(self, route: Route) -> None:
        await self.add_many([route])

    async def add_many(self, routes: list[Route]) -> None:
        entries = [encoded(route) for route in routes]
        config = {f"traefik/{key}": value for entry in entries for key, value in entry.config.items()}
        records = {key: value for entry in entries for key, value in entry.records.items()}
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.mset(config)
            pipe.hset("jupyterhub/routes", mapping=records)
            pipe.publish(_CHANNEL, "set")
            await pipe.execute()

    async def get(self, routespec: str) -> object:
        return await self.redis.hget("jupyterhub/routes", routespec)

    async def get_all(self) -> int:
        return len(await self.redis.hgetall("jupyterhub/routes"))

    async def delete(self, routespec: str) -> None:
        entry = encoded(Route(routespec, self.place.user_url, {}))
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.delete(*(f"traefik/{key}" for key in entry.config))
            pipe.hdel("jupyterhub/routes", *entry.records)
            pipe.publish(_CHANNEL, "set")
            await pipe.execute()


class Peer(Contestant):
    """jupyterhub-traefik-proxy on Redis."""

    def __init__(self, place: Place):
        super().__init__(place)
        from jupyterhub_traefik_proxy.redis import TraefikRedisProxy

        self.proxy = TraefikRedisProxy(
            public_url=place.public_url,
            traefik_api_url=place.api_url,
            redis_url=place.redis_url.removesuffix("/0"),
            static_config_file=str(Path(place.directory, "traefik.toml")),
            traefik_api_username="jupyterhub",
            traefik_api_password=secrets.token_hex(32),
            should_start=True,
        )

    async def fill(self, routes: list[Route]) -> None:
        for chunk in chunks(routes, _CHUNK):
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
        for chunk in chunks(self.waiting, _CHUNK):
            await self.add_many(chunk)

    async def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)


CONTESTANTS: dict[str, type[Contestant]] = {
    "kvproxy": Kvproxy,
    "kvproxy-quiet": Kvproxy,
    "peer": Peer,
    "floor": Floor,
    "floor-quiet": Floor,
    "chp": Chp,
}


def encoded(route: Route) -> Any:
    """A route as kvproxy lays it out."""
    from kvproxy.routes import make_route
    from kvproxy.translate import Layout, encode

    return encode(make_route(route.routespec, route.target, route.data), Layout())


def operations(route: Route) -> Iterable[Any]:
    """The operations by which kvproxy writes a new route."""
    from kvproxy.plan import diff

    return diff(None, encoded(route))


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items, in their order."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
