"""Users come and go while parts are restarted: what is there at the end that was not there before?

python -m tests.faults.soak                 an hour; prints the table and writes it to docs/faults.md
python -m tests.faults.soak --store redis-tiers --residents 5000
                                            the same with two tiers of many routes, which has a table of its own
python -m tests.faults.soak --minutes 3     in short, printed only
python -m tests.faults.soak --keep DIR      its logs stay in that directory
python -m tests.faults.soak --report        the tables again, from the results on disk

In the first third all parts are restarted. Then memory, file descriptors and keys are counted, and at the end again;
meanwhile the hub lives, and store and Traefik are restarted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import psutil

from benchmarks.results import Results, Row, describe_machine
from benchmarks.tools import own_versions
from kvproxy.store import Operation, Space
from kvproxy.testing.servers import slowness
from tests.faults.hub_process import HubError, HubGoneError
from tests.faults.load import Load
from tests.faults.network import Network
from tests.faults.site import Site
from tests.faults.soak_report import RESULTS, place_of, problems, sections, write_document
from tests.faults.stores import STORES, Killable

MINUTES = 60.0
RESIDENTS = 100  # users who are there all the time
GUESTS = 8  # who come and go at the same time
STAY = 0.5  # seconds that one stays at most
_RETRY = 0.1  # seconds until a guest tries again what a restarted part has interrupted
_SAMPLES = 10  # in the second part
_PAUSES = (3.0, 30.0)  # seconds between two disturbances: of a short soak, of a long one
_STILL = 2.0  # seconds for which a store stands still, or a network is bad
#: Those who log in as soon as possible. With two tiers, the second one needs the first Traefik.
_FIRST = ("/user/first-again/", "/user/student00000/first-again/")
_LIMIT = 120.0  # seconds in which it has to be, on an idle machine
#: How the network gets bad for a while, by the names that the results have.
_SPOILT: dict[str, Callable[[Network], None]] = {
    "slow": Network.slow,
    "silent": Network.silence_store,
    "refusing": Network.refuse_store,
    "answers_lost": Network.lose_answers,
}


class Soak:
    """Guests, residents, and restarts of parts.

    residents: the number of users who are there all the time. losses: whether the store comes back empty now and then.
    """

    def __init__(self, site: Site, seconds: float, residents: int, *, losses: bool = True):
        self.site, self.seconds = site, seconds
        self._residents = residents
        self.rows: list[Row] = []
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._chance = random.Random(5)
        self._over = asyncio.Event()
        self._left: list[Callable[[], Awaitable[None]]] = []
        #: When Traefik was away.
        self._outages: list[tuple[float, float]] = []
        #: When each disturbance began, and its name.
        self._begun: list[tuple[float, str]] = []
        self._store: list[Callable[[], Awaitable[None]]] = [self._delete_keys]
        self._store += [self._empty] if losses else []
        if isinstance(site.store, Killable):
            self._store += [self._crash, self._stand_still]
        if site.network is not None:
            self._store += [self._bad_for_a_while(kind, spoil) for kind, spoil in _SPOILT.items()]
            self._store.append(self._forgotten)

    async def run(self) -> None:
        """All of it."""
        async with Load(self.site.port, dict(self.site.table), clients=2) as load:
            await self._churn(self.seconds / 3, [*self._store, self._kill_traefik, self._restart_hub, self._kill_hub])
            await self._sample(0)
            for number in range(_SAMPLES):
                await self._churn(self.seconds * 2 / 3 / _SAMPLES, [*self._store, self._kill_traefik])
                await self._sample(1 + number)
                counts = ", ".join(f"{name} {count:,}" for name, count in sorted(self.counts.items()))
                print(f"{number + 1} of {_SAMPLES}: {counts}", file=sys.stderr, flush=True)
        failures = load.tally.failures
        left = [failure for failure in failures if not _within(failure, self._outages)]
        for _, end, problem in left:
            self._print("Failed", end, problem)
        self.counts.update(sent=load.tally.sent, failed=len(left), excused=len(failures) - len(left))
        self.wrong = await self.site.wrong()
        self.counts["wrong"] = len(self.wrong)
        self.counts["minutes"] = self.seconds / 60
        for name, number in self.counts.items():
            self._note("all", 0, name, number)

    async def _churn(self, seconds: float, disturbances: list[Callable[[], Awaitable[None]]]) -> None:
        self._over.clear()
        guests = [asyncio.create_task(self._guest(number)) for number in range(GUESTS)]
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                disturb = self._next(disturbances)
                self._begun.append((time.monotonic(), disturb.__qualname__))
                await disturb()
                await asyncio.sleep(min(self._pause, max(end - time.monotonic(), 0)))
        finally:
            self._over.set()
            await asyncio.gather(*guests)
        await self.site.settle()

    def _next(self, disturbances: list[Callable[[], Awaitable[None]]]) -> Callable[[], Awaitable[None]]:
        """All of them, in any order, before one comes again."""
        left = [disturb for disturb in self._left if disturb in disturbances]
        self._left = left or self._chance.sample(disturbances, len(disturbances))
        return self._left.pop()

    @property
    def _pause(self) -> float:
        return min(max(self.seconds / 100, _PAUSES[0]), _PAUSES[1])

    def _print(self, what: str, moment: float, problem: object) -> None:
        """Print a problem with the last two disturbances before that moment, and how long before it they began."""
        latest = ", ".join([f"{name} ({moment - when:.1f} s)" for when, name in self._begun if when <= moment][-2:])
        print(f"{_clock(moment)} {what} after {latest}: {problem}", file=sys.stderr, flush=True)

    # -- guests

    async def _guest(self, number: int) -> None:
        while not self._over.is_set():
            spec = f"/user/guest{number}-{self._chance.randrange(10)}/"
            await self._persist(lambda spec=spec: self.site.log_in(spec))
            self.counts["logins"] += 1
            await asyncio.sleep(self._chance.uniform(0, STAY))
            await self._persist(lambda spec=spec: self.site.log_out(spec))

    async def _persist(self, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await action()
            except (HubGoneError, OSError, EOFError, asyncio.TimeoutError):
                # The hub was restarted, or Traefik just when its answer was looked at.
                self.counts["interrupted"] += 1
            except HubError as error:
                if not self._traefik_was_away():
                    self.counts["refused"] += 1
                    self._print("Refused", time.monotonic(), error)
            await asyncio.sleep(_RETRY)

    def _traefik_was_away(self) -> bool:
        return bool(self._outages) and time.monotonic() - self._outages[-1][1] < 1

    # -- disturbances

    async def _crash(self) -> None:
        store = self.site.store
        assert isinstance(store, Killable)
        await asyncio.to_thread(store.kill)
        await asyncio.to_thread(store.start)
        self.counts["store_restarts"] += 1

    async def _stand_still(self) -> None:
        store = self.site.store
        assert isinstance(store, Killable)
        store.pause()
        await asyncio.sleep(_STILL)
        store.resume()
        self.counts["store_stops"] += 1

    async def _empty(self) -> None:
        if isinstance(self.site.store, Killable):
            await asyncio.to_thread(self.site.store.kill)
        await asyncio.to_thread(self.site.store.start_empty)
        self.counts["store_losses"] += 1

    async def _delete_keys(self) -> None:
        found = await self.site.contents()
        records = self._chance.sample(sorted(found.records), min(5, len(found.records)))
        await self.site.by_hand(Operation(Space.RECORDS, key, None) for key in records)
        self.counts["deletions"] += 1

    @contextlib.asynccontextmanager
    async def _bad_network(self, kind: str) -> AsyncIterator[Network]:
        """The network, for as long as it is bad, and then for good."""
        network = self.site.network
        assert network is not None
        try:
            yield network
            await asyncio.sleep(_STILL)
        finally:
            network.heal()
        self.counts[kind] += 1

    def _bad_for_a_while(self, kind: str, spoil: Callable[[Network], None]) -> Callable[[], Awaitable[None]]:
        async def happen() -> None:
            async with self._bad_network(kind) as network:
                spoil(network)

        happen.__qualname__ = kind
        return happen

    async def _forgotten(self) -> None:
        """Until the hub has restarted Traefik no user can log in."""
        async with self._without_traefik(), self._bad_network("forgotten") as network:
            network.traefik.forget()
            # The first one may be served by what Traefik has heard just before.
            for name in [*_FIRST, *_FIRST]:
                await self.site.seconds_to_log_in(name, _LIMIT * slowness())
                await self.site.log_out(name)
                # Then it leads to whoever is above it.
                self.site.gone.discard(name)

    async def _kill_traefik(self) -> None:
        async with self._without_traefik():
            with contextlib.suppress(HubError, AssertionError, psutil.Error):
                psutil.Process(await self.site.traefik_pid()).kill()
                self.counts["traefik_restarts"] += 1

    async def _restart_hub(self) -> None:
        async with self._without_traefik():
            await self.site.hub.stop()
            await self._start_hub()

    async def _kill_hub(self) -> None:
        async with self._without_traefik():
            await self.site.hub.kill()
            await self._start_hub()

    async def _start_hub(self) -> None:
        await self.site.hub.start()
        await self.site.hub.call("desired")
        self.counts["hub_restarts"] += 1

    @contextlib.asynccontextmanager
    async def _without_traefik(self) -> AsyncIterator[None]:
        """Note the time from now on until Traefik serves all routes again."""
        begin = time.monotonic()
        self._outages.append((begin, float("inf")))
        yield
        await self.site.until_served()
        self._outages[-1] = (begin, time.monotonic())

    # -- what is left

    async def _sample(self, number: int) -> None:
        parts = {"hub": self.site.hub.pid, "Traefik": await self.site.traefik_pid()}
        for part, pid in parts.items():
            process = psutil.Process(pid)
            self._note(part, number, "rss_b", process.memory_info().rss)
            self._note(part, number, "files", process.num_fds())
        found = await self.site.contents()
        self._note("store", number, "keys", len(found.config) + len(found.records))

    def _note(self, part: str, number: int, metric: str, value: float) -> None:
        self.rows.append(Row(part, self._residents, "soak", number, 0, metric, float(value)))


def _clock(moment: float) -> str:
    """The time of day at a moment of the monotonic clock, as in the logs."""
    return (datetime.now() - timedelta(seconds=time.monotonic() - moment)).strftime("%H:%M:%S.%f")[:-3]


def _within(failure: tuple[float, float, str], times: list[tuple[float, float]]) -> bool:
    """True if a request was under way in one of these times."""
    begin, end, _ = failure
    return any(first <= end and begin <= last for first, last in times)


async def soak(
    store: str, minutes: float, directory: Path, *, residents: int = RESIDENTS, losses: bool = True
) -> Results:
    """Let it go on for so long, and give back what was counted."""
    results = Results(machine=describe_machine(own_versions({store.partition("-")[0]})))
    results.machine["store"] = STORES[store][0]
    async with Site.open(STORES[store][1](directory), directory, routes=residents, managed=True, network=True) as site:
        work = Soak(site, 60 * minutes, residents, losses=losses)
        await work.run()
    results.rows = work.rows
    return results


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 if something is not flat, or not right."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long; the documentation needs an hour")
    parser.add_argument("--store", default="redis", choices=[*STORES], help="where the routes are")
    parser.add_argument("--residents", type=int, default=RESIDENTS, help="users who are there all the time")
    parser.add_argument("--keep", type=Path, help="directory for its files, which stay there, logs included")
    parser.add_argument("--report", action="store_true", help="report on the results on disk")
    options = parser.parse_args(arguments)
    kept = RESULTS.with_name(place_of(STORES[options.store][0]))
    if options.report:
        results = Results.load(kept)
    else:
        with contextlib.ExitStack() as stack:
            if (directory := options.keep) is None:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvproxy-soak-")))
            directory.mkdir(parents=True, exist_ok=True)
            results = asyncio.run(soak(options.store, options.minutes, directory, residents=options.residents))
        if options.minutes >= MINUTES:
            results.save(kept)
    print("\n\n".join(sections(results).values()))
    if options.report or options.minutes >= MINUTES:
        write_document(results)
    for problem in problems(results):
        print(problem)
    return int(bool(problems(results)))


if __name__ == "__main__":
    sys.exit(main())
