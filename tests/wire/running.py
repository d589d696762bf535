"""Runs cases through one proxy: all set-ups side by side, a few short cases at once, all long ones at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

from kvproxy.testing.servers.ports import free_port

from .backend import Backend
from .case import Case, Facts, Setup
from .client import Site
from .contestants import CROWD, Contestant, Making, Tls, hub_server

#: Facts by set-up and case.
Views = dict[str, dict[str, Facts]]

_AT_ONCE = 6  # cases in one set-up
_SECONDS = 40.0  # for a short case
_LONG_SECONDS = 410.0


async def run(make: Making, cases: Iterable[Case], directory: Path) -> Views:
    """Run the cases, each in its set-ups; what was seen."""
    tls = Tls(directory)
    chosen: dict[Setup, list[Case]] = {}
    for case in cases:
        for setup in case.setups:
            chosen.setdefault(setup, []).append(case)
    folders = [directory / setup.name for setup in chosen]
    for folder in folders:
        folder.mkdir()
    found = await asyncio.gather(
        *(
            _run_in(setup, make, mine, tls, folder)
            for (setup, mine), folder in zip(chosen.items(), folders, strict=True)
        )
    )
    return {setup.name: facts for setup, facts in zip(chosen, found, strict=True)}


async def _run_in(setup: Setup, make: Making, cases: list[Case], tls: Tls, folder: Path) -> dict[str, Facts]:
    async with contextlib.AsyncExitStack() as stack:
        hub = f"http://127.0.0.1:{free_port()}"
        if setup.hub:
            server = hub_server()
            stack.push_async_callback(server.close)
            hub = await server.open()
        proxy = await stack.enter_async_context(make(setup, f"{hub}{setup.base}hub/", tls, folder))
        sites = {case.name: _site(setup, proxy, case) for case in cases}
        for site in sites.values():
            stack.push_async_callback(site.backend.close)
        await _add_routes(setup, proxy, cases, sites, hub)
        slots = asyncio.Semaphore(_AT_ONCE)
        facts = await asyncio.gather(*(_ask(case, sites[case.name], slots) for case in cases))
        return {case.name: fact for case, fact in zip(cases, facts, strict=True)}


def _site(setup: Setup, proxy: Contestant, case: Case) -> Site:
    base = setup.base.rstrip("/")
    host = f"{case.name}.wire.test" if setup.hosts else "wire.test"
    backend = Backend(case.behave)
    return Site(proxy.port, host, base, f"{base}/user/{case.name}", backend, setup.tls)


async def _add_routes(setup: Setup, proxy: Contestant, cases: list[Case], sites: dict[str, Site], hub: str) -> None:
    async def add(case: Case) -> None:
        site = sites[case.name]
        target = await (case.target or site.backend.open)()
        path = (case.spec or "{path}/").replace("{path}", site.path).replace("{base}", site.base)
        data = {"service": case.name} if case.spec else {"user": case.name, "server_name": ""}
        await proxy.routes.add_route(f"{site.host if setup.hosts else ''}{path}", target, data)

    await proxy.routes.add_route(f"{'wire.test' if setup.hosts else ''}{setup.base}", hub, {"hub": True})
    # A tree has groups only where there are many users.
    crowd = [f"{setup.base}user/student{number}/" for number in range(CROWD if setup.layout == "tree" else 0)]
    await asyncio.gather(*(proxy.routes.add_route(spec, hub, {}) for spec in crowd), *map(add, cases))


async def _ask(case: Case, site: Site, slots: asyncio.Semaphore) -> Facts:
    try:
        async with contextlib.nullcontext() if case.full else slots:
            return await asyncio.wait_for(case.ask(site), _LONG_SECONDS if case.full else _SECONDS)
    except Exception as error:
        # One case that goes wrong is one line of the report, not its end.
        return {"failed": f"{type(error).__name__}: {error}"}
    finally:
        for link in site.links:
            link.close()
