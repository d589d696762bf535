"""The loop that polls Traefik's API, on behalf of everything that waits for Traefik.

Every commit that Traefik is notified of carries a new *revision*, a number that Traefik's API shows. A Traefik that
shows it has read the store after that commit, so its answer about a router is not left over from before. That takes
one small request for all waiting callers; their routers and services are requested only after that.

It polls now and then even if no caller waits. A Traefik that shows an older revision than the last one has missed the
notification, as after a failover of the store, or does not follow the store: it is notified again, with growing pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from .._loop_stalls import LoopStalls
from .._types import Log
from ..routing.table import DesiredTable
from ..traefik.key_check import suspects
from ..traefik.replicas import Fleet, Replicas
from .observed import ObservedState
from .observer import Observer
from .progress import Progress, settle
from .reasons import Facts, Loaded, explain

#: Limits of the seconds between two polls. The pause is an eighth of the time since the commit, so that a wait is
#: lengthened by an eighth at most and a busy Traefik is not asked hundreds of times.
_FIRST_PAUSE: Final = 0.003
_LONGEST_PAUSE: Final = 0.5
#: The first poll after a commit waits for this part of the time that Traefik took last, but not for more seconds than
#: these: before that it has nothing to tell, most likely.
_OF_USUAL: Final = 0.6
_LONGEST_FIRST: Final = 0.1
#: Seconds between two polls if no caller waits.
_IDLE_PAUSE: Final = 2.0


class TraefikLoop:
    """Follows the revision that Traefik has loaded.

    Args:
        fleet: the replicas to ask.
        progress: takes the answers, and holds the callers that wait for them.
        table: the desired entries.
        observed: the last known contents of the store, for reasons.
        provider_error: returns the last error of Traefik's provider since a moment of the loop's time; None if
            Traefik's log is not known.
        grace: seconds for which one replica that does not answer is waited for.
        stalls: measures for how long the hub's own event loop stands still.
        concurrency: requests under way at once.
        observer: receives each repeated notification of Traefik.
        log: takes the message that Traefik cannot be reached.
    """

    def __init__(
        self,
        fleet: Fleet,
        progress: Progress,
        table: DesiredTable,
        observed: ObservedState,
        *,
        provider_error: Callable[[float], str | None],
        grace: float,
        stalls: LoopStalls,
        concurrency: int,
        observer: Observer,
        log: Log,
    ) -> None:
        self._progress = progress
        self._table = table
        self._observed = observed
        self._provider_error = provider_error
        self._observer = observer
        self._log = log
        self._reported = False
        self._complained = False
        # The time of the last poll.
        self._polled = 0.0
        #: The replicas that it asks.
        self.replicas = Replicas(fleet, grace=grace, stalls=stalls, concurrency=concurrency, log=log)

    async def run(self) -> None:
        """Poll forever: often while a caller waits, and now and then if none does."""
        failing = False
        try:
            while True:
                await self._rest()
                try:
                    await self._poll()
                    failing = False
                except Exception:
                    if not failing:
                        self._log.exception("kvproxy does not understand Traefik's answers. Retrying.")
                    failing = True
                if self._progress.idle:
                    self._progress.traefik_due.clear()
        finally:
            await self.replicas.aclose()

    async def _rest(self) -> None:
        loop, progress = asyncio.get_running_loop(), self._progress
        timer = loop.call_later(_IDLE_PAUSE, progress.traefik_due.set)
        await progress.traefik_due.wait()
        timer.cancel()
        since = loop.time() - progress.told_at
        rest = 0.0 if progress.in_sync else min(progress.pace.took * _OF_USUAL, _LONGEST_FIRST) - since
        timer = loop.call_later(min(max(since / 8, rest, _FIRST_PAUSE), _LONGEST_PAUSE), progress.poll_due.set)
        await progress.poll_due.wait()
        timer.cancel()
        await asyncio.sleep(max(0, self._polled + _FIRST_PAUSE - loop.time()))

    async def _poll(self) -> None:
        polls = self._progress.take_polls()
        self._progress.poll_due.clear()
        try:
            await self._ask_all()
        finally:
            self._polled = self._now()
            settle(polls)

    async def _ask_all(self) -> None:
        await self.replicas.look()
        self._learn()
        self._complain()
        self._notify_again()
        due = self._progress.due()
        for name, verdict in (await self.replicas.judge(due, self._table.count)).items():
            self._progress.judged(due[name], verdict)
        if self._progress.store_waits and not self._progress.behind:
            self._progress.store_due.set()

    def _learn(self) -> None:
        replicas = self.replicas
        if self._progress.learn(replicas.seen, replicas.problem, replicas.version) and self._reported:
            self._reported = False
            self._log.info("Traefik follows the store again.")

    def _notify_again(self) -> None:
        progress, pace = self._progress, self._progress.pace
        # Before the first notification there is none to miss; Traefik may serve the routes of an earlier start.
        if progress.told in {0, progress.loaded} or not pace.due(self._now()):
            return
        pace.told(self._now())
        self._observer.told_again()
        progress.require_notification()
        if progress.problem is None and pace.in_vain and not self._reported:
            self._reported = True
            self._log.error("Traefik does not follow the store: %s", explain(self.facts()))

    def facts(self, revision: int | None = None) -> Facts:
        """Return the observations about Traefik.

        Args:
            revision: the one that it should have loaded; None for the last one that it was notified of.
        """
        keys = self._observed.beside(self._table.setup.config)
        return replace(self.facts_without_keys(revision), suspects=suspects(keys))

    def facts_without_keys(self, revision: int | None = None) -> Facts:
        """Return the same without the suspects, which take a look at every key in the store."""
        progress = self._progress
        return Facts(
            # Both of the same moment: the last poll may not have ended yet.
            api_problem=self.replicas.problem or "",
            api_silent=self.replicas.silent,
            loaded=Loaded.of(progress.loaded, progress.told if revision is None else revision),
            told_in_vain=progress.pace.in_vain,
            provider_error=self._provider_error(progress.pace.since),
        )

    def _complain(self) -> None:
        # A Traefik that has never answered is reported by the code that waits for it at start.
        if self._progress.problem is None:
            if self._complained:
                self._log.info("Traefik's API answers again.")
            self._complained = False
        elif not self._complained and self._progress.loaded is not None and self._silent() > 1:
            self._complained = True
            self._log.warning("%s Routes are kept in the store until Traefik is back.", self._progress.problem)

    def _silent(self) -> float:
        return self._now() - max(replica.answered for replica in self.replicas.counted)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
