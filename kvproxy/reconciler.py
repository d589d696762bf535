"""All state and all concurrency: brings the store to the desired state, in as few commits as the edits allow.

There is one loop. An edit changes the *desired* entry of a route and marks its name dirty; the loop takes all dirty
names at once, compares desired with *current* (what the store is known to hold) and commits the difference.
A new route, a repaired one, a start over an old store and a rollback all take this way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any, Final

from . import plan
from .errors import (
    InvalidRouteError,
    KVProxyError,
    RouteNotReadyError,
    RouteRejectedError,
    StoppedError,
    StoreError,
    StoreUnavailable,
)
from .readiness import Pending
from .routes import Route
from .store import Operation, Space, Store
from .traefik import TraefikView
from .translate import REVISION_KEY, SETUP, Entry, Layout, encode, encode_setup, group, route_name
from .watch import Log, TraefikWatch, Waiter

#: Seconds between two tries while the store is away: doubled from the first to the second.
_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 2.0
#: Seconds that a failed add_route waits for its own rollback before it raises all the same.
_ROLLBACK_WAIT: Final = 5.0


class Reconciler:
    """Keeps a store equal to a routing table.

    Args:
        store: where the table goes.
        traefik: who reads it there.
        log: the hub's logger.
        layout: how routes are laid out as keys.
        setup: dynamic configuration that is not about routes.
        patience: seconds for which a commit waits at most for Traefik to have loaded the one before.
        concurrency: requests to Traefik's API under way at once.
    """

    def __init__(
        self,
        store: Store,
        traefik: TraefikView,
        *,
        log: Log,
        layout: Layout | None = None,
        setup: Mapping[str, Any] | None = None,
        patience: float = 10.0,
        concurrency: int = 10,
    ) -> None:
        self._store = store
        self._log = log
        self._layout = layout or Layout()
        self._desired: dict[str, Entry] = {}
        self._current: dict[str, Entry] = {}
        self._served: dict[str, Entry] = {}
        self._dirty: dict[str, None] = {}
        self._commits: dict[str, list[asyncio.Future[None]]] = {}
        self._reads: list[asyncio.Future[None]] = []
        self._revision = 0
        self._untold = False
        self._stale = True
        self._problem: str | None = None
        self._kick = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._running = False
        self._setup = encode_setup(setup or {})
        self._watch = TraefikWatch(
            traefik,
            rows=lambda: len(self._desired),
            progress=self._kick.set,
            served=self._serves,
            patience=patience,
            concurrency=concurrency,
            log=log,
        )

    async def start(self) -> None:
        """Read the store, bring it to the desired state, and begin to work.

        Raises:
            StoreError: whatever the store says; nothing runs then.
        """
        self._desired[SETUP] = self._setup
        self._dirty[SETUP] = None
        await self._step()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._watch.run())]
        self._running = True

    async def aclose(self) -> None:
        """Stop; whoever still waits gets a :class:`StoppedError`. The store is left as it is."""
        self._running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        stopped = StoppedError("The proxy was stopped before the change was made.")
        self._watch.fail_all(stopped)
        _settle([f for futures in self._commits.values() for f in futures] + self._reads, stopped)

    @property
    def revision(self) -> int:
        """The revision of the configuration that Traefik was told of last."""
        return self._revision

    @property
    def count(self) -> int:
        """How many routes the hub wants."""
        return len(self._desired) - (SETUP in self._desired)

    def get(self, key: str) -> dict[str, Any] | None:
        """One route as JupyterHub knows it, None if there is none with this key. Costs the same at any size."""
        entry = self._desired.get(route_name(key))
        return entry.route.as_dict() if entry is not None and entry.route is not None else None

    async def all(self, timeout: float) -> dict[str, dict[str, Any]]:
        """Read the store in full, start the repair of what differs, and give back all routes.

        Routes in the store that this process did not write are taken over and are in the answer, so that JupyterHub
        can decide about them.

        Raises:
            StoreError: if the store could not be read within ``timeout`` seconds.
        """
        self._check_running()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reads.append(done)
        self._kick.set()
        await self._await_store(done, timeout, "read")
        routes = (entry.route for entry in self._desired.values() if entry.route is not None)
        return {route.routespec: route.as_dict() for route in routes}

    async def add(self, route: Route, timeout: float) -> None:
        """Add a route, or change it, and return when Traefik serves it.

        A route that is in the store and served as it is costs nothing. If it fails or is cancelled, what was there
        before is put back.

        Raises:
            InvalidRouteError: before anything is written.
            RouteRejectedError: with Traefik's reason.
            RouteNotReadyError: after ``timeout`` seconds, with what was and was not seen.
            StoreError: if the store refuses the write.
        """
        self._check_running()
        entry, name = encode(route, self._layout), route_name(route.key)
        self._check_size(route, entry)
        before = self._desired.get(name)
        if before == entry:
            if self._served.get(name) is before:
                return
            entry = before
        waiter = self._watch.expect(name, entry, self._fallback(name, before))
        if before is entry and name not in self._dirty and self._current.get(name) is entry:
            self._watch.committed([waiter], self._revision)
        else:
            self._want(name, entry)
        try:
            await self._await_served(waiter, route, timeout)
        finally:
            self._watch.forget(waiter)

    async def delete(self, key: str, timeout: float) -> None:
        """Remove a route and return when it is gone from the store. A missing one is no error.

        Raises:
            StoreError: if that did not come about within ``timeout`` seconds; it is still going to be removed.
        """
        self._check_running()
        name = route_name(key)
        if name in self._desired or name in self._current or name in self._dirty:
            self._want(name, None)
            await self._await_store(self._commit_of(name), timeout, "written to")

    # -- what callers wait for

    def _check_running(self) -> None:
        if not self._running:
            raise StoppedError("The proxy is not running.")

    def _check_size(self, route: Route, entry: Entry) -> None:
        try:
            plan.transactions([plan.diff(None, entry)], self._store.capabilities, [self._revision_operation(0)])
        except StoreError as error:
            raise InvalidRouteError(f"The route {route.routespec!r} cannot be stored. {error}") from None

    def _fallback(self, name: str, before: Entry | None) -> Entry | None:
        if waiters := self._watch.waiters(name):
            return waiters[-1].fallback
        return before

    def _want(self, name: str, entry: Entry | None) -> None:
        if entry is None:
            self._desired.pop(name, None)
        else:
            self._desired[name] = entry
        self._dirty[name] = None
        self._kick.set()

    def _commit_of(self, name: str) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.setdefault(name, []).append(done)
        return done

    async def _await_store(self, done: asyncio.Future[None], timeout: float, verb: str) -> None:
        try:
            await asyncio.wait_for(done, timeout)
        except asyncio.TimeoutError:
            why = self._problem or "other work is still before it"
            raise StoreUnavailable(f"The store could not be {verb} within {timeout:g} s: {why}") from None

    async def _await_served(self, waiter: Waiter, route: Route, timeout: float) -> None:
        try:
            await asyncio.wait_for(waiter.done, timeout)
        except asyncio.TimeoutError:
            why = self._explain(waiter)
            await self._take_back(waiter)
            raise RouteNotReadyError(
                f"The route {route.routespec!r} was not served by Traefik within {timeout:g} s "
                f"(check_route_timeout), so it has been taken back: {why}"
            ) from None
        except (RouteRejectedError, StoreError):
            await self._take_back(waiter)
            raise
        except asyncio.CancelledError:
            self._revert(waiter)
            raise

    def _revert(self, waiter: Waiter) -> bool:
        self._watch.forget(waiter)
        overtaken = self._desired.get(waiter.name) is not waiter.entry
        if overtaken or self._watch.waiters(waiter.name) or waiter.fallback is waiter.entry:
            return False
        self._want(waiter.name, waiter.fallback)
        return True

    async def _take_back(self, waiter: Waiter) -> None:
        if self._revert(waiter) and self._problem is None:
            with contextlib.suppress(asyncio.TimeoutError, KVProxyError):
                await asyncio.wait_for(self._commit_of(waiter.name), _ROLLBACK_WAIT)

    def _explain(self, waiter: Waiter) -> str:
        if waiter.revision is None and self._problem:
            return self._problem
        if self._watch.problem:
            return self._watch.problem
        if self._watch.seen is None:
            return (
                "Traefik's API answers, but Traefik has loaded nothing that kvproxy wrote. Check that its provider "
                "names the same store, database, credentials and rootKey."
            )
        if waiter.revision is None or self._watch.seen < waiter.revision:
            return (
                "Traefik has not loaded the store's latest contents. Look for 'Provider error' or 'KV' in its log: one "
                "key below the rootKey that it cannot decode stops all updates."
            )
        return waiter.verdict.why if isinstance(waiter.verdict, Pending) else "Traefik's answers changed meanwhile."

    def _serves(self, name: str, entry: Entry) -> None:
        if self._current.get(name) is entry:
            self._served[name] = entry

    # -- the loop

    async def _run(self) -> None:
        retry = _FIRST_RETRY
        while True:
            await self._kick.wait()
            self._kick.clear()
            try:
                await self._step()
            except Exception as error:
                self._failed(error)
                await asyncio.sleep(retry)
                retry = min(2 * retry, _LAST_RETRY)
                self._kick.set()
            else:
                if self._problem is not None:
                    self._log.info("The store answers again; all changes that were waiting have been made.")
                self._problem, retry = None, _FIRST_RETRY

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, StoreError):
            self._log.error("A store of kvproxy leaked an error that it should have named.", exc_info=error)
        elif self._problem is None:
            self._log.error("%s Trying again.", error)
        self._problem = str(error)
        # A transaction that failed may have been applied all the same: only a full read can tell.
        self._stale = True

    async def _step(self) -> None:
        if self._stale or self._reads:
            await self._read()
        names = self._take_due()
        captured = {name: self._desired.get(name) for name in names}
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
        for name, entry in captured.items():
            self._is_now(name, entry)
            _settle(commits[name])
            if entry is None:
                # Whoever waited for this route has been overtaken by its deletion.
                _settle([waiter.done for waiter in waiters[name]])
            else:
                self._watch.committed(waiters[name], self._revision)

    def _take_due(self) -> list[str]:
        """Everything that is dirty; while Traefik is behind only deletions, which nobody sees Traefik for."""
        behind = self._watch.behind
        due = [name for name in self._dirty if not (behind and name in self._desired)]
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
        revision = max(self._revision + 1, time.time_ns() // 1_000_000)
        last = [self._revision_operation(revision)] if tell else []
        for transaction in plan.transactions(groups, self._store.capabilities, last, wake=tell):
            await self._store.apply(transaction)
        self._untold = not tell and (self._untold or bool(groups))
        if tell:
            self._revision = revision
            self._watch.announce(revision)

    @staticmethod
    def _revision_operation(revision: int) -> Operation:
        return Operation(Space.CONFIG, REVISION_KEY, f"{revision:013d}")

    def _is_now(self, name: str, entry: Entry | None) -> None:
        if self._current.get(name) is not entry:
            self._served.pop(name, None)
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
        found = group(snapshot.config, snapshot.records, self._setup.config)
        first, self._stale = self._revision == 0, False
        wrong = [name for name in {**found, **self._current} if not self._as_believed(name, found)]
        if unreadable := [key for e in found.values() if e.route is None for key in e.records if key != SETUP]:
            self._log.warning("Removing records in the store that are not kvproxy's: %s", ", ".join(unreadable))
        if wrong and not first:
            self._log.warning("%d entries in the store are not as the hub left them; putting them right.", len(wrong))
        revision = snapshot.config.get(REVISION_KEY, "")
        if first and revision.isdigit():
            self._revision = int(revision)
        elif revision != f"{self._revision:013d}":
            self._untold = True
        _settle(reads)

    def _as_believed(self, name: str, found: Mapping[str, Entry]) -> bool:
        """Take one entry as it was found; say whether that is what was believed."""
        now, believed = found.get(name), self._current.get(name)
        if now == believed:
            return True
        if believed is None and now is not None and now.route is not None and name not in self._dirty:
            self._desired.setdefault(name, encode(now.route, self._layout))
        wanted = self._desired.get(name)
        self._is_now(name, wanted if now == wanted else now)
        if now != wanted:
            self._dirty[name] = None
        return self._revision == 0 or now == wanted


def _settle(futures: list[asyncio.Future[None]], error: Exception | None = None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
