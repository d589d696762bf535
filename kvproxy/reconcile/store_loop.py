"""The loop that brings a store to the desired state, in as few commits as the edits allow.

An edit changes the *desired* entry of a name and marks the name dirty; the loop takes all dirty names at
once, compares desired with *current* (what the store is known to hold) and commits the difference. A new route, a
repaired one, a start over an old store and a rollback all take this way. The store is looked at without being asked
for, too, so that whatever happens to it is noticed within seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from .._types import Log
from ..errors import OwnershipError, StoreError, StoreUnavailableError
from ..routing.decode import group, stored_revision
from ..routing.entry import SETUP, Entry
from ..routing.table import DesiredTable
from ..store.base import Operation, Snapshot, Store
from . import plan
from .advice import make_way
from .leader import LeaseHolder
from .observed import ObservedState
from .observer import Observer, log_refused_routes
from .promises import Promises, settle
from .regroup import Regrouper
from .resync import ResyncSchedule
from .retry import StoreRetry
from .traefik_loop import TraefikLoop


class StoreLoop:
    """Keeps a store equal to the desired entries.

    Args:
        store: what is kept.
        watch: tells whether Traefik is still at work, and who waits for it.
        kick: set whenever there may be something to do.
        table: what it is to hold.
        guard: when to look at the store though nobody asks for it.
        tenure: keeps the claim to the store; None to let others write too.
        serves_already: tells whether Traefik may serve routes of an earlier start. It is asked if there are none in the
            store: then nothing is written before :meth:`let_load`.
        observer: is told of what is done.
        log: the hub's logger.
    """

    def __init__(
        self,
        store: Store,
        watch: TraefikLoop,
        kick: asyncio.Event,
        table: DesiredTable,
        guard: ResyncSchedule,
        tenure: LeaseHolder | None = None,
        *,
        serves_already: Callable[[], Awaitable[bool]] | None = None,
        observer: Observer,
        log: Log,
    ) -> None:
        self._tenure = tenure
        self._observer = observer
        self._store = store
        self._guard = guard
        self._watch = watch
        self._kick = kick
        self._log = log
        self._outage = StoreRetry(store, observer, log)
        #: What the store is to hold; an entry that it gives is to be wanted before anything else is.
        self.table = table
        self._names = table.names
        self._belief = ObservedState(self._names)
        self._dirty: dict[str, None] = {SETUP: None}
        self._promises = Promises()
        self._untold = self._known = self._closed = False
        self._stale, self._torn = True, False
        # Whether the store has lost the revision that Traefik was told of last, so that it is waited for in vain.
        self._lost = False
        # Whether Traefik may read the store; who may not is not waited for.
        self._admitted = False
        self._shaper = Regrouper(store, watch, table)
        self._serves_already = serves_already
        #: Whether nothing is written yet, so that Traefik keeps the routes that it has loaded.
        self.held_back = False
        #: The revision that Traefik was told of last.
        self.revision = 0

    @property
    def desired(self) -> Mapping[str, Entry]:
        """What the store is to hold, by name."""
        return self.table.entries

    @property
    def count(self) -> int:
        """How many routes the store is to hold."""
        return self.table.count

    @property
    def waiting(self) -> int:
        """How many entries are still to be written."""
        return len(self._dirty)

    @property
    def problem(self) -> str | None:
        """What the store said when it failed last, None if it works."""
        return self._outage.problem

    def want(self, name: str, entry: Entry | None) -> None:
        """Change which routes are desired; None for none of this name."""
        others = self.table.drop(name) if entry is None else self.table.put(name, entry)
        self._mark(name, *others)

    def _mark(self, *names: str) -> None:
        # Behind the root routers, or no longer: whatever sees a part of that would lead requests wrongly.
        self._torn = self.table.take_rerooted() or self._torn
        if names:
            self._dirty.update(dict.fromkeys(names))
            self._kick.set()

    def knows(self, name: str) -> bool:
        """Whether there is, or may be, anything of this name."""
        return name in self.desired or name in self._belief.entries or name in self._dirty

    def holds(self, name: str, entry: Entry) -> bool:
        """Whether the store holds just this entry and is not about to change."""
        return self._belief.entries.get(name) is entry and name not in self._dirty

    def next_commit(self, name: str) -> asyncio.Future[None]:
        """Resolved when what is desired now of this name is in the store."""
        return self._promises.commit(name)

    def next_read(self) -> asyncio.Future[None]:
        """Resolved when the store has been read in full; what differs is repaired after that."""
        self._kick.set()
        return self._promises.read()

    def tell_again(self) -> None:
        """Have Traefik told of a new revision, though nothing else has changed."""
        self._untold = True
        self._kick.set()

    def let_load(self) -> None:
        """Write what was held back, all of it at once for Traefik."""
        if self.held_back:
            self.held_back, self._torn = False, True
            self._kick.set()

    def beside(self) -> dict[str, str]:
        """What the configuration holds besides the setup, as far as that is known."""
        return self._belief.beside(self.table.setup.config)

    def check_size(self, entry: Entry) -> None:
        """Raise :class:`StoreError` if an entry is more than one transaction of the store can hold."""
        plan.transactions([plan.diff(None, entry)], self._store.capabilities, [plan.revision_operation(self._names, 0)])

    def fail_all(self, error: Exception) -> None:
        """Let everybody fail who waits for a commit or a read."""
        self._promises.fail_all(error)

    async def run(self) -> None:
        """Work until it is closed; after an error, try again."""
        self._store.watch(self._look_again)
        while not self._closed:
            await self._rest()
            try:
                await self._probe()
                await self.step()
            except Exception as error:
                self.failed(error)
                await self._outage.wait()
                self._kick.set()
            else:
                self._outage.over()

    def _look_again(self) -> None:
        """Read the store, which may be another one now. Traefik is to read it, too: it may have a part of each."""
        self._stale = self._untold = True
        self._kick.set()

    def close(self) -> None:
        """End :meth:`run`. Cancelling it is not enough: a store's client may lose that."""
        self._closed = True
        self._kick.set()

    async def _rest(self) -> None:
        """Until there is something to do, or it is time to look at the store."""
        pause = self._guard.pause(self._now())
        if self._tenure is not None:
            pause = min(pause, self._tenure.pause(self._now()))
        timer = asyncio.get_running_loop().call_later(pause, self._kick.set)
        # Not wait_for, which loses a cancellation that comes at the same moment as the kick (Python before 3.12).
        await self._kick.wait()
        timer.cancel()
        self._kick.clear()

    async def _probe(self) -> None:
        """Notice that the store is not what it was, or not ours any more."""
        if self._tenure is not None and await self._tenure.beat():
            self._stale = True
        now = self._now()
        committing = bool(self._dirty) and not self._store.capabilities.fenced
        if self._stale or not self._guard.probe_due(now, committing):
            return
        if self._guard.read_due(now):
            self._stale = True
            return
        await self._store.disable_key_notifications()
        as_left = await self._store.get(self._names.revision_key) == self._belief.revision
        self._stale = not (as_left and await self._store.traefik_admitted())
        self._guard.probed(self._now())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def failed(self, error: Exception) -> None:
        """Have all that may be wrong after an error of the store's be read again."""
        self._outage.failed(error)
        if isinstance(error, OwnershipError):
            self.fail_all(error)
            self._watch.fail_all(error)
        # A transaction that failed may have been applied all the same: only a full read can tell.
        self._stale = True
        self._belief.invalidate()

    async def step(self) -> None:
        """Do what there is to do now.

        Raises:
            StoreError: whatever the store says; what was not done stays to be done.
        """
        if self._stale or self._promises.reads:
            await self._read()
        if await self._waits_for_routes():
            return
        if not self._untold:
            self._mark(*await self._shaper.step(self._dirty))
        names = self._take_due()
        captured = {name: self.desired.get(name) for name in names}
        commits = self._promises.take_commits(names)
        waiters = {name: self._watch.waiters(name) for name in names}
        groups = [ops for name in names for ops in self._difference(name, captured[name])]
        tell = (bool(groups) or self._untold) and not self.behind
        try:
            await self._commit(groups, tell)
        except StoreError as error:
            self._put_back(commits, error)
            if not isinstance(error, StoreUnavailableError):
                settle([w.done for ws in waiters.values() for w in ws], error)
            raise
        self._torn = self._torn and bool(self._dirty)
        self._shaper.committed(names)
        for name, entry in captured.items():
            if self._belief.update(name, entry):
                self._watch.served.pop(name, None)
            settle(commits[name])
            if entry is None:
                # Whoever waited for this route has been overtaken by its deletion.
                settle([waiter.done for waiter in waiters[name]])
            else:
                for last in waiters[name][-1:]:
                    # Its place among the routers may have changed since it was added.
                    last.entry = entry
                self._watch.committed(waiters[name], self.revision)
        if not self._admitted:
            await self._store.admit_traefik()
            self._admitted = True

    async def _waits_for_routes(self) -> bool:
        if self._serves_already is not None:
            asked, self._serves_already = self._serves_already, None
            self.held_back = not self.count and await asked()
            if self.held_back:
                self._log.info(
                    "The store holds no routes, and Traefik may serve those of an earlier start. It keeps them until "
                    "JupyterHub has checked all routes, at the end of its start."
                )
        return self.held_back

    def _difference(self, name: str, wanted: Entry | None) -> list[tuple[Operation, ...]]:
        found = self._belief.difference(name, wanted)
        if name != SETUP:
            return found
        # A large extra configuration takes several transactions; between them Traefik loads nothing.
        split = plan.singly(found, self._store.capabilities)
        self._torn = self._torn or len(split) > len(found)
        return split

    @property
    def behind(self) -> bool:
        """Whether nothing is added for now, as Traefik has still to load what is there already."""
        return self._admitted and self._watch.behind and not self._lost

    def _take_due(self) -> list[str]:
        """Everything that is dirty; while Traefik is behind only deletions, which nobody sees Traefik for."""
        behind = self.behind
        due = [name for name in self._dirty if not (behind and name in self.desired)]
        for name in due:
            del self._dirty[name]
        return due

    def _put_back(self, commits: Mapping[str, list[asyncio.Future[None]]], error: StoreError) -> None:
        self._dirty.update(dict.fromkeys(commits))
        if isinstance(error, StoreUnavailableError):
            self._promises.put_back_commits(commits)
        else:
            settle((future for futures in commits.values() for future in futures), error)

    async def _commit(self, groups: list[tuple[Operation, ...]], tell: bool) -> None:
        revision = max(self.revision + 1, (self._watch.seen or 0) + 1, time.time_ns() // 1_000_000)
        last = [plan.revision_operation(self._names, revision)] if tell else []
        hold = [plan.hold_operation(self._names)] if self._torn else []
        start, release = self._now(), self._belief.release()
        transactions = plan.commit(groups, self._store.capabilities, last, hold, release)
        for transaction in transactions:
            await self._store.apply(transaction)
            self._belief.applied(transaction.operations)
        if transactions:
            self._outage.wrote()
            self._observer.committed(sum(len(t.operations) for t in transactions), self._now() - start)
        self._untold = not tell and (self._untold or bool(groups))
        if tell:
            self._lost = False
            self.revision = revision
            self._watch.announce(revision)

    async def _read(self) -> None:
        """Learn what the store holds; what is not as it should be becomes dirty."""
        reads, start = self._promises.take_reads(), self._now()
        # First: another store may take over meanwhile, which is to be read as well.
        self._stale = False
        try:
            snapshot = await self._store.snapshot()
        except StoreError as error:
            self._stale = True
            if isinstance(error, StoreUnavailableError):
                self._promises.put_back_reads(reads)
            else:
                settle(reads, error)
            raise
        self._admitted = self._admitted and await self._store.traefik_admitted()
        if not self._belief.matches(snapshot):
            self._compare(snapshot)
        self._guard.read(start, self._now())
        settle(reads)

    def _compare(self, snapshot: Snapshot) -> None:
        if self.table.see(snapshot.config):
            self._dirty[SETUP] = None
        self._mark(*make_way(self.table, snapshot, self._log))
        found = group(snapshot.config, snapshot.records, self.table.setup.config, self._names)
        first, self._known = not self._known, True
        revision = snapshot.config.get(self._names.revision_key, "")
        if first:
            log_refused_routes(self.table.restore(found), self._observer, self._log)
            self.revision = stored_revision(revision) or 0
            # Traefik may not have seen the last word of an earlier hub.
            self._watch.announce(self.revision)
        findings = self._belief.compare(snapshot, found, self.desired, self.revision)
        for name in findings.changed:
            self._watch.served.pop(name, None)
        self._dirty.update(dict.fromkeys(findings.wrong))
        self._shaper.wait_for(name for name in findings.wrong if self.table.is_group(name))
        # What kept Traefik from following may just have been removed by somebody: have it try again.
        hopeful = not first and not self._watch.settled
        other = revision != plan.revision_operation(self._names, self.revision).value
        # Traefik may serve what the store has lost.
        self._lost = other and not first
        self._torn = self._lost or self.table.take_rerooted()
        # A store that is kept quiet does not wake Traefik for what somebody else has written.
        if hopeful or other or self._belief.release() or (findings.others and not first):
            self._untold = True
        if findings.wrong and not first:
            self._observer.repaired(len(findings.wrong))
            self._log.warning("%s", findings.words)
        if findings.unreadable:
            self._log.error("%s", findings.unreadable)
