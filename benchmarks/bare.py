"""A table that is written once, in any layout, and a Traefik over it: no hub, no loop, nobody else who changes it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import statistics
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.contestants import Kvproxy, as_kvproxy, laid_out
from benchmarks.places import place_for
from benchmarks.programs import Tool
from benchmarks.servers import Backend
from benchmarks.stores import running
from benchmarks.worker import Bench
from benchmarks.workload import Place, Route
from kvproxy.process.launch import DEFAULT_ENVIRONMENT, find_traefik, traefik_version, write_private
from kvproxy.reconcile.plan import diff, transactions
from kvproxy.routing.entry import Entry, Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import parse_routespec
from kvproxy.testing.servers import TraefikServer
from kvproxy.traefik.setup.certificate import placeholder_certificate
from kvproxy.traefik.static_config import setup_configuration, static_configuration, static_file


def looks(entries: Iterable[Entry]) -> float:
    """How many rules Traefik looks at until it has found a route, the mean of all routes.

    It looks at the children of a router by their priority, those of the same priority in any order (`pkg/muxer/http`,
    3.7), down to the route.
    """
    routers: dict[str, dict[str, str]] = {}
    for entry in entries:
        for key, value in entry.config.items():
            if match := re.fullmatch(r"http/routers/([^/]+-kv[pgl])/(\w+)", key):
                routers.setdefault(match[1], {})[match[2]] = value
    priorities = {name: int(router.get("priority", len(router["rule"]))) for name, router in routers.items()}
    present = Counter((router.get("parentRefs"), priorities[name]) for name, router in routers.items())

    def of(name: str) -> float:
        parent, priority = routers[name].get("parentRefs"), priorities[name]
        before = sum(count for (where, other), count in present.items() if where == parent and other > priority)
        return before + (present[parent, priority] + 1) / 2 + (of(parent) if parent else 0)

    return statistics.fmean(of(name) for name in routers if name.endswith("-kvp"))


class Bare(Kvproxy):
    """See the module.

    layout: how the routes are laid out. environment: of Traefik, over kvproxy's own settings of Go's runtime.
    debug: whether its API has what Go's profiler asks, which costs it something.
    """

    waits = False

    def __init__(
        self, place: Place, layout: Layout, environment: Mapping[str, str] | None = None, *, debug: bool = False
    ):
        super().__init__(place)
        self.layout, self.debug = layout, debug
        self._environment = {**os.environ, **DEFAULT_ENVIRONMENT, **(environment or {})}
        self.server: TraefikServer | None = None
        self.store: Any = None

    def lay_out(self, routes: list[Route]) -> Any:
        entry_point = self.proxy.traefik_api_entrypoint
        debug = {"rule": 'PathPrefix("/debug")', "entryPoints": [entry_point], "service": "api@internal"}
        setup = setup_configuration(
            api_url=self.place.api_url,
            api_entry_point=entry_point,
            api_users=[],
            certificate=placeholder_certificate(secrets.token_bytes(32)),
            extra={"http": {"routers": {"debug": debug}}} if self.debug else {},
        )
        return laid_out(routes, self.layout, setup)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return sum(map(self.table.is_group, self.table.entries))

    @property
    def looks(self) -> float:
        """See :func:`looks`."""
        return looks(self.table.entries.values())

    async def start(self) -> None:
        self.store = self.proxy.open_store()
        settings = self.proxy.static_settings(self.proxy.traefik_provider(), traefik_version(find_traefik()))
        configuration = static_configuration(settings)
        configuration["api"]["debug"] = self.debug
        file = Path(self.place.directory, "traefik.toml")
        write_private(file, static_file(configuration, file.name))
        ports = [int(url.rpartition(":")[2]) for url in (self.place.public_url, self.place.api_url)]
        self.server = TraefikServer(file, ports, self._environment)
        self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()
        if self.store is not None:
            await self.store.aclose()

    async def add(self, route: Route) -> None:
        await self.add_many([route])

    async def add_many(self, routes: list[Route]) -> None:
        """One commit for all; nobody looks whether it was seen."""
        before, names = dict(self.table.entries), set()
        for checked in map(as_kvproxy, routes):
            name = ALONE.route(checked.key)
            names.update([name, *self.table.put(self.table.entry(checked))])
        await self._commit(before, names)

    async def delete(self, routespec: str) -> None:
        before, name = dict(self.table.entries), ALONE.route(parse_routespec(routespec).key)
        await self._commit(before, [name, *self.table.drop(name)])

    async def _commit(self, before: Mapping[str, Any], names: Iterable[str]) -> None:
        changed = [diff(before.get(name), self.table.entries.get(name)) for name in names]
        for transaction in transactions(changed, self.store.capabilities):
            await self.store.apply(transaction)


class Stand(Bench):
    """What can be asked of a :class:`Bare` that is one of several in this process."""

    contestant: Bare

    def process(self) -> psutil.Process:
        return psutil.Process(self.contestant.server.pid)


@contextlib.asynccontextmanager
async def standing(
    size: int, backend: Backend, wrk: Tool, layout: Layout, environment: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[Stand]:
    """A :class:`Bare` with a quiet Redis of its own, over so many users' routes, serving them and at rest."""
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="kvproxy-layout-"))
        password = secrets.token_hex(16)
        store = stack.enter_context(running("redis", Path(directory), password))
        place = place_for("redis", store, directory, backend, wrk, login=("traefik", password))
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        stand = Stand(Bare(place, layout, environment, **options), session)
        stack.push_async_callback(stand.contestant.stop)
        await stand.fill(size)
        await stand.start(size)
        await stand.settle()
        stand.samples.clear()
        yield stand
