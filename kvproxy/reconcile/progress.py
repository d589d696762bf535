"""The state that the two loops share: the progress of each, and the callers that wait for it.

The store loop writes ``told``, the Traefik loop writes ``loaded``; each wakes the other by an event. Nothing in here
reads a store or asks a Traefik.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ..errors import RouteRejectedError
from ..routing.entry import Entry
from ..routing.route import Route
from ..traefik.readiness import Pending, Ready, Rejected, Verdict
from .pace import Pace

Done: TypeAlias = "asyncio.Future[None]"

_UNSEEN: Final = Pending("it was not looked at yet")


@dataclass(eq=False)
class Waiter:
    """A caller that waits until Traefik serves an entry.

    Args:
        entry: the entry that Traefik is to serve.
        fallback: the entry to go back to if that fails.
        done: resolved when Traefik serves it, or set to an error.
        revision: the revision that Traefik must have loaded, None as long as the entry is not in the store.
        verdict: the last answer about the entry.
        rejected_at: the revision at which Traefik was first seen to reject it, None if never.
        missing_since: the loop's time since which Traefik has the revision, but not the entry; None if that is not so.
    """

    entry: Entry
    fallback: Entry | None
    done: Done
    revision: int | None = None
    verdict: Verdict = _UNSEEN
    rejected_at: int | None = None
    missing_since: float | None = None

    def fail(self, error: Exception) -> None:
        """Let the caller fail, unless it has an answer already."""
        settle([self.done], error)


class Progress:
    """Revisions told and loaded, entries served, waiting callers.

    Args:
        patience: seconds for which commits are held back at most for a Traefik that is still loading.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._waiters: dict[str, list[Waiter]] = {}
        self._commits: dict[str, list[Done]] = {}
        self._reads: list[Done] = []
        self._polls: list[Done] = []
        #: Set when the store loop has work to do.
        self.store_due = asyncio.Event()
        #: True while the store loop has work that waits for Traefik, so that it is woken after each poll.
        self.store_waits = True
        #: Set when Traefik is to be polled often, as a caller waits for it.
        self.traefik_due = asyncio.Event()
        #: Set when that is to happen at once.
        self.poll_due = asyncio.Event()
        #: The revision that Traefik was notified of last, and the loop's time from which it is waited for.
        self.told = 0
        self.told_at = 0.0
        #: True if Traefik is to be notified of a new revision, though nothing else may have changed.
        self.notification_due = False
        #: True if the store has lost the revision that Traefik was notified of, so that waiting for it is useless.
        self.told_is_lost = False
        # Names of removed entries that Traefik may still serve, each with the first revision that does not have it, and
        # its route if it was one.
        self._lingering: dict[str, tuple[int, Route | None]] = {}
        #: True once Traefik has been granted access to the store; until then commits do not wait for it.
        self.admitted = False
        #: The revision that Traefik has loaded, None if none of ours.
        self.loaded: int | None = None
        #: Why Traefik could not be asked, None if it could.
        self.problem: str | None = None
        #: The oldest version among the replicas, None as long as none was asked.
        self.version: tuple[int, ...] | None = None
        #: The time that Traefik takes to load a revision.
        self.pace = Pace()
        #: The generation of each entry that Traefik has been seen to serve, by name.
        self.served: dict[str, int] = {}

    @property
    def behind(self) -> bool:
        """True while Traefik is still loading an earlier commit, so that further edits are held back and batched."""
        if not self.admitted or self.told_is_lost:
            return False
        if self.loaded is None or self.told <= self.loaded or self.problem is not None:
            return False
        return self.pace.stalled(_now()) < min(self._patience, self.pace.usual)

    @property
    def in_sync(self) -> bool:
        """True if Traefik is known to have loaded exactly the revision that it was notified of last.

        It may show a later revision: one of an earlier hub, which the store has lost by going back to old data.
        """
        return self.problem is None and self.loaded is not None and self.told == self.loaded

    def require_notification(self) -> None:
        """Have Traefik notified of a new revision, though nothing else has changed."""
        self.notification_due = True
        self.store_due.set()

    def notified(self, revision: int) -> None:
        """Record that Traefik has just been notified of this revision."""
        now = _now()
        if self.told <= (self.loaded or 0):
            self.pace.begin(now)
        self.told, self.told_at, self.told_is_lost = revision, now, False
        self.traefik_due.set()

    def learn(self, loaded: int | None, problem: str | None, version: tuple[int, ...] | None) -> bool:
        """Record what Traefik shows; returns True if that is progress.

        Args:
            loaded: the revision that every replica has loaded at least.
            problem: why Traefik could not be asked, None if it could.
            version: the oldest version among the replicas.
        """
        before, self.loaded = self.loaded, loaded
        if version != self.version:
            # It decides if there may be groups.
            self.store_waits = True
        self.problem, self.version = problem, version
        now, was = loaded or 0, before or 0
        if problem is not None or now < was:
            # It was restarted or has lost a part of its configuration: what it serves now is unknown.
            self.served.clear()
        if problem is not None:
            self.pace.not_seen()
        if now < self.told <= was:
            self.pace.begin(_now())
        if now > was:
            self.pace.progress(_now(), all_of_it=self.told <= now)
        if self._lingering:
            self._lingering = {name: gone for name, gone in self._lingering.items() if gone[0] > now}
        return now > was

    def removed(self, name: str, route: Route | None = None) -> None:
        """Record that an entry has just been removed from the store; it was that of a route, or None."""
        # A removal that Traefik was not notified of comes with the next revision at the latest.
        self._lingering[name] = self.told + self.notification_due, route

    def lingers(self, name: str) -> bool:
        """Return True if a removed entry may still be served by a Traefik that has not loaded its removal."""
        return name in self._lingering

    @property
    def lingering(self) -> list[Route]:
        """The removed routes that may still be served by a Traefik that has not loaded their removal."""
        return [route for _, route in self._lingering.values() if route is not None]

    # Callers that wait for Traefik.

    def expect(self, entry: Entry, fallback: Entry | None) -> Waiter:
        """Register a caller; Traefik is asked on its behalf once :meth:`committed` has been called for it."""
        waiter = Waiter(entry, fallback, asyncio.get_running_loop().create_future())
        self._waiters.setdefault(entry.name, []).append(waiter)
        return waiter

    def waiters(self, name: str) -> list[Waiter]:
        """The callers that wait for a route, in the order in which they came."""
        return list(self._waiters.get(name, ()))

    def forget(self, waiter: Waiter) -> None:
        """Remove a caller."""
        name = waiter.entry.name
        waiters = self._waiters.get(name, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiters.pop(name, None)

    def committed(self, waiters: Iterable[Waiter]) -> None:
        """Record that the entries of these callers are in the store, at the latest since the last revision."""
        for waiter in waiters:
            waiter.revision = self.told
            self._poll_often()

    def _poll_often(self) -> None:
        if not self.traefik_due.is_set():
            self.told_at = _now()
            self.traefik_due.set()

    @property
    def idle(self) -> bool:
        """True if no caller waits for Traefik or for a poll of it, and Traefik is in sync."""
        waiting = any(w.revision is not None and not w.done.done() for ws in self._waiters.values() for w in ws)
        return not (waiting or self._polls) and self.told == (self.loaded or 0)

    def due(self) -> dict[str, Entry]:
        """Return the entries to ask Traefik about, by name: loaded by now, and waited for by a caller."""
        loaded = self.loaded or 0
        return {
            name: _in_store(waiters)[-1].entry
            for name, waiters in self._waiters.items()
            if any(w.revision is not None and w.revision <= loaded and not w.done.done() for w in waiters)
        }

    def judged(self, entry: Entry, verdict: Verdict) -> None:
        """Record what Traefik shows of an entry, and answer the callers that wait for it."""
        waiters = _in_store(self._waiters.get(entry.name, ()))
        # The last caller counts: its edit has replaced those of the others.
        if not waiters or not waiters[-1].entry.is_generation_of(entry):
            return
        if isinstance(verdict, Ready):
            self.served[entry.name] = entry.generation
        for waiter in waiters:
            waiter.verdict = verdict
            if isinstance(verdict, Ready):
                settle([waiter.done])
            elif isinstance(verdict, Rejected):
                self._rejected(waiter, verdict)
            else:
                self._missing(waiter)

    def _rejected(self, waiter: Waiter, verdict: Rejected) -> None:
        """Accept a rejection only if Traefik repeats it after a further read of the store.

        A store without snapshots may have shown Traefik only a part of the route. The first rejection requests a
        further revision; a read that contains it began when the route was complete.
        """
        if waiter.rejected_at is None:
            waiter.rejected_at = self.loaded
            self.require_notification()
        elif self.loaded is not None and self.loaded > waiter.rejected_at:
            waiter.fail(RouteRejectedError(f"Traefik rejects the route: {verdict.why}"))

    def _missing(self, waiter: Waiter) -> None:
        """Have Traefik read again if it has read this entry only in part for as long as it usually needs for all.

        A store has no snapshots for Traefik: it lists the keys first, and reads their values later. If it missed the
        notification of a commit that came between, it shows the commit's revision without all of its routes.
        """
        now = _now()
        if waiter.missing_since is None:
            waiter.missing_since = now
        elif now - waiter.missing_since >= self.pace.usual:
            waiter.missing_since = now
            self.require_notification()

    def next_poll(self, *, at_once: bool = True) -> Done:
        """Return a future that is resolved after the next poll of Traefik that begins from now on.

        Args:
            at_once: False if that poll may wait until Traefik is likely to have loaded what it was notified of.
        """
        self._polls.append(done := _future())
        self._poll_often()
        if at_once:
            self.poll_due.set()
        return done

    def take_polls(self) -> list[Done]:
        """Return, and forget, the futures of :meth:`next_poll`, to be settled after the poll that begins now."""
        polls, self._polls = self._polls, []
        return polls

    def fail_waiters(self, error: Exception) -> None:
        """Fail every caller that waits for Traefik."""
        for waiters in list(self._waiters.values()):
            for waiter in list(waiters):
                waiter.fail(error)

    # Callers that wait for the store.

    def next_commit(self, name: str) -> Done:
        """Return a future that is resolved when the present desired entry of this name is in the store."""
        self._commits.setdefault(name, []).append(done := _future())
        return done

    def next_read(self) -> Done:
        """Return a future that is resolved when the store has been read in full; differences are repaired after it."""
        self._reads.append(done := _future())
        self.store_due.set()
        return done

    @property
    def read_wanted(self) -> bool:
        """True if a caller waits for a read."""
        return bool(self._reads)

    def take_commits(self, names: Iterable[str]) -> dict[str, list[Done]]:
        """Return, and forget, the futures of these entries, to be settled or put back."""
        return {name: self._commits.pop(name, []) for name in names}

    def put_back_commits(self, commits: Mapping[str, list[Done]]) -> None:
        """Have these futures wait for a later commit."""
        for name, futures in commits.items():
            self._commits[name] = futures + self._commits.get(name, [])

    def take_reads(self) -> list[Done]:
        """Return, and forget, the futures of reads, to be settled or put back."""
        reads, self._reads = self._reads, []
        return reads

    def put_back_reads(self, reads: Sequence[Done]) -> None:
        """Have these futures wait for a later read."""
        self._reads = [*reads, *self._reads]

    def fail_commits_and_reads(self, error: Exception) -> None:
        """Fail every caller that waits for the store."""
        for futures in self.take_commits(list(self._commits)).values():
            settle(futures, error)
        settle(self.take_reads(), error)


def settle(futures: Iterable[Done], error: Exception | None = None) -> None:
    """Resolve futures that are not resolved yet, or fail them."""
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _in_store(waiters: Iterable[Waiter]) -> list[Waiter]:
    return [waiter for waiter in waiters if waiter.revision is not None]


def _future() -> Done:
    return asyncio.get_running_loop().create_future()


def _now() -> float:
    return asyncio.get_running_loop().time()
