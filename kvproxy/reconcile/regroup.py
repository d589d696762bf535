"""Changing the groups of routes step by step: each step is stored and loaded before the next one begins."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable
from typing import Final

from ..routing.table import DesiredTable
from ..store.base import Store
from ..traefik.static_config import PARENTS_SINCE
from .progress import Progress

#: Routes and groups that one step may change if Traefik reads the whole store again for each of their keys.
_NOISY_STEP: Final = 4


class Regrouper:
    """Takes these steps.

    Args:
        store: holds the groups; one that notifies per key gets smaller steps.
        progress: the revision that Traefik has loaded, and the callers that wait for it.
        table: the desired routes and groups.
        wait: how long a step waits for another change to be written with, as a multiple of the time that Traefik took
            to load the last one. A step by itself makes Traefik load everything once more.
    """

    def __init__(self, store: Store, progress: Progress, table: DesiredTable, wait: float = 0.0) -> None:
        self._wait = wait
        self._store = store
        self._progress = progress
        self._table = table
        # Names of the entries that have to be in the store before the next step.
        self._open: set[str] = set()
        #: The loop's time at which a step that waits for another change is to be written by itself.
        self.due = math.inf

    def wait_for(self, names: Iterable[str]) -> None:
        """Take no step before these entries are committed."""
        self._open.update(names)

    def committed(self, names: Iterable[str]) -> None:
        """Record that these entries are in the store."""
        self._open.difference_update(names)

    @property
    def _allowed(self) -> bool:
        # The oldest replica decides, and an older one may have appeared since the start.
        return (self._progress.version or (3,)) >= PARENTS_SINCE

    @property
    def waits(self) -> bool:
        """True if there may be a step to take once Traefik has loaded the last one, and it is not :attr:`due` later."""
        return self.due == math.inf and (self._table.groups_allowed is not self._allowed or self._table.restless)

    async def step(self, dirty: Collection[str], *, waits: bool = False) -> list[str]:
        """Take one step, if Traefik has loaded the last one.

        Args:
            dirty: names of the entries that are about to change anyway.
            waits: True if they wait for another commit. A step would be one, so it waits with them.

        Returns:
            the names of the desired entries that this has changed.

        Raises:
            StoreError: the store's error.
        """
        self.due = math.inf
        if self._open or not self._progress.in_sync:
            return []
        allowed = self._allowed
        changed = [] if self._table.groups_allowed is allowed else self._table.allow_groups(allowed)
        if not self._table.restless or (waits and not changed):
            return changed
        noisy = await self._store.notifies_per_key()
        pace = self._progress.pace
        if not (dirty or changed or noisy) and pace.stalled(_now()) < self._wait * pace.took:
            self.due = pace.since + self._wait * pace.took
            return []
        held = {*dirty, *changed}

        def is_held(name: str) -> bool:
            return name in held or any(not waiter.done.done() for waiter in self._progress.waiters(name))

        names = self._table.step(is_held, _NOISY_STEP if noisy else None)
        self.wait_for(names)
        return [*changed, *names]


def _now() -> float:
    return asyncio.get_running_loop().time()
