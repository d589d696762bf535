"""The loop that brings a store to the desired state, in as few commits as the edits allow.

An edit changes the *desired* entry of a name and marks the name dirty. The loop takes all dirty names at once, compares
the desired with the *observed* entries (the last known contents of the store) and commits the difference. A new route,
a repaired one, a start over an old store and a rollback all take this path. The store is also read regularly without a
request, so that any change to it is noticed within seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from .._types import Log
from ..errors import OwnershipError, StoreError, StoreUnavailableError
from ..routing.decode import parse_snapshot, route_of, stored_revision
from ..routing.entry import SETUP, Entry
from ..routing.route import Route
from ..routing.table import DesiredTable
from ..store.base import Operation, Snapshot, Store
from . import plan
from .advice import make_way
from .leader import LeaseHolder
from .observed import ObservedState
from .observer import Observer, log_refused_routes
from .progress import Done, Progress, settle
from .regroup import Regrouper
from .resync import ResyncSchedule
from .retry import StoreRetry
from .unwritten import AT_ONCE, Unwritten
from .view import NextCommit, View

#: Seconds that the last commit of the deletions that wait may take.
_FAREWELL: Final = 2.0


class StoreLoop:
    """Keeps a store equal to the desired entries.

    Args:
        store: the store.
        progress: the callers that wait, and the revision that Traefik has loaded.
        table: the desired entries.
        observed: the last known contents of the store.
        schedule: decides when to read the store without a request.
        lease: keeps the lease on the store; None to let others write too.
        serves_already: returns True if Traefik may serve routes of an earlier start. It is called if the store holds
            none; if it returns True, nothing is written before :meth:`let_load`.
        regroup_wait: see :class:`.Regrouper`.
        observer: receives the events.
        log: the hub's logger.
    """

    def __init__(
        self,
        store: Store,
        progress: Progress,
        table: DesiredTable,
        observed: ObservedState,
        schedule: ResyncSchedule,
        lease: LeaseHolder | None = None,
        *,
        serves_already: Callable[[], Awaitable[bool]] | None = None,
        regroup_wait: float = 0.0,
        observer: Observer,
        log: Log,
    ) -> None:
        self._store = store
        self._progress = progress
        self._observed = observed
        self._schedule = schedule
        self._lease = lease
        self._observer = observer
        self._log = log
        #: The desired entries. An entry that it returns is passed to :meth:`want` before the table changes again.
        self.table = table
        self._names = table.names
        self._retry = StoreRetry(store, observer, log)
        self._regrouper = Regrouper(store, progress, table, regroup_wait)
        #: Names of the entries that are still to be written.
        self.unwritten = Unwritten([SETUP])
        self._writing: list[str] = []
        self._view = View.UNREAD
        self._next_commit = NextCommit.IN_PARTS
        self._serves_already = serves_already
        #: True while nothing is written, so that Traefik keeps the routes that it has loaded.
        self.held_back = False

    @property
    def desired(self) -> Mapping[str, Entry]:
        """The desired entries by name."""
        return self.table.entries

    @property
    def waiting(self) -> int:
        """The number of entries that are still to be written."""
        return len(self.unwritten)

    @property
    def problem(self) -> str | None:
        """The store's last error, None if it works."""
        return self._retry.problem

    def want(self, entry: Entry) -> None:
        """Make this the desired entry of its name."""
        self._mark(entry.name, *self.table.put(entry))

    def drop(self, name: str, grace: float = 0.0) -> None:
        """Make the desired state hold no entry of this name.

        Args:
            name: the name.
            grace: seconds for which the deletion may wait for another commit.
        """
        self._mark(name, *self.table.drop(name), by=self._now() + grace if grace else AT_ONCE)

    def _mark(self, *names: str, by: float = AT_ONCE) -> None:
        if self.table.take_rerooted():
            # Routers have moved behind the root routers, or out of them.
            self._next_commit = NextCommit.BETWEEN_READS
        if names:
            self.unwritten.add(names, by)
            self._progress.store_due.set()

    def knows(self, name: str) -> bool:
        """Return True if there is, or may be, an entry of this name."""
        return name in self.desired or name in self._observed.entries or name in self.unwritten

    def leaving(self) -> Iterator[Route]:
        """Return the routes that are still to be deleted from the store."""
        for name in (*self.unwritten, *self._writing):
            entry = None if name in self.desired else self._observed.entries.get(name)
            if entry is not None and (route := route_of(entry)) is not None:
                yield route

    def holds(self, entry: Entry) -> bool:
        """Return True if the store holds this very entry and no change to it is waiting."""
        return entry.is_generation_of(self._observed.entries.get(entry.name)) and entry.name not in self.unwritten

    def let_load(self) -> None:
        """Write everything that was held back; Traefik loads it all at once."""
        if self.held_back:
            self.held_back, self._next_commit = False, max(self._next_commit, NextCommit.WHOLE)
            self._progress.store_due.set()

    async def run(self) -> None:
        """Work until it is closed or cancelled; after an error, retry. At the end, no deletion waits any more."""
        self._store.watch(self._resync)
        try:
            await self._work()
        finally:
            await self._finish()

    async def _work(self) -> None:
        while self._view is not View.CLOSED:
            await self._rest()
            try:
                await self._probe()
                await self.step()
            except Exception as error:
                self.failed(error)
                await self._retry.wait()
                self._progress.store_due.set()
            else:
                self._retry.over()

    async def _finish(self) -> None:
        # JupyterHub cancels all tasks at its end, and does not stop a proxy that it leaves running.
        if self.problem is None and (self._observed.release() or next(self.leaving(), None) is not None):
            self.unwritten.add([*self.unwritten, *self._writing])
            self._next_commit = NextCommit.WHOLE
            with contextlib.suppress(StoreError, asyncio.TimeoutError):
                await asyncio.wait_for(self._probe(), _FAREWELL)
                await asyncio.wait_for(self.step(), _FAREWELL)

    def _resync(self) -> None:
        """Read the store, which may be another server now, and notify Traefik, which may have loaded parts of both."""
        self._doubt()
        self._progress.require_notification()

    def _doubt(self) -> None:
        if self._view is View.IN_STEP:
            self._view = View.STALE

    def close(self) -> None:
        """End :meth:`run`. Cancelling it is not enough: a store's client may lose that."""
        self._view = View.CLOSED
        self._progress.store_due.set()

    async def _rest(self) -> None:
        """Sleep until there is work, or until the next probe or renewal is due."""
        now = self._now()
        pause = min(self._schedule.pause(now), max(self._regrouper.due - now, 0.0), self.unwritten.pause(now))
        if self._lease is not None:
            pause = min(pause, self._lease.pause(self._now()))
        progress = self._progress
        progress.store_waits = bool(self.unwritten) or progress.notification_due or self._regrouper.waits
        timer = asyncio.get_running_loop().call_later(pause, self._progress.store_due.set)
        # Not wait_for, which loses a cancellation that comes at the same moment as the event (Python before 3.12).
        await self._progress.store_due.wait()
        timer.cancel()
        self._progress.store_due.clear()

    async def _probe(self) -> None:
        """Notice that the store has changed, or that another hub has taken over."""
        if self._lease is not None and await self._lease.renew():
            self._doubt()
        now = self._now()
        committing = self.unwritten.due(now) and not self._store.capabilities.fenced
        if self._view is not View.IN_STEP or not self._schedule.probe_due(now, committing):
            return
        if self._schedule.read_due(now):
            self._doubt()
            return
        await self._store.disable_key_notifications()
        as_left = await self._store.get(self._names.revision_key) == self._observed.revision
        if not (as_left and await self._store.traefik_admitted()):
            self._doubt()
        self._schedule.probed(self._now())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def failed(self, error: Exception) -> None:
        """Handle an error of the store: have everything read again that it leaves unknown."""
        self._retry.failed(error)
        if isinstance(error, OwnershipError):
            self._progress.fail_commits_and_reads(error)
            self._progress.fail_waiters(error)
        # A transaction that failed may have been applied all the same: only a full read can tell.
        self._doubt()
        self._observed.invalidate()

    async def step(self) -> None:
        """Do the work that is due now.

        Raises:
            StoreError: the store's error; the work that was not done stays due.
        """
        if self._view is View.UNREAD or self._view is View.STALE or self._progress.read_wanted:
            await self._read()
        if await self._waits_for_routes():
            return
        now = self._now()
        if not self._progress.notification_due:
            self._mark(*await self._regrouper.step(self.unwritten, waits=self.unwritten.all_may_wait(now)))
        # Edits may arrive while the commit is awaited: they mark names dirty again, and belong to the next step.
        behind, desired = self._progress.behind, self.desired
        names = self._writing = self._take_due(now, behind)
        captured = {name: desired.get(name) for name in names}
        commits = self._progress.take_commits(names)
        waiters = {name: self._progress.waiters(name) for name in names}
        batches = [operations for name in names for operations in self._difference(name, captured[name])]
        # Only deletions are committed while Traefik is behind. They need no notification of their own: the next one
        # covers them.
        notify = (bool(batches) or self._progress.notification_due) and not behind
        # It counts for what was there to be written, not for edits that arrive meanwhile.
        kind, self._next_commit = self._next_commit, self._next_commit if behind else NextCommit.IN_PARTS
        try:
            await self._commit(batches, notify, kind)
        except StoreError as error:
            self._next_commit = max(self._next_commit, kind)
            self._put_back(commits, error)
            if not isinstance(error, StoreUnavailableError):
                settle([w.done for ws in waiters.values() for w in ws], error)
            raise
        self._regrouper.committed(names)
        for name, entry in captured.items():
            before = self._observed.entries.get(name)
            if self._observed.update(name, entry):
                self._progress.served.pop(name, None)
            settle(commits[name])
            if entry is None:
                self._progress.removed(name, route_of(before) if before is not None else None)
                # The deletion has replaced the edits that callers waited for.
                settle([waiter.done for waiter in waiters[name]])
            else:
                for last in waiters[name][-1:]:
                    # The routing tree may have moved it to another group since it was added.
                    last.entry = entry
                self._progress.committed(waiters[name])
        if not self._progress.admitted:
            await self._store.admit_traefik()
            self._progress.admitted = True

    async def _waits_for_routes(self) -> bool:
        if self._serves_already is not None:
            asked, self._serves_already = self._serves_already, None
            self.held_back = not self.table.count and await asked()
            if self.held_back:
                self._log.info(
                    "The store holds no routes, and Traefik may serve those of an earlier start. It keeps them until "
                    "JupyterHub has checked all routes, at the end of its start."
                )
        return self.held_back

    def _difference(self, name: str, wanted: Entry | None) -> list[tuple[Operation, ...]]:
        """Return the batches of operations that bring an entry to its desired state, see :func:`.plan.transactions`."""
        operations = self._observed.difference(name, wanted)
        if name != SETUP:
            return [operations] if operations else []
        # A large extra configuration takes several transactions; between them Traefik loads nothing.
        batches, kind = plan.setup_batches(operations, self._store.capabilities)
        self._next_commit = max(self._next_commit, kind)
        return batches

    def _take_due(self, now: float, behind: bool) -> list[str]:
        """Take all names if one is due; while Traefik is behind only deletions, as no caller waits for Traefik then."""
        if behind:
            return self.unwritten.take(now, lambda name: name not in self.desired)
        return self.unwritten.take(now, anyway=self._progress.notification_due or bool(self._observed.release()))

    def _put_back(self, commits: Mapping[str, list[Done]], error: StoreError) -> None:
        self.unwritten.add(commits)
        if isinstance(error, StoreUnavailableError):
            self._progress.put_back_commits(commits)
        else:
            settle((future for futures in commits.values() for future in futures), error)

    async def _commit(self, batches: list[tuple[Operation, ...]], notify: bool, kind: NextCommit) -> None:
        progress, release = self._progress, self._observed.release()
        if not (batches or notify or release):
            return
        # Above every revision that Traefik can have loaded, even from a store that has since gone back to old data.
        revision = max(progress.told + 1, (progress.loaded or 0) + 1, time.time_ns() // 1_000_000)
        told, start = revision if notify else None, self._now()
        groups = plan.commit(batches, self._store.capabilities, kind, self._names, told, release)
        for number, transactions in enumerate(groups):
            if number:
                await asyncio.sleep(progress.pace.read)
            for transaction in transactions:
                await self._store.apply(transaction)
                self._observed.applied(transaction.operations)
        self._retry.wrote()
        self._observer.committed(sum([len(t.operations) for group in groups for t in group]), self._now() - start)
        progress.notification_due = not notify and (progress.notification_due or bool(batches))
        if notify:
            progress.notified(revision)

    async def _read(self) -> None:
        """Read the whole store; entries that differ from the desired ones become dirty."""
        reads, start = self._progress.take_reads(), self._now()
        first = self._view is View.UNREAD
        if self._view is View.STALE:
            # Before the read: if another server takes over meanwhile, the view becomes stale again, and it is read too.
            self._view = View.IN_STEP
        try:
            snapshot = await self._store.snapshot()
        except StoreError as error:
            self._doubt()
            if isinstance(error, StoreUnavailableError):
                self._progress.put_back_reads(reads)
            else:
                settle(reads, error)
            raise
        progress = self._progress
        progress.admitted = progress.admitted and await self._store.traefik_admitted()
        if not self._observed.matches(snapshot):
            self._compare(snapshot, first=first)
        if self._view is View.UNREAD:
            self._view = View.IN_STEP
        self._schedule.read(start, self._now())
        settle(reads)

    def _compare(self, snapshot: Snapshot, *, first: bool) -> None:
        progress = self._progress
        if self.table.see(snapshot.config):
            self.unwritten.add([SETUP])
        self._mark(*make_way(self.table, snapshot, self._log))
        found = parse_snapshot(snapshot.config, snapshot.records, self.table.setup.config, self._names)
        revision = snapshot.config.get(self._names.revision_key, "")
        if first:
            log_refused_routes(self.table.restore(found), self._observer, self._log)
            # Wait for the last revision of an earlier hub, which Traefik may not have loaded.
            progress.notified(stored_revision(revision) or 0)
        drift = self._observed.compare(snapshot, found, self.desired, progress.told)
        for name in drift.changed:
            progress.served.pop(name, None)
        self.unwritten.add(drift.wrong)
        self._regrouper.wait_for(name for name in drift.wrong if self.table.is_group(name))
        # A key that kept Traefik from loading the store may just have been removed: notify it, so that it retries.
        retry = not first and not progress.in_sync
        other = revision != plan.revision_operation(self._names, progress.told).value
        # Traefik may still serve routes that the store has lost; it must not load the store before they are back.
        progress.told_is_lost = other and not first
        self._mark()
        if progress.told_is_lost:
            self._next_commit = max(self._next_commit, NextCommit.WHOLE)
        # Without notifications per key, Traefik does not learn of other writers' keys by itself.
        if retry or other or self._observed.release() or (drift.others and not first):
            progress.notification_due = True
        if drift.wrong and not first:
            self._observer.repaired(len(drift.wrong))
            self._log.warning("%s", drift.words)
        if drift.unreadable:
            self._log.error("%s", drift.unreadable)
