"""The fault matrix in its shorter form: users notice no more than they must, and all is right soon after."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from pathlib import Path

import pytest

from kvproxy.testing.servers.programs import ServerError
from tests.faults.catalogue import FAULTS
from tests.faults.cell import Outcome, Scale, applies, run
from tests.faults.stores import STORES

#: Seconds in which a new route can be added, after any fault.
SOON = 30.0
SCALE = Scale(routes=50, pause=2.0, limit=SOON)
#: Cells under way at once: they wait, most of the time.
AT_ONCE = 3
CELLS = [
    # The hub waits for a while before it restarts a Traefik: see test_stuck_traefik.py.
    *(
        (store, fault)
        for store in ("redis", "file")
        for fault in FAULTS
        if applies(store, fault) and fault != "connections-forgotten"
    ),
    *((store, fault) for store in ("etcd", "consul") for fault in ("network-silent", "answers-lost")),
    ("redis-noisy", "store-killed"),
    *(
        ("redis-tiers", fault)
        for fault in ("hot-killed", "hot-paused", "pair-killed", "hub-killed", "hub-killed-amid-move", "both-killed")
    ),
    *((store, fault) for store in ("etcd", "consul") for fault in ("store-killed", "keys-deleted", "both-killed")),
    *((store, "store-emptied") for store in ("redis-noisy", "etcd", "consul")),
    *((store, "store-and-hub-lost") for store in ("redis-noisy", "consul")),
]

# The first test waits for all cells; two minutes on an idle machine.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], object]:
    """Outcomes of all cells that tests were chosen for, run side by side."""
    items = [item for item in request.session.items if item.path == request.path]
    chosen = [item.callspec.params["cell"] for item in items if not missing(item.callspec.params["cell"][0])]

    async def all_of_them() -> list[object]:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(store: str, fault: str, directory: Path) -> Outcome:
            async with turn:
                return await run(store, fault, SCALE, directory)

        work = [one(*cell, tmp_path_factory.mktemp("cell")) for cell in chosen]
        return await asyncio.gather(*work, return_exceptions=True)

    return dict(zip(chosen, asyncio.run(all_of_them()), strict=True))


@functools.cache
def missing(store: str) -> str:
    """Why there is no such store on this machine, empty if there is."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            STORES[store][1](Path(directory)).close()
        except ServerError as error:
            return str(error)
    return ""


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_a_fault_is_survived(cell: tuple[str, str], outcomes: dict[tuple[str, str], object]) -> None:
    """Zero failed requests on routes that it does not hit, all routes and keys right, and a new one soon."""
    if why := missing(cell[0]):
        pytest.skip(why)
    outcome = outcomes[cell]
    if isinstance(outcome, BaseException):
        raise outcome
    assert isinstance(outcome, Outcome)
    assert outcome.problem == ""
    assert outcome.failed == 0
    assert outcome.before == outcome.after >= SCALE.routes
    assert outcome.sent + outcome.hit >= SCALE.routes
    assert outcome.add is not None
    assert outcome.healed is not None
    assert max(outcome.add, outcome.healed) < SOON
