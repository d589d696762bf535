"""Contestants: proxy classes driven as JupyterHub drives them, and the floor below which none can get.

Each runs in a worker process of its own. The libraries are imported late, as no environment holds all of them.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from benchmarks.workload import Place, Route

_CHANNEL = "__keyspace@0__:traefik/"  # what Traefik listens to, as a key's own notifications would come
#: A hub keeps its secret; from it come the API's password and the certificate that stand in the store.
_SECRET = b"the same at each start, as a hub's is"
#: Kind of a store -> module and name of kvproxy's class, and the trait that says where the store is.
_CLASSES = {
    "redis": ("kvproxy_redis", "TraefikRedisProxy", "redis_url"),
    "etcd": ("kvproxy_etcd", "TraefikEtcdProxy", "etcd_url"),
    "consul": ("kvproxy_consul", "TraefikConsulProxy", "consul_url"),
    "file": ("kvproxy_file", "TraefikFileProviderProxy", "dynamic_config_file"),
}


class Contestant:
    """One proxy on its own store. Times in seconds, memory in bytes."""

    #: True if `add` and `add_many` wait until the routes are served; if not, the worker polls the public URL.
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

    def again(self) -> Contestant:
        """The same as it is in a hub that is restarted; this one must have been stopped."""
        return type(self)(self.place)

    async def add(self, route: Route) -> None:
        """Add one route."""
        await self.proxy.add_route(route.routespec, route.target, dict(route.data))

    async def add_many(self, routes: list[Route]) -> None:
        """Add routes at the same time."""
        await asyncio.gather(*map(self.add, routes))

    async def get(self, routespec: str) -> object:
        """Return the proxy's knowledge of a route."""
        return await self.proxy.get_route(routespec)

    async def get_all(self) -> int:
        """How many routes the proxy knows, after a full read."""
        return len(await self.proxy.get_all_routes())

    async def delete(self, routespec: str) -> None:
        """Remove one route."""
        await self.proxy.delete_route(routespec)

    async def check(self, users: list[Route]) -> None:
        """JupyterHub's check of all routes, as after each start; the hub knows these users and wants no others."""
        self.proxy.app = an_app(self.place)
        self.proxy.hub = self.proxy.app.hub
        await self.proxy.check_routes({number: as_user(route) for number, route in enumerate(users)}, {})


class Kvproxy(Contestant):
    """kvproxy on the place's store. Its Traefik logs in as the place says: as the hub does, or with lesser rights."""

    #: Settings that differ from the defaults.
    traits: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, place: Place):
        super().__init__(place)
        module, name, trait = _CLASSES[place.store]
        login = {"username": place.traefik_username, "password": place.traefik_password}
        self.proxy = getattr(importlib.import_module(module), name)(
            app=an_app(place),
            hub=self.hub(place),
            public_url=place.public_url,
            traefik_api_url=place.api_url,
            static_config_file=str(Path(place.directory, "traefik.toml")),
            extra_static_config={"providers": {place.store: login}} if place.traefik_username else {},
            **{trait: place.store_url, **self.traits},
        )

    def hub(self, place: Place) -> Any:
        """The hub as the proxy knows it; None for one without pages."""
        return None

    async def fill(self, routes: list[Route]) -> None:
        from kvproxy.reconcile.plan import diff, transactions

        store = self.proxy.open_store(self.proxy.roots)
        self.table = self.lay_out(routes)
        groups = [diff(None, entry) for entry in self.table.entries.values()]
        for transaction in transactions(groups, store.capabilities, wake=False):
            await store.apply(transaction)
        await store.aclose()

    def lay_out(self, routes: list[Route]) -> Any:
        """The table that is written by :meth:`fill`, a `DesiredTable`."""
        return laid_out(routes)


class Paged(Kvproxy):
    """kvproxy with the hub's pages where a server does not answer."""

    def hub(self, place: Place) -> Any:
        return SimpleNamespace(url=f"{place.hub_url}/hub/")

    def lay_out(self, routes: list[Route]) -> Any:
        return laid_out(routes, self.proxy.layout(()))


class Paired(Paged):
    """kvproxy with two tiers of routes."""

    traits: ClassVar = {"route_tiers": "two"}

    def __init__(self, place: Place):
        from kvproxy.testing.servers.ports import free_port

        super().__init__(place)
        self.proxy.hot_traefik_url = f"http://127.0.0.1:{free_port()}"
        self.proxy.hot_traefik_api_url = f"http://127.0.0.1:{free_port()}"


class Uncounted(Kvproxy):
    """kvproxy whose Traefik counts no requests, so that the hub does not learn from it which servers are in use."""

    traits: ClassVar = {"track_last_activity": False}


class Noisy(Kvproxy):
    """kvproxy that leaves Redis' notifications as its Traefik has switched them on."""

    traits: ClassVar = {"redis_notifications": "keep"}


class Floor(Kvproxy):
    """A bare write of the keys that kvproxy writes: one MULTI with one PUBLISH; without a look whether it was seen.

    The Traefik that reads them is started by kvproxy, whose class has nothing more to do with it.
    """

    waits = False

    def __init__(self, place: Place):
        super().__init__(place)
        from redis.asyncio import Redis

        self.redis: Any = Redis.from_url(place.store_url)

    def again(self) -> Floor:
        fresh = type(self)(self.place)
        fresh.table = self.table
        return fresh

    async def stop(self) -> None:
        await self.redis.aclose()
        await super().stop()

    async def add(self, route: Route) -> None:
        await self.add_many([route])

    async def add_many(self, routes: list[Route]) -> None:
        entries = [self.table.entry(as_kvproxy(route)) for route in routes]
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
        entry = self.table.entry(as_kvproxy(Route(routespec, self.place.user_url, {})))
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.delete(*(f"traefik/{key}" for key in entry.config))
            pipe.hdel("jupyterhub/routes", *entry.records)
            pipe.publish(_CHANNEL, "set")
            await pipe.execute()


def laid_out(routes: list[Route], layout: Any = None, setup: Mapping[str, Any] | None = None) -> Any:
    """A whole table as kvproxy comes to lay it out: a `DesiredTable`, whose entries are each written in one piece.

    layout: a `Layout`, kvproxy's own if None. setup: dynamic configuration that is not about routes.
    """
    from kvproxy.routing.encode import encode_setup
    from kvproxy.routing.entry import Layout
    from kvproxy.routing.table import DesiredTable

    table = DesiredTable(layout or Layout(), encode_setup(setup or {}), groups_allowed=True)
    for route in routes:
        checked = as_kvproxy(route)
        table.put(table.entry(checked))
    while table.step(lambda name: False, None):
        continue
    return table


def as_kvproxy(route: Route) -> Any:
    """A route as kvproxy knows it."""
    from kvproxy.routing.route import make_route

    return make_route(route.routespec, route.target, route.data)


def an_app(place: Place) -> Any:
    """As much of a JupyterHub as a proxy looks at."""
    hub = SimpleNamespace(routespec="/", host=place.hub_url)
    return SimpleNamespace(hub=hub, cookie_secret=_SECRET, cleanup_proxy=True, subdomain_host="", internal_ssl=False)


def as_user(route: Route) -> Any:
    """As much of a hub's user as its check of the routes looks at."""
    spawner = SimpleNamespace(ready=True, proxy_spec=route.routespec, server=SimpleNamespace(host=route.target))
    return SimpleNamespace(spawners={"": spawner})


class NoisyFloor(Floor):
    """The same where Traefik has switched Redis' notifications on."""

    traits: ClassVar = {"redis_notifications": "keep"}
