"""Liveness of a hub, judged by its lease in a store."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from kvproxy.cli.hub.liveness import hub_at_work
from kvproxy.reconcile.leader import new_lease
from kvproxy.testing.clock import on_a_clock
from kvproxy.testing.memory import MemoryStore


async def test_a_store_without_a_lease_has_no_hub() -> None:
    """As in an old store, or after a clean stop."""
    assert await hub_at_work(MemoryStore()) == ""


async def test_a_process_of_this_machine_that_has_ended_is_dead() -> None:
    """At once."""
    store = MemoryStore()
    await store.write_lease(replace(new_lease(), born="0").encode())
    assert await asyncio.wait_for(hub_at_work(store), 1) == ""


@on_a_clock
async def test_a_claim_that_changes_is_a_living_hubs() -> None:
    """Wherever it is."""
    store = MemoryStore()
    claim = replace(new_lease(), host="elsewhere", machine="elsewhere 1")
    await store.write_lease(claim.encode())
    asked = asyncio.create_task(hub_at_work(store))
    await asyncio.sleep(0)
    await store.write_lease(claim.next().encode())
    assert f"process {claim.pid} on elsewhere" in await asked


@pytest.mark.parametrize("machine", [None, "elsewhere 1"])
@on_a_clock
async def test_a_lease_that_is_not_renewed_is_stale(machine: str | None) -> None:
    """After the time in which a living hub would have changed it."""
    store = MemoryStore()
    claim = new_lease() if machine is None else replace(new_lease(), machine=machine)
    assert claim.host == socket.gethostname()
    await store.write_lease(claim.encode())
    assert await hub_at_work(store) == ""
