"""The reconciler with many routes, on a store in memory: what a commit is made of, and when groups are made."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks.workload import Place, Sample
from kvproxy.errors import TraefikError
from kvproxy.routing.entry import Layout
from kvproxy.testing.clock import on_a_clock
from kvproxy.testing.conformance.proxy_tree import groups_in
from kvproxy.testing.memory import MemoryStore

from .edit_cost import PromptTraefik, edits, filled
from .test_reconciler import SOON, foreign, key, route, running, until

#: Where nothing runs: the store and the Traefik are in this process.
NO_PLACE = Place("", "", "", 0, "", "", "", "", "http://127.0.0.1:1", "http://127.0.0.1:2")
#: kvproxy's own part in one added route. More is a helper called once per key, or a value that is made twice.
MOST = {"own_calls": 296, "modules": 27}


class NoisyStore(MemoryStore):
    """Traefik reads everything again for each key."""

    async def notifies_per_key(self) -> bool:
        return True


class BusyTraefik(PromptTraefik):
    """Takes its time for a router, and cannot be asked about one of them the first time."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.asked: list[str] = []
        self.open = self.most = 0

    async def router(self, name: str) -> Mapping[str, Any] | None:
        self.asked.append(name)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(0.02 if len(self.asked) == 1 else 0.1)
            if len(self.asked) <= 4 and name == self.asked[0]:
                raise TraefikError("Traefik's API cannot be reached.")
            return await super().router(name)
        finally:
            self.open -= 1


async def fill(store: MemoryStore, count: int, **options: object) -> None:
    """A store that holds the given number of routes, in groups if there are to be any."""
    async with running(store, **options) as it:
        await asyncio.gather(*(it.add(route(f"student{n:05d}"), SOON) for n in range(count)))
        placed = lambda: sum(key.endswith("-kvp/parentRefs") for key in store.config)  # noqa: E731
        await until(lambda: placed() > count - 64)


async def test_one_route_more_is_its_own_keys_and_one_commit() -> None:
    """However many there are: three keys and its group's name, its record, the revision."""
    store = MemoryStore()
    await fill(store, 1000)
    async with running(store) as it:
        written = len(store.applied)
        await it.add(route("student00500x"), SOON)
        assert len(store.applied) == written + 1
        assert len(store.applied[-1].operations) == 6
        await it.delete(key("student00500x"), SOON)
        assert len(store.applied[-1].operations) == 6


async def test_a_hub_that_comes_back_reads_once_and_writes_nothing() -> None:
    """Nothing has changed meanwhile."""
    store = MemoryStore()
    await fill(store, 1000)
    written, reads = len(store.applied), store.reads
    async with running(store) as it:
        assert it.count == 1000
        assert (len(store.applied), store.reads) == (written, reads + 1)


async def test_a_traefik_without_parents_gets_a_flat_table_at_once() -> None:
    """Also if a newer one had a tree; it could not read that."""
    store = MemoryStore()
    await fill(store, 300)
    store.traefik.release = "3.5.4"
    async with running(store) as it:
        await it.add(route("ada"), SOON)
        await until(lambda: not any("-kvg" in key or "parentRefs" in key for key in foreign(store)))
        assert it.count == 301


@on_a_clock
async def test_nothing_is_changed_for_a_traefik_that_was_never_seen() -> None:
    """Groups are made once it is known to have loaded what is there."""
    store = MemoryStore()
    store.traefik.frozen = True
    async with running(store, layout=Layout(kind="tree")) as it:
        await asyncio.gather(*(it.add(route(f"u{n}"), 0.3) for n in range(100)), return_exceptions=True)
        assert groups_in(store.config) == 0


@on_a_clock
async def test_a_noisy_store_is_never_flooded() -> None:
    """A few keys per commit, and every route gets there in the end."""
    store = NoisyStore()
    async with running(store) as it:
        await asyncio.gather(*(it.add(route(f"student{n:05d}"), SOON) for n in range(300)))
        added = len(store.applied)
        await until(lambda: groups_in(store.config) > 3)
        assert max(len(transaction.operations) for transaction in store.applied[added:]) <= 20


async def test_a_deleted_group_is_put_back() -> None:
    """At the next full read, with all who are in it."""
    store = MemoryStore()
    await fill(store, 300)
    async with running(store) as it:
        before = foreign(store)
        for key_of_group in [name for name in before if "-kvg/" in name]:
            del store.config[key_of_group]
        await it.all(SOON)
        await until(lambda: foreign(store) == before)


@on_a_clock
async def test_few_requests_are_under_way_at_once_and_none_after_a_failure() -> None:
    """The other requests about the same routes are of no use then: all are repeated."""
    store = filled(NO_PLACE, 1000)
    store.traefik = traefik = BusyTraefik(store)
    async with running(store, concurrency=4) as it:
        adding = asyncio.gather(*(it.add(route(f"new{n}"), SOON) for n in range(20)))
        while len(traefik.asked) < 4:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert traefik.open == 0
        await adding
        assert traefik.most == 4
        assert sorted(Counter(traefik.asked).values()) == [1] * 16 + [2] * 4


@on_a_clock
async def test_one_route_more_costs_python_the_same_at_any_size() -> None:
    """Calls of functions, memory and operations, which are the same on every machine."""
    few, many = await edits(NO_PLACE, 200), await edits(NO_PLACE, 3000)
    for metric, most in (("calls", 1.1), ("peak_b", 1.5), ("operations", 1.0)):
        before, after = (_median(samples, metric) for samples in (few, many))
        assert after <= most * before, metric
    for metric, limit in MOST.items():
        assert _median(many, metric) <= limit, metric


def _median(samples: list[Sample], metric: str) -> float:
    return statistics.median(sample[metric] for sample in samples if metric in sample)
