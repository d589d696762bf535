"""The one poller of Traefik's API, shared by everything that waits for Traefik.

Every commit that Traefik is told about carries a new *revision*, a number that Traefik's API gives back. Once the API
shows it, Traefik has read the store after that commit, so what it says about a router is not left over from
before. That takes one small request for all who wait; only then are their routers and services looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from logging import Logger, LoggerAdapter
from typing import Any, Final, TypeAlias

from .errors import RouteRejectedError, TraefikError
from .readiness import Pending, Ready, Rejected, Verdict, judge
from .traefik import TraefikView
from .translate import Entry

Log: TypeAlias = "Logger | LoggerAdapter[Any]"

#: Seconds between two looks: an eighth of the time since the commit, so that a wait is lengthened by
#: an eighth at most and a busy Traefik is not asked hundreds of times.
_FIRST_LOOK: Final = 0.003
_LONGEST_LOOK: Final = 0.5
#: One request for the whole table costs about as much as one for a router per this many of its rows.
_TABLE_ROWS_PER_REQUEST: Final = 12


@dataclass(eq=False)
class Waiter:
    """Somebody who waits until Traefik serves an entry.

    Args:
        name: name of the route.
        entry: what Traefik is to serve.
        fallback: what to go back to if it does not come to that.
        done: resolved when Traefik serves it, or set to :class:`RouteRejectedError`.
        revision: the revision that Traefik must have loaded, None as long as the entry is not in the store.
        verdict: what was seen last.
        rejected_at: the revision at which Traefik was first seen to reject it, None if never.
    """

    name: str
    entry: Entry
    fallback: Entry | None
    done: asyncio.Future[None]
    revision: int | None = None
    verdict: Verdict = field(default_factory=lambda: Pending("it was not looked at yet"))
    rejected_at: int | None = None


class TraefikWatch:
    """Follows what Traefik has loaded.

    Args:
        traefik: whom to ask.
        rows: tells how many routes there are.
        progress: called when Traefik has caught up or may no longer be waited for.
        ask_again: called to have Traefik told of a further revision.
        patience: seconds after which new commits are no longer held back for a Traefik that has not caught up.
        concurrency: requests under way at once.
        log: where to say that Traefik cannot be reached.
    """

    def __init__(
        self,
        traefik: TraefikView,
        *,
        rows: Callable[[], int],
        progress: Callable[[], None],
        ask_again: Callable[[], None],
        patience: float,
        concurrency: int,
        log: Log,
    ) -> None:
        self._traefik = traefik
        self._rows = rows
        self._progress = progress
        self._ask_again = ask_again
        self._patience = patience
        self._concurrency = concurrency
        self._log = log
        self._waiters: dict[str, list[Waiter]] = {}
        self._revision = 0
        self._announced_at = 0.0
        self._since = 0.0
        self._wanted = asyncio.Event()
        self._complained = False
        #: What Traefik has been seen to serve; whoever changes an entry in the store removes it here.
        self.served: dict[str, Entry] = {}
        #: The revision that Traefik has loaded, None if none of ours.
        self.seen: int | None = None
        #: Traefik's version, None as long as it was not asked.
        self.version: str | None = None
        #: Why Traefik could not be asked, None if it could.
        self.problem: str | None = None

    @property
    def behind(self) -> bool:
        """Whether Traefik is still at work on an earlier commit, so that more had better wait and be grouped."""
        if self.seen is None or self._revision <= self.seen or self.problem is not None:
            return False
        return self._now() - self._announced_at < self._patience

    @property
    def settled(self) -> bool:
        """Whether Traefik is known to have loaded all that it was told of."""
        return self.problem is None and self.seen is not None and self._revision <= self.seen

    def expect(self, name: str, entry: Entry, fallback: Entry | None) -> Waiter:
        """Register a waiter; it is looked after once :meth:`committed` has been called for it."""
        waiter = Waiter(name, entry, fallback, asyncio.get_running_loop().create_future())
        self._waiters.setdefault(name, []).append(waiter)
        return waiter

    def waiters(self, name: str) -> list[Waiter]:
        """Those who wait for a route, in the order in which they came."""
        return list(self._waiters.get(name, ()))

    def forget(self, waiter: Waiter) -> None:
        """Remove a waiter."""
        waiters = self._waiters.get(waiter.name, [])
        with contextlib.suppress(ValueError):
            waiters.remove(waiter)
        if not waiters:
            self._waiters.pop(waiter.name, None)

    def announce(self, revision: int) -> None:
        """Say that Traefik has been told of this revision just now."""
        self._revision = revision
        self._announced_at = self._since = self._now()
        self._wanted.set()

    def committed(self, waiters: Iterable[Waiter], revision: int) -> None:
        """Say that what these wait for is in the store since this revision at the latest."""
        for waiter in waiters:
            waiter.revision = revision
            if not self._wanted.is_set():
                self._since = self._now()
                self._wanted.set()

    def fail_all(self, error: Exception) -> None:
        """Let every waiter fail."""
        for waiters in list(self._waiters.values()):
            for waiter in list(waiters):
                _fail(waiter, error)

    async def run(self) -> None:
        """Poll for ever, while there is something to wait for."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(self._pause())
            await self._look()
            if self._idle():
                self._wanted.clear()

    def _idle(self) -> bool:
        waiting = any(w.revision is not None and not w.done.done() for ws in self._waiters.values() for w in ws)
        return not waiting and self._revision <= (self.seen or 0)

    def _pause(self) -> float:
        return min(max((self._now() - self._since) / 8, _FIRST_LOOK), _LONGEST_LOOK)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _look(self) -> None:
        try:
            self.seen = await self._traefik.revision()
            # Before it has loaded anything of ours, its API need not be reachable at all.
            if self.version is None and self.seen is not None:
                self.version = await self._traefik.version()
            await self._look_at_routes(self.seen or 0)
        except TraefikError as error:
            self._complain(str(error))
        except Exception:
            self._log.exception("Traefik's API gave an answer that kvproxy does not understand.")
        else:
            self.problem = None
        if not self.behind:
            self._progress()

    def _complain(self, problem: str) -> None:
        self.problem = problem
        # A Traefik that was never there is a matter for whoever waits for it at start, who says so himself.
        if not self._complained and self.seen is not None and self._now() - self._since > 1:
            self._complained = True
            self._log.warning("%s Routes are kept in the store until Traefik is back.", problem)

    async def _look_at_routes(self, seen: int) -> None:
        if self._complained:
            self._complained = False
            self._log.info("Traefik's API answers again.")
        due = [
            name
            for name, waiters in self._waiters.items()
            if any(w.revision is not None and w.revision <= seen and not w.done.done() for w in waiters)
        ]
        if len(due) * _TABLE_ROWS_PER_REQUEST > self._rows():
            table = await self._traefik.table()
            for name in due:
                self._judge(name, table.routers.get(name), table.services.get(name))
            return
        limit = asyncio.Semaphore(self._concurrency)
        await asyncio.gather(*(self._look_at(name, limit) for name in due))

    async def _look_at(self, name: str, limit: asyncio.Semaphore) -> None:
        async with limit:
            router, service = await self._traefik.router(name), await self._traefik.service(name)
        self._judge(name, router, service)

    def _judge(self, name: str, router: Any, service: Any) -> None:
        waiters = [w for w in self._waiters.get(name, ()) if w.revision is not None]
        if not waiters:
            return
        # The last one counts: what the others asked for has been overtaken.
        entry = waiters[-1].entry
        verdict = judge(entry, name, router, service)
        if isinstance(verdict, Ready):
            self.served[name] = entry
        for waiter in waiters:
            waiter.verdict = verdict
            if isinstance(verdict, Ready) and not waiter.done.done():
                waiter.done.set_result(None)
            elif isinstance(verdict, Rejected):
                self._rejected(waiter, verdict)

    def _rejected(self, waiter: Waiter, verdict: Rejected) -> None:
        """Believe it only of a later read of the store than the one that first said so.

        A store that gives no snapshots may have shown Traefik a part of the route only. A further revision, which the
        rejection asks for, is in a read that began when all of it was there.
        """
        if waiter.rejected_at is None:
            waiter.rejected_at = self.seen
            self._ask_again()
        elif self.seen is not None and self.seen > waiter.rejected_at:
            _fail(waiter, RouteRejectedError(f"Traefik rejects the route: {verdict.why}"))


def _fail(waiter: Waiter, error: Exception) -> None:
    if not waiter.done.done():
        waiter.done.set_exception(error)
