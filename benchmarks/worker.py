"""Runs one contestant: reads one JSON request a line, does and measures it, answers with one JSON line.

    python -m benchmarks.worker NAME PLACE

A request is ``{"op": name, "limit": seconds, …}``; an answer ``{"samples": […], "error": "…"}`` with what was measured
until the error. The proxy is stopped when standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TextIO

import aiohttp
import psutil

from benchmarks import load
from benchmarks.contestants import Contestant
from benchmarks.rivals import CHUNK, chunks
from benchmarks.roster import ROSTER
from benchmarks.workload import FIRST_GUEST, Place, Route, Sample

_POLL = 0.001  # seconds between two looks at the public URL, at first
_SETTLE_LOOK = 0.1  # seconds over which a settled process uses no CPU worth speaking of
_SETTLED = 0.03  # share of a core


class Bench:
    """The operations that can be asked for; each appends to ``samples`` as it goes, so that a limit loses none."""

    def __init__(self, contestant: Contestant, session: aiohttp.ClientSession):
        self.contestant = contestant
        self.place = contestant.place
        self.session = session
        self.samples: list[Sample] = []
        self.guest = FIRST_GUEST
        self.guests: list[Route] = []

    async def fill(self, count: int) -> None:
        """Put ``count`` users into the store; not measured."""
        await self.contestant.fill(self.place.residents(count))

    async def start(self, count: int) -> None:
        """Start the proxy over them: until it returned, and until the last one's URL is served."""
        begin = time.perf_counter()
        await self.contestant.start()
        returned = time.perf_counter() - begin
        last, server = self.place.residents(count)[-1], "user" if count else "hub"
        sample = {"returned_s": returned, "served_at_return": float(await self.serves(last, server))}
        await self.until_served(last, server)
        self.samples.append({**sample, "served_s": time.perf_counter() - begin})

    async def open(self, count: int) -> None:
        """Start the proxy over nothing and have it add ``count`` users, some hundred at once; not measured.

        Unlike :meth:`fill`, it works with each build of kvproxy.
        """
        await self.contestant.start()
        for chunk in chunks(self.place.residents(count), CHUNK):
            await self.contestant.add_many(chunk)

    async def put(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Add one route: until the call returned."""
        begin = time.perf_counter()
        await self.contestant.add(Route(routespec, target, data))
        self.samples.append({"returned_s": time.perf_counter() - begin})

    async def restart(self, count: int) -> None:
        """Restart the proxy over its own data, as a restart of the hub does: as :meth:`start`."""
        await self.contestant.stop()
        self.contestant = self.contestant.again()
        await self.start(count)

    async def check(self, count: int) -> None:
        """JupyterHub's check of all routes, with nothing to repair."""
        users = self.place.residents(count)[1:]
        begin = time.perf_counter()
        await self.contestant.check(users)
        self.samples.append({"returned_s": time.perf_counter() - begin})

    async def add(self, count: int) -> None:
        """Add one user at a time, without polling: until add_route returned, and the CPU until all has settled."""
        for route in self.invite(count):
            await self.measure([route])

    async def storm(self, count: int) -> None:
        """Add users at once: until all calls returned, and the CPU until all has settled."""
        await self.measure(self.invite(count))

    async def measure(self, routes: list[Route]) -> None:
        """Add routes at the same time; ask their public URLs only afterwards."""
        cpu, own, begin = self.cpu(), time.process_time(), time.perf_counter()
        await (self.contestant.add_many(routes) if len(routes) > 1 else self.contestant.add(routes[0]))
        if not self.contestant.waits:
            await self.until_served(routes[-1], "user")
        sample = {"returned_s": time.perf_counter() - begin, "python_cpu_s": time.process_time() - own}
        # Known also if the limit comes before all has settled.
        self.samples.append(sample)
        served = [await self.serves(route, "user") for route in routes]
        sample["served_at_return"] = sum(served) / len(served)
        await self.settle()
        sample.update(self.cpu_since(cpu))

    async def add_polled(self, count: int) -> None:
        """Add one user at a time while the public URL is polled: until it serves the new server."""
        for route in self.invite(count):
            begin = time.perf_counter()
            served = asyncio.create_task(self.until_served(route, "user"))
            try:
                await self.contestant.add(route)
                returned = time.perf_counter() - begin
                self.samples.append({"returned_s": returned, "served_s": await served - begin})
            finally:
                served.cancel()
            await self.settle()

    async def get(self, count: int, among: int) -> None:
        """Look up ``count`` of the users who were there from the beginning."""
        for index in range(count):
            route = self.place.user_route(index * among // count)
            begin = time.perf_counter()
            if await self.contestant.get(route.routespec) is None:
                raise LookupError(f"{route.routespec} is missing")
            self.samples.append({"returned_s": time.perf_counter() - begin})

    async def get_all(self) -> None:
        """Read all routes."""
        begin = time.perf_counter()
        count = await self.contestant.get_all()
        self.samples.append({"returned_s": time.perf_counter() - begin, "count": float(count)})

    async def delete(self) -> None:
        """Remove all users that were added, one at a time, and wait until all has settled."""
        while self.guests:
            begin = time.perf_counter()
            await self.contestant.delete(self.guests[-1].routespec)
            self.samples.append({"returned_s": time.perf_counter() - begin})
            self.guests.pop()
            await self.settle()

    async def clear(self) -> None:
        """Remove all users that were added, all at once; not measured."""
        await asyncio.gather(*(self.contestant.delete(route.routespec) for route in self.guests))
        self.guests.clear()
        await self.settle()

    async def requests(self, kind: str, among: int, connections: int, seconds: int) -> None:
        """Requests to ``among`` users' servers over a number of connections; ``kind`` is that of the answers."""
        await self.settle()
        await load.compare(self.session, self.place, kind, among)
        before = self.cpu()["proxy_cpu_s"]
        told = await load.requests(self.place, kind, among, connections, seconds)
        self.samples.append(load.as_sample(told, self.cpu()["proxy_cpu_s"] - before))

    async def websockets(self, among: int, connections: int, seconds: float) -> None:
        """Messages over websockets to ``among`` users' servers."""
        await self.settle()
        proxy = self.process().pid
        sample = await load.websockets(self.place, among, connections, seconds, lambda: cpu_seconds(proxy))
        self.samples.append(sample)

    async def settle(self) -> None:
        """Wait until the proxy's process has nothing left to do."""
        before = self.cpu()
        while True:
            await asyncio.sleep(_SETTLE_LOOK)
            now = self.cpu()
            if now["proxy_cpu_s"] - before["proxy_cpu_s"] <= _SETTLED * _SETTLE_LOOK:
                return
            before = now

    async def memory(self) -> None:
        """Resident bytes of the proxy's process, of the store's and of this one."""
        processes = {"proxy_rss_b": self.process(), "python_rss_b": psutil.Process()}
        if self.place.store_pid:
            processes["store_rss_b"] = psutil.Process(self.place.store_pid)
        self.samples.append({name: float(process.memory_info().rss) for name, process in processes.items()})

    # -- parts of the above

    def invite(self, count: int) -> list[Route]:
        """Routes of users who were never there before; `delete` and `clear` know them."""
        routes = [self.place.user_route(number) for number in range(self.guest, self.guest + count)]
        self.guest += count
        self.guests += routes
        return routes

    async def serves(self, route: Route, name: str) -> bool:
        """True if the public URL leads to that server now."""
        try:
            async with self.session.get(self.place.public_url.rstrip("/") + route.routespec) as response:
                return f'"name": "{name}"'.encode() in await response.read()
        except aiohttp.ClientError:
            return False

    async def until_served(self, route: Route, name: str) -> float:
        """Poll the public URL until it leads to that server, and return that moment.

        The pause is an eighth of the time so far, as in kvproxy's own look at the API: each look is a request that
        Traefik has to match against all routes while it is at work on the new ones, so that more looks would delay
        what they look for. A result is a sixteenth too long on average.
        """
        begin = time.perf_counter()
        while not await self.serves(route, name):
            await asyncio.sleep(max(_POLL, (time.perf_counter() - begin) / 8))
        return time.perf_counter()

    def processes(self) -> list[psutil.Process]:
        """The proxy's processes: one, or two with two tiers."""
        children = psutil.Process().children()
        if not children:
            raise LookupError("the proxy's process is gone")
        return children

    def process(self) -> psutil.Process:
        """The proxy's process, the only one that most contestants start."""
        return self.processes()[0]

    def cpu(self) -> Sample:
        """CPU seconds that the proxy and the store, if it is a server, have used."""
        used = {"proxy_cpu_s": sum(cpu_seconds(process.pid) for process in self.processes())}
        if self.place.store_pid:
            used["store_cpu_s"] = cpu_seconds(self.place.store_pid)
        return used

    def cpu_since(self, before: Sample) -> Sample:
        """CPU seconds since then."""
        return {name: value - before[name] for name, value in self.cpu().items()}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for, within its limit."""
        self.samples = []
        operation: Callable[..., Awaitable[None]] = getattr(self, request.pop("op"))
        limit = request.pop("limit")
        error = ""
        try:
            await asyncio.wait_for(operation(**request), limit)
        except asyncio.TimeoutError:
            error = f"not finished in {limit:g} s"
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        return {"samples": self.samples, "error": error}


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process: to the nanosecond on Linux, where psutil knows hundredths of a second."""
    try:
        times = [task.joinpath("schedstat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        used = psutil.Process(pid).cpu_times()
        return float(used.user + used.system)
    return sum(int(text.split()[0]) for text in times) / 1e9


async def serve(name: str, place: Place, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    loop = asyncio.get_running_loop()
    contestant = ROSTER[name].make(place)
    async with aiohttp.ClientSession(trust_env=False) as session:
        bench = Bench(contestant, session)
        try:
            while line := await loop.run_in_executor(None, requests.readline):
                print(json.dumps(await bench.answer(json.loads(line))), file=answers, flush=True)
        finally:
            await bench.contestant.stop()


def main() -> None:
    """Keep the pipes of the driver from what the contestant starts: Node.js changes how its standard input works."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    asyncio.run(serve(sys.argv[1], Place.from_json(sys.argv[2]), requests, answers))


if __name__ == "__main__":
    main()
