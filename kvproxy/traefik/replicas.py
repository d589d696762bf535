"""All the replicas of Traefik that read one store: what each has loaded, and which of them are waited for.

A route is ready when every replica that answers serves it. One that does not answer holds all routes up for a *grace*
only; then it is left out, which the log says, until it answers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from .._loop_stalls import LoopStalls
from .._types import Log
from ..errors import TraefikError, TraefikSilentError
from ..routing.entry import Entry
from .api import TraefikView
from .readiness import Pending, Ready, Rejected, Verdict, judge
from .static_config import parse_version

T = TypeVar("T")

#: One request for the whole table costs about as much as one for a router per this many of its rows.
_TABLE_ROWS_PER_REQUEST: Final = 12
#: Seconds between two questions to a replica that is left out.
_LOST_LOOK: Final = 1.0


class Fleet(Protocol):
    """Says which replicas there are."""

    async def members(self) -> Sequence[TraefikView]:
        """The replicas, at least one; a replica is the same object each time. Never raises."""


@dataclass(eq=False)
class Replica:
    """One Traefik, and what has been seen of it.

    Args:
        view: how to ask it.
        answered: loop time of its last answer, or, before the first, of when it was met.
        seen: the revision that it has loaded, None if none of ours.
        version: its version, None as long as it was not asked.
        problem: why it could not be asked last, None if it could.
        silent: whether that is that it did not answer in time.
        lost: whether it is not waited for.
    """

    view: TraefikView
    answered: float
    seen: int | None = None
    version: tuple[int, ...] | None = None
    problem: str | None = None
    silent: bool = False
    lost: bool = False
    asking: asyncio.Task[None] | None = None


class Replicas:
    """Asks all replicas the same.

    Args:
        fleet: which there are.
        grace: seconds for which one that does not answer is waited for, as long as another one does.
        stalls: measures for how long the hub's own event loop stands still.
        concurrency: requests under way at once to each.
        log: where to say that one is left out.
    """

    def __init__(self, fleet: Fleet, *, grace: float, stalls: LoopStalls, concurrency: int, log: Log) -> None:
        self._stalls = stalls
        self._fleet = fleet
        self._grace = grace
        self._concurrency = concurrency
        self._log = log
        #: Every replica, those that are left out too.
        self.all: list[Replica] = []
        #: The replicas that are waited for: all that answer, or may do so again; if none does, all.
        self.counted: list[Replica] = []

    @property
    def seen(self) -> int | None:
        """The revision that each counted replica has loaded at least, None if one has loaded none of ours."""
        known = [replica.seen for replica in self.counted if replica.seen is not None]
        return min(known) if known and len(known) == len(self.counted) else None

    @property
    def problem(self) -> str | None:
        """Why a counted replica could not be asked, None if all could."""
        return next((replica.problem for replica in self.counted if replica.problem is not None), None)

    @property
    def silent(self) -> bool:
        """True if a counted replica did not answer in time."""
        return any(replica.silent for replica in self.counted)

    @property
    def lost(self) -> bool:
        """True if a replica, be it counted or not, has not answered for longer than the grace period."""
        return any(r.problem is not None and self._now() - r.answered >= self._grace for r in self.all)

    @property
    def version(self) -> tuple[int, ...] | None:
        """The oldest version among the counted replicas, None as long as none was asked."""
        return min([replica.version for replica in self.counted if replica.version is not None], default=None)

    async def look(self) -> None:
        """Ask each replica what it has loaded; one that is left out is not waited for."""
        now = self._now()
        members = await self._fleet.members()
        known = {id(replica.view): replica for replica in self.all}
        self.all = [known.pop(id(view)) if id(view) in known else Replica(view, now) for view in members]
        for gone in known.values():
            if gone.asking is not None:
                gone.asking.cancel()
        self._count()
        for replica in self.all:
            if replica.asking is None or replica.asking.done():
                replica.asking = asyncio.create_task(self._ask(replica))
        for replica in self.counted:
            if replica.asking is not None:
                await replica.asking
        self._sort_out()

    async def aclose(self) -> None:
        """Stop asking."""
        asking = [replica.asking for replica in self.all if replica.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, replica: Replica) -> None:
        if replica.lost:
            await asyncio.sleep(_LOST_LOOK)
        before = self._stalls.lost
        await self._ask_once(replica)
        if replica.problem is not None and self._stalls.lost > before:
            # The answer may have come while nothing here could read it.
            await self._ask_once(replica)

    async def _ask_once(self, replica: Replica) -> None:
        try:
            replica.seen = await self._in_time(replica.view.revision())
            # Before it has loaded anything of ours, its API need not be reachable at all.
            if replica.version is None and replica.seen is not None:
                replica.version = parse_version(await self._in_time(replica.view.version()))
        except TraefikError as error:
            replica.problem, replica.silent = str(error), isinstance(error, TraefikSilentError)
            # It may come back as another one.
            replica.version = None
        except Exception:
            self._log.exception("%s gave an answer that kvproxy does not understand.", replica.view.label)
            replica.problem = f"{replica.view.label} gave an answer that kvproxy does not understand."
            replica.silent = False
        else:
            replica.problem, replica.silent, replica.answered = None, False, self._now()

    async def _in_time(self, answer: Awaitable[T]) -> T:
        """An answer, within the grace if there are others that could go on without it."""
        if len(self.all) < 2:
            return await answer
        try:
            return await asyncio.wait_for(answer, max(self._grace, 0.1))
        except asyncio.TimeoutError:
            raise TraefikSilentError(f"A replica of Traefik did not answer within {self._grace:g} s.") from None

    def _sort_out(self) -> None:
        """Stop waiting for replicas that are silent beyond the grace period; resume when they answer."""
        anybody = any(replica.problem is None for replica in self.all)
        for replica in self.all:
            silent = replica.problem is not None and self._now() - replica.answered >= self._grace
            if anybody and silent and not replica.lost:
                self._log.warning(
                    "%s Routes no longer wait for this replica (%s) until it answers.",
                    replica.problem,
                    replica.view.label,
                )
            if replica.lost and replica.problem is None:
                self._log.info("%s answers again.", replica.view.label)
            replica.lost = replica.problem is not None and (replica.lost or (anybody and silent))
        self._count()

    def _count(self) -> None:
        self.counted = [replica for replica in self.all if not replica.lost] or self.all

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def judge(self, due: Mapping[str, Entry], rows: int) -> dict[str, Verdict]:
        """Judge some routes by all counted replicas: ready are those that every replica serves.

        Args:
            due: the routes' entries by name.
            rows: how many routes there are.
        """
        if not due:
            return {}
        answers = await _together([self._judge(replica, due, rows) for replica in self.counted])
        return {name: _worst([said[name] for said in answers]) for name in due}

    async def _judge(self, replica: Replica, due: Mapping[str, Entry], rows: int) -> dict[str, Verdict]:
        try:
            if len(due) * _TABLE_ROWS_PER_REQUEST > rows:
                table = await replica.view.table()
                said = {n: judge(entry, table.routers.get(n), table.services.get(n)) for n, entry in due.items()}
            else:
                said = await self._judge_each(replica.view, due)
        except TraefikError as error:
            replica.problem = str(error)
            return dict.fromkeys(due, Pending(str(error)))
        if len(self.all) > 1:
            said = {name: _at(verdict, replica.view.label) for name, verdict in said.items()}
        return said

    async def _judge_each(self, view: TraefikView, due: Mapping[str, Entry]) -> dict[str, Verdict]:
        left, said = iter(due.items()), dict[str, Verdict]()

        async def look() -> None:
            for name, entry in left:
                said[name] = judge(entry, await view.router(name), await view.service(name))

        await _together([look() for _ in range(min(self._concurrency, len(due)))])
        return said


async def _together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do some work side by side, at least one piece, and return the results in the same order.

    The first piece is done by the caller's own task: one by itself needs no task, and no turn of the event loop. If a
    piece fails, or the caller is cancelled, the others are cancelled.
    """
    first, *others = works
    tasks = [asyncio.create_task(other) for other in others]
    try:
        return [await first, *[await task for task in tasks]]
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    for kind in (Rejected, Pending):
        for verdict in verdicts:
            if isinstance(verdict, kind):
                return verdict
    return Ready()


def _at(verdict: Verdict, replica: str) -> Verdict:
    return verdict if isinstance(verdict, Ready) else type(verdict)(f"{verdict.why} ({replica})")
