"""The one poller of Traefik's API, shared by everything that waits for Traefik.

Every commit that Traefik is told about carries a new *revision*, a number that Traefik's API gives back. Once the API
shows it, Traefik has read the store after that commit, so what it says about a router is not left over from
before. That takes one small request for all who wait; only then are their routers and services looked at.

It looks now and then even if nobody waits. A Traefik that shows an older revision than it was told of has missed the
message, as after a failover of the store, or follows nothing: it is told again, more and more rarely.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from .._loop_stalls import LoopStalls
from .._types import Log
from ..errors import RouteRejectedError
from ..routing.entry import Entry
from ..traefik.key_check import Suspects
from ..traefik.readiness import Pending, Ready, Rejected, Verdict
from ..traefik.replicas import Fleet, Replicas
from ..traefik.static_config import parse_version
from .observer import Observer
from .promises import settle
from .reasons import Facts, Loaded, explain
from .resync import Pace

#: Seconds between two looks: an eighth of the time since the commit, so that a wait is lengthened by
#: an eighth at most and a busy Traefik is not asked hundreds of times.
_FIRST_LOOK: Final = 0.003
_LONGEST_LOOK: Final = 0.5
#: Seconds between two looks if nobody waits for anything.
_IDLE_LOOK: Final = 2.0


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


class TraefikLoop:
    """Follows what Traefik has loaded.

    Args:
        fleet: whom to ask.
        rows: tells how many routes there are.
        progress: called when Traefik has caught up or may no longer be waited for.
        ask_again: called to have Traefik told of a further revision.
        suspects: tells which keys in the store may keep Traefik from reading it.
        provider_error: tells the last error of Traefik's provider since a moment of the loop's time; None if Traefik's
            log is not known.
        patience: seconds for which commits are held back at most for a Traefik that has not caught up.
        grace: seconds for which one replica that does not answer is waited for.
        stalls: measures for how long the hub's own event loop stands still.
        concurrency: requests under way at once.
        observer: is told when Traefik has to be told again.
        log: where to say that Traefik cannot be reached.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        rows: Callable[[], int],
        progress: Callable[[], None],
        ask_again: Callable[[], None],
        suspects: Callable[[], Suspects],
        provider_error: Callable[[float], str | None],
        patience: float,
        grace: float,
        stalls: LoopStalls,
        concurrency: int,
        observer: Observer,
        log: Log,
    ) -> None:
        self._replicas = Replicas(fleet, grace=grace, stalls=stalls, concurrency=concurrency, log=log)
        self._rows = rows
        self._progress = progress
        self._ask_again = ask_again
        self._suspects = suspects
        self._provider_error = provider_error
        self._patience = patience
        self._observer = observer
        self._log = log
        self._waiters: dict[str, list[Waiter]] = {}
        self._looked: list[asyncio.Future[None]] = []
        self._revision = 0
        self._since = 0.0
        self._pace = Pace()
        self._reported = False
        self._wanted = asyncio.Event()
        self._complained = False
        #: What Traefik has been seen to serve; whoever changes an entry in the store removes it here.
        self.served: dict[str, Entry] = {}
        #: The revision that Traefik has loaded, None if none of ours.
        self.seen: int | None = None

    @property
    def replicas(self) -> Replicas:
        """Whom it asks."""
        return self._replicas

    @property
    def version(self) -> tuple[int, ...] | None:
        """The oldest version among the replicas, None as long as none was asked."""
        return min(map(parse_version, self._replicas.versions), default=None)

    @property
    def problem(self) -> str | None:
        """Why Traefik could not be asked, None if it could."""
        return self._replicas.problem

    @property
    def behind(self) -> bool:
        """Whether Traefik is still at work on an earlier commit, so that more had better wait and be grouped."""
        if self.seen is None or self._revision <= self.seen or self.problem is not None:
            return False
        return self._pace.stalled(self._now()) < min(self._patience, self._pace.usual)

    @property
    def settled(self) -> bool:
        """Whether Traefik is known to have loaded just what it was told of last.

        It may show a later revision: that of an earlier hub, which a store has lost that has gone back to old data.
        """
        return self.problem is None and self.seen is not None and self._revision == self.seen

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
        now = self._now()
        if self._revision <= (self.seen or 0):
            self._pace.begin(now)
        self._revision = revision
        self._since = now
        self._wanted.set()

    def committed(self, waiters: Iterable[Waiter], revision: int) -> None:
        """Say that what these wait for is in the store since this revision at the latest."""
        for waiter in waiters:
            waiter.revision = revision
            if not self._wanted.is_set():
                self._since = self._now()
                self._wanted.set()

    def looked(self) -> asyncio.Future[None]:
        """Resolved when Traefik has been looked at once more, by a look that begins after this."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._looked.append(done)
        self._wanted.set()
        return done

    def fail_all(self, error: Exception) -> None:
        """Let every waiter fail."""
        for waiters in list(self._waiters.values()):
            for waiter in list(waiters):
                _fail(waiter, error)

    async def run(self) -> None:
        """Poll for ever: often while there is something to wait for, and now and then if there is not."""
        stumbled = False
        try:
            while True:
                await self._rest()
                try:
                    await self._look()
                    stumbled = False
                except Exception:
                    if not stumbled:
                        self._log.exception("kvproxy does not understand what it sees of Traefik. Looking again.")
                    stumbled = True
                if self._idle():
                    self._wanted.clear()
        finally:
            await self._replicas.aclose()

    async def _rest(self) -> None:
        timer = asyncio.get_running_loop().call_later(_IDLE_LOOK, self._wanted.set)
        await self._wanted.wait()
        timer.cancel()
        await asyncio.sleep(self._pause())

    def _idle(self) -> bool:
        waiting = any(w.revision is not None and not w.done.done() for ws in self._waiters.values() for w in ws)
        return not waiting and self._revision == (self.seen or 0)

    def _pause(self) -> float:
        return min(max((self._now() - self._since) / 8, _FIRST_LOOK), _LONGEST_LOOK)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _look(self) -> None:
        looked, self._looked = self._looked, []
        try:
            await self._look_at_all()
        finally:
            settle(looked)

    async def _look_at_all(self) -> None:
        await self._replicas.look()
        self._take(self._replicas.seen)
        self._complain()
        self._tell_again()
        await self._look_at_routes(self.seen or 0)
        if not self.behind:
            self._progress()

    def _take(self, seen: int | None) -> None:
        """Learn which revision Traefik has loaded."""
        before, self.seen = self.seen, seen
        if self.problem is not None or (seen or 0) < (before or 0):
            # It has been started anew, or has lost something: nobody knows what it serves now.
            self.served.clear()
        if self.problem is not None:
            self._pace.not_seen()
        if (seen or 0) < self._revision <= (before or 0):
            self._pace.begin(self._now())
        if (seen or 0) > (before or 0):
            self._pace.progress(self._now(), all_of_it=self._revision <= (seen or 0))
            if self._reported:
                self._reported = False
                self._log.info("Traefik follows the store again.")

    def _tell_again(self) -> None:
        # As long as it was told of nothing, it has missed nothing: it may serve the routes of an earlier start.
        if self._revision in {0, self.seen} or not self._pace.due(self._now()):
            return
        self._pace.told(self._now())
        self._observer.told_again()
        self._ask_again()
        if self.problem is None and self._pace.in_vain and not self._reported:
            self._reported = True
            self._log.error("Traefik does not follow the store: %s", explain(self.facts()))

    def facts(self, revision: int | None = None) -> Facts:
        """What is known of Traefik.

        Args:
            revision: the one that it should have loaded; None for the one that it was told of last.
        """
        return replace(self.glimpse(revision), suspects=self._suspects())

    def glimpse(self, revision: int | None = None) -> Facts:
        """The same without the suspects, for which every key in the store is looked at."""
        wanted = self._revision if revision is None else revision
        return Facts(
            api_problem=self.problem or "",
            api_silent=self._replicas.silent,
            loaded=Loaded.of(self.seen, wanted),
            told_in_vain=self._pace.in_vain,
            provider_error=self._provider_error(self._pace.since),
        )

    def _complain(self) -> None:
        # A Traefik that was never there is a matter for whoever waits for it at start, who says so himself.
        if self.problem is None:
            if self._complained:
                self._log.info("Traefik's API answers again.")
            self._complained = False
        elif not self._complained and self.seen is not None and self._silent() > 1:
            self._complained = True
            self._log.warning("%s Routes are kept in the store until Traefik is back.", self.problem)

    def _silent(self) -> float:
        return self._now() - max(replica.answered for replica in self._replicas.counted)

    async def _look_at_routes(self, seen: int) -> None:
        due = {
            name: self._committed_of(name)[-1].entry
            for name, waiters in self._waiters.items()
            if any(w.revision is not None and w.revision <= seen and not w.done.done() for w in waiters)
        }
        for name, verdict in (await self._replicas.judge(due, self._rows())).items():
            self._judge(name, due[name], verdict)

    def _committed_of(self, name: str) -> list[Waiter]:
        return [waiter for waiter in self._waiters.get(name, ()) if waiter.revision is not None]

    def _judge(self, name: str, entry: Entry, verdict: Verdict) -> None:
        waiters = self._committed_of(name)
        # The last one counts: what the others asked for has been overtaken.
        if not waiters or waiters[-1].entry is not entry:
            return
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
