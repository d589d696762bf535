"""The loop that brings a store to the desired state, in as few commits as the edits allow.

An edit changes the *desired* entry of a name and marks the name dirty; the loop takes all dirty names at
once, compares desired with *current* (what the store is known to hold) and commits the difference. A new route, a
repaired one, a start over an old store and a rollback all take this way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Final

from . import plan
from .errors import StoreError, StoreUnavailable
from .routes import Route
from .static import PARENTS_SINCE, parse_version
from .store import Operation, Space, Store
from .table import DesiredTable
from .translate import REVISION_KEY, SETUP, Entry, group, group_of, route_of, stored_revision
from .watch import Log, TraefikWatch

#: Seconds between two tries while the store is away: doubled from the first to the second.
_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 2.0
#: Routes and groups that one step may change where Traefik reads the whole store again for each of their keys.
_NOISY_STEP: Final = 4


class StoreSync:
    """Keeps a store equal to the desired entries.

    Args:
        store: what is kept.
        watch: tells whether Traefik is still at work, and who waits for it.
        kick: set whenever there may be something to do.
        table: what it is to hold.
        log: the hub's logger.
    """

    def __init__(
        self,
        store: Store,
        watch: TraefikWatch,
        kick: asyncio.Event,
        table: DesiredTable,
        *,
        log: Log,
    ) -> None:
        self._store = store
        self._watch = watch
        self._kick = kick
        self._log = log
        self._table = table
        self._current: dict[str, Entry] = {}
        self._dirty: dict[str, None] = {SETUP: None}
        self._commits: dict[str, list[asyncio.Future[None]]] = {}
        self._reads: list[asyncio.Future[None]] = []
        self._untold = False
        self._known = False
        self._stale = True
        # Names of what the last step towards the right groups changed, until it is in the store.
        self._shaping: set[str] = set()
        #: The revision that Traefik was told of last.
        self.revision = 0
        #: What the store said when it failed last, None if it works.
        self.problem: str | None = None

    @property
    def desired(self) -> Mapping[str, Entry]:
        """What the store is to hold, by name."""
        return self._table.entries

    @property
    def count(self) -> int:
        """How many routes the store is to hold."""
        return self._table.count

    def entry(self, route: Route) -> Entry:
        """A route as it would be in the store now; to be wanted before anything else is."""
        return self._table.entry(route)

    def want(self, name: str, entry: Entry | None) -> None:
        """Change which routes are desired; None for none of this name."""
        others = self._table.drop(name) if entry is None else self._table.put(name, entry)
        self._mark(name, *others)

    def _mark(self, *names: str) -> None:
        if names:
            self._dirty.update(dict.fromkeys(names))
            self._kick.set()

    def knows(self, name: str) -> bool:
        """Whether there is, or may be, anything of this name."""
        return name in self.desired or name in self._current or name in self._dirty

    def holds(self, name: str, entry: Entry) -> bool:
        """Whether the store holds just this entry and is not about to change."""
        return self._current.get(name) is entry and name not in self._dirty

    def next_commit(self, name: str) -> asyncio.Future[None]:
        """Resolved when what is desired now of this name is in the store."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.setdefault(name, []).append(done)
        return done

    def next_read(self) -> asyncio.Future[None]:
        """Resolved when the store has been read in full; what differs is repaired after that."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reads.append(done)
        self._kick.set()
        return done

    def tell_again(self) -> None:
        """Have Traefik told of a new revision, though nothing else has changed."""
        self._untold = True
        self._kick.set()

    def check_size(self, entry: Entry) -> None:
        """Raise :class:`StoreError` if an entry is more than one transaction of the store can hold."""
        plan.transactions([plan.diff(None, entry)], self._store.capabilities, [self._revision_operation(0)])

    def fail_all(self, error: Exception) -> None:
        """Let everybody fail who waits for a commit or a read."""
        _settle((future for futures in self._commits.values() for future in futures), error)
        _settle(self._reads, error)

    async def run(self) -> None:
        """Work for ever; after an error, try again."""
        retry = _FIRST_RETRY
        while True:
            await self._kick.wait()
            self._kick.clear()
            try:
                await self.step()
            except Exception as error:
                self._failed(error)
                await asyncio.sleep(retry)
                retry = min(2 * retry, _LAST_RETRY)
                self._kick.set()
            else:
                if self.problem is not None:
                    self._log.info("The store answers again; all changes that were waiting have been made.")
                self.problem, retry = None, _FIRST_RETRY

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, StoreError):
            self._log.error("A store of kvproxy leaked an error that it should have named.", exc_info=error)
        elif self.problem is None:
            self._log.error("%s Trying again.", error)
        self.problem = str(error)
        # A transaction that failed may have been applied all the same: only a full read can tell.
        self._stale = True

    async def step(self) -> None:
        """Do what there is to do now.

        Raises:
            StoreError: whatever the store says; what was not done stays to be done.
        """
        if self._stale or self._reads:
            await self._read()
        await self._shape()
        names = self._take_due()
        captured = {name: self.desired.get(name) for name in names}
        commits = {name: self._commits.pop(name, []) for name in names}
        waiters = {name: self._watch.waiters(name) for name in names}
        groups = [ops for name in names if (ops := plan.diff(self._current.get(name), captured[name]))]
        tell = (bool(groups) or self._untold) and not self._watch.behind
        try:
            await self._commit(groups, tell)
        except StoreError as error:
            self._put_back(commits, error)
            if not isinstance(error, StoreUnavailable):
                _settle([w.done for ws in waiters.values() for w in ws], error)
            raise
        self._shaping.difference_update(names)
        for name, entry in captured.items():
            self._is_now(name, entry)
            _settle(commits[name])
            if entry is None:
                # Whoever waited for this route has been overtaken by its deletion.
                _settle([waiter.done for waiter in waiters[name]])
            else:
                self._watch.committed(waiters[name], self.revision)

    async def _shape(self) -> None:
        """Change the groups of routes by one step, once Traefik has loaded the last one."""
        if self._shaping or self._untold or not self._watch.settled:
            return
        if self._table.groups_allowed is None:
            self._mark(*self._table.allow_groups(parse_version(self._watch.version or "") >= PARENTS_SINCE))
        if not self._table.restless:
            return
        names = self._table.step(self._held, _NOISY_STEP if await self._store.noisy() else None)
        self._shaping.update(names)
        self._mark(*names)

    def _held(self, name: str) -> bool:
        return name in self._dirty or any(not waiter.done.done() for waiter in self._watch.waiters(name))

    def _take_due(self) -> list[str]:
        """Everything that is dirty; while Traefik is behind only deletions, which nobody sees Traefik for."""
        behind = self._watch.behind
        due = [name for name in self._dirty if not (behind and name in self.desired)]
        for name in due:
            del self._dirty[name]
        return due

    def _put_back(self, commits: Mapping[str, list[asyncio.Future[None]]], error: StoreError) -> None:
        for name, futures in commits.items():
            self._dirty[name] = None
            if isinstance(error, StoreUnavailable):
                self._commits[name] = futures + self._commits.get(name, [])
            else:
                _settle(futures, error)

    async def _commit(self, groups: list[tuple[Operation, ...]], tell: bool) -> None:
        revision = max(self.revision + 1, time.time_ns() // 1_000_000)
        last = [self._revision_operation(revision)] if tell else []
        for transaction in plan.transactions(groups, self._store.capabilities, last, wake=tell):
            await self._store.apply(transaction)
        self._untold = not tell and (self._untold or bool(groups))
        if tell:
            self.revision = revision
            self._watch.announce(revision)

    @staticmethod
    def _revision_operation(revision: int) -> Operation:
        return Operation(Space.CONFIG, REVISION_KEY, f"{revision:013d}")

    def _is_now(self, name: str, entry: Entry | None) -> None:
        if self._current.get(name) is not entry:
            self._watch.served.pop(name, None)
        if entry is None:
            self._current.pop(name, None)
        else:
            self._current[name] = entry

    async def _read(self) -> None:
        """Learn what the store holds; what is not as it should be becomes dirty."""
        reads, self._reads = self._reads, []
        try:
            snapshot = await self._store.list()
        except StoreError as error:
            if isinstance(error, StoreUnavailable):
                self._reads = reads + self._reads
            else:
                _settle(reads, error)
            raise
        found = group(snapshot.config, snapshot.records, self._table.setup.config)
        first, self._stale = not self._known, False
        if first:
            self._known = True
            self._table.restore(found)
        wrong = [name for name in {**found, **self._current} if not self._as_believed(name, found)]
        if wrong and not first:
            self._log.warning("%d entries in the store are not as the hub left them; putting them right.", len(wrong))
        revision = snapshot.config.get(REVISION_KEY, "")
        if first and (stored := stored_revision(revision)) is not None:
            self.revision = stored
        elif revision != f"{self.revision:013d}":
            self._untold = True
        _settle(reads)

    def _as_believed(self, name: str, found: Mapping[str, Entry]) -> bool:
        """Take one entry as it was found; say whether that is what was believed."""
        now, believed = found.get(name), self._current.get(name)
        if now == believed:
            return True
        if now is not None and name not in self.desired and name not in self._dirty:
            self._take_over(name, now)
        wanted = self.desired.get(name)
        self._is_now(name, wanted if now == wanted else now)
        if now != wanted:
            self._dirty[name] = None
            if self._table.is_group(name):
                self._shaping.add(name)
        return now == wanted

    def _take_over(self, name: str, found: Entry) -> None:
        """Want a route that somebody else wrote, so that JupyterHub sees it; what is no route will be removed."""
        route = route_of(found)
        if route is not None:
            self.want(name, self._table.entry(route))
        elif group_of(found) is None:
            what = ", ".join([*found.records, *found.config])
            self._log.warning("The store holds keys of a route without a readable record, which are removed: %s", what)


def _settle(futures: Iterable[asyncio.Future[None]], error: Exception | None = None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
