"""One fault on one store: what was sent, what failed, how long until all was as before."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Row
from kvproxy.testing.servers.programs import ServerError
from tests.faults.catalogue import FAULTS, Fault, Steps
from tests.faults.hub_process import HubError
from tests.faults.load import Load, OpenSocket, Tally
from tests.faults.site import Site
from tests.faults.stores import STORES, TWO_TIERS

_MEANWHILE, _AFTER = "/user/meanwhile/", "/user/after/"
_NAMED = 3  # routes that are named in a sentence


@dataclass(frozen=True)
class Scale:
    """How large a cell is.

    routes: how many there are. pause: seconds that a part stands still. limit: seconds after which what has not come
    about is not going to.
    """

    routes: int = 500
    pause: float = 5.0
    limit: float = 60.0


@dataclass
class Outcome:
    """The outcome of a fault. Numbers of seconds begin when the fault is over; None: not within the limit.

    before, after: routes that lead where they should. sent, failed: requests on routes that should not notice, and
    longest: seconds that one of these took at most. hit, hit_failed: the same of routes that the fault itself hits, and
    noticed: seconds from their first failed request to the last. broken: how often an open websocket was closed.
    add: until a user who comes then can work. meanwhile: until one can who came in the midst of it, counted from then.
    healed: until the store and all routes are right. problem: what is not as it should be, in sentences.
    """

    before: int = 0
    after: int = 0
    sent: int = 0
    failed: int = 0
    longest: float = 0.0
    hit: int = 0
    hit_failed: int = 0
    noticed: float = 0.0
    broken: int = 0
    add: float | None = None
    meanwhile: float | None = None
    healed: float | None = None
    problem: str = ""

    def rows(self, store: str, fault: str, routes: int) -> list[Row]:
        """As results."""
        rows = []
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, (int, float)):
                unit = "_s" if name in {"longest", "noticed", "add", "meanwhile", "healed"} else ""
                rows.append(Row(store, routes, fault, 0, 0, name + unit, float(value)))
        if self.problem:
            rows.append(Row(store, routes, fault, 0, 0, "error", 0.0, self.problem))
        return rows


def applies(store: str, fault: str) -> bool:
    """True if a fault can happen to a store."""
    what = FAULTS[fault]
    return (store != "file" or not (what.killable or what.network)) and (store == TWO_TIERS or not what.tiers)


async def run(store: str, fault: str, scale: Scale, directory: Path) -> Outcome:
    """Let it happen. Raises ServerError if there is no program for the store."""
    what, made = FAULTS[fault], STORES[store][1](directory)
    outcome, managed = Outcome(), what.managed or store == TWO_TIERS
    try:
        async with Site.open(made, directory, routes=scale.routes, managed=managed, network=what.network) as site:
            await Cell(site, what, scale, outcome).run()
    except (HubError, ServerError, OSError, EOFError) as error:
        outcome.problem += f" {type(error).__name__}: {error}"
    outcome.problem = outcome.problem.strip()
    return outcome


class Cell:
    """A fault at a site."""

    def __init__(self, site: Site, fault: Fault, scale: Scale, outcome: Outcome):
        self.site, self.fault, self.scale, self.outcome = site, fault, scale, outcome

    def _complain(self, problem: str) -> None:
        self.outcome.problem += f" {problem}"

    async def run(self) -> None:
        """Let it happen while users are at work."""
        async with contextlib.aclosing(self.fault.happen(self.site, self.scale.pause)) as happening:
            hit = await anext(happening)
            self.outcome.before = await self._right()
            await self._watch(happening, hit)
        await self._assess(hit)

    async def _watch(self, happening: Steps, hit: list[str]) -> None:
        table, port = self.site.table, self.site.port
        quiet = Load(port, {spec: table[spec] for spec in table if spec not in hit})
        struck = Load(port, {spec: table[spec] for spec in hit})
        url = f"http://127.0.0.1:{port}{self.site.socket}ws"
        async with quiet, struck, OpenSocket(url) as socket:
            await asyncio.gather(quiet.a_round(), struck.a_round())
            await self._happen(happening)
            await asyncio.gather(quiet.a_round(), struck.a_round())
        self._count(quiet.tally, struck.tally, socket.tally)

    async def _happen(self, happening: Steps) -> None:
        await anext(happening)
        meanwhile = asyncio.create_task(self._log_in(_MEANWHILE))
        try:
            await anext(happening, None)
            over = time.monotonic()
            self.outcome.add = await self._log_in(_AFTER)
        finally:
            self.outcome.meanwhile = await meanwhile
        if await self.site.seconds_to_heal(self.scale.limit) is not None:
            self.outcome.healed = time.monotonic() - over

    async def _log_in(self, spec: str) -> float | None:
        try:
            return await self.site.seconds_to_log_in(spec, self.scale.limit)
        except (HubError, OSError, EOFError, asyncio.TimeoutError) as error:
            self._complain(f"{spec} could not be added: {error}")
            return None

    def _count(self, quiet: Tally, struck: Tally, socket: Tally) -> None:
        outcome = self.outcome
        outcome.sent, outcome.failed, outcome.longest = quiet.sent, quiet.failed, quiet.longest
        outcome.hit, outcome.hit_failed, outcome.noticed = struck.sent, struck.failed, struck.noticed
        outcome.broken = socket.failed
        if quiet.failed:
            self._complain(f"{quiet.failed} requests failed, such as {', '.join(quiet.examples)}.")

    async def _assess(self, hit: list[str]) -> None:
        wrong = await self.site.wrong()
        came = {_MEANWHILE, _AFTER} & set(self.site.table)
        self.outcome.after = await self._right() - len(came - set(wrong))
        known, told = {*self.site.table, self.site.socket}, set(await self.site.hub.call("routes"))
        if wrong:
            self._complain(f"Wrong at the end: {', '.join(wrong[:_NAMED])}.")
        if differs := await self.site.differs():
            self._complain(f"{differs}.")
        if self.outcome.broken and self._spares_all(hit):
            self._complain("An open websocket was closed.")
        if known != told:
            self._complain(f"The hub knows other routes: {sorted(known ^ told)[:_NAMED]}.")

    def _spares_all(self, hit: list[str]) -> bool:
        return "/" not in hit

    async def _right(self) -> int:
        """How many routes lead where they should."""
        return len(self.site.table) - len(set(await self.site.wrong()) & set(self.site.table))
