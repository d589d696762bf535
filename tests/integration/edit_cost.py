"""Cost of one edit in the hub's Python: calls, memory and operations, at any number of routes.

The store and the Traefik are in this process and cost the same at any size, so that what is left is kvproxy's own.
"""

from __future__ import annotations

import logging
import sys
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from types import FrameType
from typing import Any, Final, TypeAlias

from benchmarks.contestants import as_kvproxy, laid_out
from benchmarks.workload import FIRST_GUEST, Place, Sample
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.entry import Layout
from kvproxy.testing.memory import MemoryStore, MemoryTraefik

Edit: TypeAlias = Callable[[], Awaitable[None]]

#: How often each quantity is measured; tracing makes calls slow, so that each has edits of its own.
EDITS: Final = 9
_SECONDS: Final = 60.0
_LEAVES: Final = (
    "rule",
    "service",
    "priority",
    "parentRefs",
    "loadBalancer/servers/0/url",
    "headers/customResponseHeaders/X-Kvproxy-Revision",
)


class PromptTraefik(MemoryTraefik):
    """Has loaded whatever is in the store, and finds it by its name."""

    def wake(self) -> None:
        self.reloads += 1
        self._loaded = self._store.config

    def _node(self, path: str) -> dict[str, Any] | None:
        node: dict[str, Any] = {}
        for leaf in _LEAVES:
            if (value := self._loaded.get(f"{path}/{leaf}")) is not None:
                *parents, last = leaf.split("/")
                at = node
                for parent in parents:
                    at = at.setdefault(parent, {})
                at[last] = value
        return node or None


def filled(place: Place, size: int) -> MemoryStore:
    """A store that holds so many users' routes and the hub's, as kvproxy lays them out."""
    store = MemoryStore()
    store.traefik = PromptTraefik(store)
    for entry in laid_out(place.residents(size)).entries.values():
        store.config.update(entry.config)
        store.records.update(entry.records)
    return store


async def edits(place: Place, size: int) -> list[Sample]:
    """Samples of single added routes, one after another."""
    store = filled(place, size)
    reconciler = Reconciler(store, store.traefik, log=logging.getLogger(__name__), layout=Layout())
    await reconciler.start()
    guests = map(place.user_route, count(FIRST_GUEST))

    async def edit() -> None:
        await reconciler.add(as_kvproxy(next(guests)), _SECONDS)

    try:
        await edit()
        return [await measure(edit, store) for measure in (_calls, _memory, _written) for _ in range(EDITS)]
    finally:
        await reconciler.aclose()


async def _calls(edit: Edit, store: MemoryStore) -> Sample:
    """Calls of Python functions, all and kvproxy's own, and its modules entered: the same on every machine."""
    calls, own = 0, Counter[str]()

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        if event == "call":
            calls += 1
            module = str(frame.f_globals.get("__name__"))
            if module.startswith("kvproxy.") and not module.startswith("kvproxy.testing."):
                own[module] += 1

    sys.setprofile(note)
    try:
        await edit()
    finally:
        sys.setprofile(None)
    return {"calls": calls, "own_calls": own.total(), "modules": len(own)}


async def _memory(edit: Edit, store: MemoryStore) -> Sample:
    """Bytes that were allocated at the same time."""
    tracemalloc.start()
    try:
        await edit()
        return {"peak_b": tracemalloc.get_traced_memory()[1]}
    finally:
        tracemalloc.stop()


async def _written(edit: Edit, store: MemoryStore) -> Sample:
    before = len(store.applied)
    await edit()
    return {"operations": sum(len(transaction.operations) for transaction in store.applied[before:])}
