"""How much of a run is left; only a guess, which is made better as it goes."""

from __future__ import annotations

import time

from benchmarks.plan import Plan, Step
from benchmarks.roster import ROSTER

#: How much longer than the others a contestant's proxy is at work for one change.
_HEAVY = {"peer": 15.0, "kvproxy": 3.0, "floor": 3.0, "chp": 0.2}
_PAUSE = 0.25  # seconds until a proxy is known to have come to rest
_RELOAD = 2e-8  # seconds a reload and route and route: the cost grows with the square


class Progress:
    """Weighs what is done against what the plan has still to do; print it to see how long it may take."""

    def __init__(self, plan: Plan, contestants: list[str], editing: bool):
        self._plan = plan
        self._editing = editing
        self._begin = time.monotonic()
        self._done = 0.0
        self._all = sum(self._of_size(size, name) for size in plan.sizes for name in contestants)

    def done(self, size: int, name: str, step: Step) -> None:
        """Note a step that was done, or passed over."""
        self._done += self._guess(size, name, step)

    def __str__(self) -> str:
        passed = time.monotonic() - self._begin
        left = passed * (self._all - self._done) / self._done if self._done else self._all
        return f"--- {passed / 60:.0f} min so far, about {max(left, 0) / 60:.0f} min left"

    def _of_size(self, size: int, name: str) -> float:
        plan, (_, rounds) = self._plan, self._plan.effort(size)
        steps: list[Step] = []
        if self._editing and ROSTER[name].edited:
            steps += [*plan.opening(size), *plan.closing(size), *rounds * plan.round(size)]
        if ROSTER[name].loaded:
            steps += [*plan.opening(size), plan.warm_up(size), *plan.turns * plan.load(size)]
        return sum(self._guess(size, name, step) for step in steps)

    def _guess(self, size: int, name: str, step: Step) -> float:
        """Seconds that a step may take."""
        label, request = step
        reload = _RELOAD * size * size * _HEAVY.get(name, 1.0)
        operation = request["op"]
        if operation in {"add", "add_polled"}:
            return float(request["count"] * (_PAUSE + reload))
        if operation == "delete":
            return self._plan.effort(size)[0] * (_PAUSE + reload)
        if operation == "storm":
            return min(
                _PAUSE + reload * (request["count"] if _HEAVY.get(name, 1.0) > 1 else 2), self._plan.limit_of(label)
            )
        if operation in {"requests", "websockets"}:
            return float(request["seconds"] + _PAUSE)
        return _PAUSE + (2 * reload + 0.5 if operation in {"start", "restart"} else 0)
