"""Deleting routes: at once, or within a grace period together with other changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from .._loop_stalls import LoopStalls
from ..errors import KVProxyError, StoppedError, StoreUnavailableError
from ..routing.route import Route
from ..routing.table import DesiredTable
from .observer import Observer
from .progress import Done, Progress
from .store_loop import StoreLoop


class Deletions:
    """Takes routes out of the desired state, and follows their deletion from the store.

    Args:
        store_loop: deletes them from the store.
        progress: has the callers that wait.
        table: the desired entries.
        stalls: measures for how long the hub's own event loop stands still.
        observer: receives each deleted route.
        grace: seconds for which a deletion may wait for another commit; 0 for none.
    """

    def __init__(
        self,
        store_loop: StoreLoop,
        progress: Progress,
        table: DesiredTable,
        stalls: LoopStalls,
        observer: Observer,
        grace: float,
    ) -> None:
        self._store_loop, self._progress, self._table = store_loop, progress, table
        self._stalls, self._observer = stalls, observer
        self._grace = grace
        self._checks = 0

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Enclose JupyterHub's check of all routes. Its deletions do not wait: their servers may be gone for long."""
        self._checks += 1
        try:
            yield
        finally:
            self._checks -= 1

    async def delete(self, key: str, timeout: float, *, may_wait: bool) -> None:
        """See :meth:`.Reconciler.delete`."""
        name = self._table.names.route(key)
        entry = self._table.entries.get(name)
        if may_wait and entry is not None and entry.route is not None and self._may_wait(entry.route, name):
            self._store_loop.drop(name, self._grace)
            self._progress.next_commit(name).add_done_callback(partial(self._written, entry.route))
        elif entry is not None or not self._store_loop.unwritten.may_wait(_now(), name):
            await self._delete(key, timeout)

    def _may_wait(self, route: Route, name: str) -> bool:
        if not self._grace or self._checks or self._table.routes_to(route.address) > 1:
            # Another server may have taken over the address.
            return False
        # A caller that waits for the route gets its answer when it is gone from the store.
        return name not in self._store_loop.unwritten and not self._progress.waiters(name)

    async def _delete(self, key: str, timeout: float) -> None:
        try:
            before = await self.remove(key, timeout)
        except KVProxyError as error:
            self._observer.not_removed(key, error)
            raise
        if before is not None:
            self._observer.removed(before.routespec)

    def _written(self, route: Route, done: Done) -> None:
        error = None if done.cancelled() else done.exception()
        if error is None:
            self._observer.removed(route.routespec)
        elif isinstance(error, KVProxyError) and not isinstance(error, StoppedError):
            self._observer.not_removed(route.key, error)

    async def remove(self, key: str, timeout: float) -> Route | None:
        """See :meth:`.Reconciler.remove`."""
        name = self._table.names.route(key)
        if not self._store_loop.knows(name):
            return None
        before = self._table.entries.get(name)
        self._store_loop.drop(name)
        await self.wait(self._progress.next_commit(name), timeout, "written to")
        return before.route if before is not None else None

    async def wait(self, done: Done, timeout: float, verb: str) -> None:
        """Wait for the store.

        Args:
            done: resolved when the store has done its part.
            timeout: seconds.
            verb: that part, for the error.

        Raises:
            StoreError: the store's error; or if it took more than ``timeout`` seconds.
        """
        try:
            await self._stalls.wait(done, timeout)
            if not done.done():
                why = self._store_loop.problem or "other work is still ahead of it"
                raise StoreUnavailableError(f"The store could not be {verb} within {timeout:g} s: {why}")
            done.result()
        finally:
            done.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()
