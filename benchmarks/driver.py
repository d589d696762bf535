"""Runs contestants in turn: each has its own store and worker, and all of them live through the same minutes."""

from __future__ import annotations

import contextlib
import secrets
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.places import place_for
from benchmarks.plan import Plan, Step
from benchmarks.progress import Progress
from benchmarks.results import Results, Row
from benchmarks.roster import ROSTER
from benchmarks.servers import Backend
from benchmarks.stores import Store, running
from benchmarks.tools import Tools
from benchmarks.worker_process import Worker

T = TypeVar("T")


@dataclass
class Driver:
    """One run of a plan.

    contestants: their names. directory: for logs and configuration files. keep: is given the results after each size.
    editing: whether anything but requests is measured. growing: whether sizes are compared with one another, which is
    done last and with all of them up: half an hour later, the same machine may be a tenth slower.
    """

    plan: Plan
    contestants: list[str]
    tools: Tools
    directory: Path
    keep: Callable[[Results], None]
    results: Results = field(default_factory=Results)
    editing: bool = True
    growing: bool = True

    def __post_init__(self) -> None:
        self._progress = Progress(self.plan, self.contestants, self.editing)

    def run(self) -> Results:
        """Measure everything at one size after the other."""
        loaded = [name for name in self.contestants if ROSTER[name].loaded]
        with Backend(self.tools.nginx) as backend:
            for size in self.plan.sizes:
                if edited := [name for name in self.contestants if self.editing and ROSTER[name].edited]:
                    with self._opened(edited, size, backend) as seats:
                        self._edits(size, seats)
                with self._opened(loaded, size, backend) as seats:
                    self._requests(size, seats)
                self.keep(self.results)
            if self.growing:
                self.grow(backend)
        return self.results

    def grow(self, backend: Backend) -> None:
        """Requests at several sizes, in turns."""
        names = [name for name in self.contestants if ROSTER[name].grown]
        with contextlib.ExitStack() as stack:
            seats = []
            for size in self.plan.growth:
                seats += [(size, seat) for seat in stack.enter_context(self._opened(names, size, backend))]
            for size, seat in seats:
                self.do(seat, size, 0, self.plan.warm_up(size))
            for number, turn in enumerate(in_turns(seats, self.plan.growth_turns)):
                for size, seat in turn:
                    self.do(seat, size, number, self.plan.growing(size))
        self.keep(self.results)

    @contextlib.contextmanager
    def _opened(self, names: list[str], size: int, backend: Backend) -> Iterator[list[Seat]]:
        with contextlib.ExitStack() as stack:
            seats = [stack.enter_context(self._seat(name, size, backend)) for name in names]
            for seat in seats:
                for step in self.plan.opening(size):
                    self.do(seat, size, 0, step)
            yield seats

    def _requests(self, size: int, seats: list[Seat]) -> None:
        for seat in seats:
            self.do(seat, size, 0, self.plan.warm_up(size))
        for number, turn in enumerate(in_turns(seats, self.plan.turns)):
            for step in self.plan.load(size):
                for seat in turn:
                    self.do(seat, size, number, step)
        print(self._progress, flush=True)

    def _edits(self, size: int, seats: list[Seat]) -> None:
        for number in range(self.plan.effort(size)[1]):
            # No contestant is always first, or always behind the same neighbour.
            turn = number % len(seats)
            for step in self.plan.round(size):
                for seat in seats[turn:] + seats[:turn]:
                    self.do(seat, size, number, step)
            print(self._progress, flush=True)
        for seat in seats:
            for step in self.plan.closing(size):
                self.do(seat, size, 0, step)
            # Its Traefik may have much left to do that the next one is not to suffer from.
            seat.worker.close()
            print(self._progress, flush=True)

    def do(self, seat: Seat, size: int, number: int, step: Step) -> None:
        """Have a step done; note what came of it, and once per size what kept it from its end."""
        label, request = step
        known = label in seat.worker.failed
        before = seat.store.changes() if label == "restart" else 0
        samples, error = seat.worker.ask(label, request, self.plan.limit_of(label))
        place = (seat.worker.name, size, label, number)
        self.results.rows += [
            Row(*place, index, metric, value)
            for index, sample in enumerate(samples)
            for metric, value in sample.items()
        ]
        if label == "restart" and samples and seat.store.url:
            self.results.rows.append(Row(*place, 0, "written", float(seat.store.changes() != before)))
        if error and not known:
            self.results.rows.append(Row(*place, 0, "error", 0.0, error))
        self._progress.done(size, seat.worker.name, step)
        shown = _shown([sample["returned_s"] for sample in samples if "returned_s" in sample])
        print(f"{size:6} routes  round {number + 1}  {seat.worker.name:15}{label:12}{shown}{error}", flush=True)

    @contextlib.contextmanager
    def _seat(self, name: str, size: int, backend: Backend) -> Iterator[Seat]:
        # One of its own each time: a contestant that is measured in several ways starts each from nothing.
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-{size}-", dir=self.directory))
        password, entrant = secrets.token_hex(16), ROSTER[name]
        with running(entrant.store, directory, password, socket=entrant.socket) as store:
            login = ("traefik" if entrant.quiet else "", password)
            place = place_for(entrant.store, store, directory, backend, self.tools.wrk, login=login, chp=self.tools.chp)
            seat = Seat(Worker(name, place, self.tools.python(name)), store)
            try:
                self.do(seat, size, 0, ("fill", {"op": "fill", "count": size}))
                self._weigh(seat, size)
                yield seat
            finally:
                seat.worker.close()

    def _weigh(self, seat: Seat, size: int) -> None:
        """The store's contents per route, before anything but routes is in it."""
        if "fill" in seat.worker.failed:
            return
        keys, payload = seat.store.footprint()
        weights = {"keys": keys / (size + 1), "payload_b": payload / (size + 1)}
        name = seat.worker.name
        self.results.rows += [
            Row(name, size, "store", 0, 0, metric, value) for metric, value in weights.items() if value
        ]


@dataclass
class Seat:
    """A contestant at the table, and its store."""

    worker: Worker
    store: Store


def in_turns(seats: list[T], turns: int) -> Iterator[list[T]]:
    """The seats in the order of each turn, which begin at places all over the round: each is early and late."""
    for number in range(turns):
        first = number * len(seats) // turns
        yield seats[first:] + seats[:first]


def _shown(times: list[float]) -> str:
    return f"{1000 * statistics.median(times):10.2f} ms " if times else ""
