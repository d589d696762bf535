"""How much is measured, and how long that will take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

#: One thing a worker is asked for: its name in the results, and the request; see `benchmarks.worker`.
Step: TypeAlias = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """How much is measured; at sizes that are not named, nothing of that kind.

    sizes: numbers of routes. adds: up to which size -> calls of one kind in a round, and rounds. lookups: calls of
    get_route a round. few: routes added at once in each round, at ``few_sizes``. many: routes added at once at the very
    end, at ``many_sizes``. requests: kind of answers and connections -> sizes. websockets: how many are open at
    ``websocket_sizes``. seconds: that each measurement of requests lasts, whole ones; turns: how many there are of
    each, after one that is not looked at, as in it connections are opened and memory is touched for the first time.
    growth: sizes that are asked for requests in turns with one another, and growth_turns of them. limit: seconds that
    one contestant may take for one operation in one round; many_limit: for the many at once.
    """

    sizes: tuple[int, ...] = (10, 100, 1000, 5000, 10000)
    adds: tuple[tuple[int, int, int], ...] = ((100, 4, 3), (1000, 4, 3), (5000, 3, 2), (10000, 2, 1))
    lookups: int = 10
    few: int = 50
    few_sizes: tuple[int, ...] = (100,)
    many: int = 200
    many_sizes: tuple[int, ...] = (100, 1000, 5000)
    requests: tuple[tuple[str, int, tuple[int, ...]], ...] = (
        ("small", 16, (10, 100, 1000, 5000, 10000)),
        ("small", 256, (10, 1000, 5000, 10000)),
        ("large", 16, (10, 5000)),
        ("large", 256, (10, 5000)),
    )
    websockets: int = 64
    websocket_sizes: tuple[int, ...] = (10, 5000)
    seconds: int = 2
    turns: int = 4
    growth: tuple[int, ...] = (10, 5000, 10000)
    growth_turns: int = 32
    limit: float = 180.0
    many_limit: float = 90.0

    def effort(self, size: int) -> tuple[int, int]:
        """Calls of one kind in a round, and rounds."""
        for most, calls, rounds in self.adds:
            if size <= most:
                return calls, rounds
        return self.adds[-1][1:]

    def opening(self, size: int) -> list[Step]:
        """The first steps of each contestant."""
        return [("start", {"op": "start", "count": size}), ("settle", {"op": "settle"})]

    def round(self, size: int) -> list[Step]:
        """One round, in which contestants take turns. Added routes are removed again, so that the size stays."""
        calls, _ = self.effort(size)
        few: list[Step] = [(at_once(self.few), {"op": "storm", "count": self.few}), ("clear", {"op": "clear"})]
        return [
            ("add", {"op": "add", "count": calls}),
            ("delete", {"op": "delete"}),
            ("add_polled", {"op": "add_polled", "count": calls}),
            ("delete", {"op": "delete"}),
            ("get", {"op": "get", "count": self.lookups, "among": size}),
            ("get_all", {"op": "get_all"}),
            *(few if size in self.few_sizes else []),
        ]

    def closing(self, size: int) -> list[Step]:
        """The steps of each contestant alone after the rounds; the many at once at last, as the table is left so."""
        many: list[Step] = [("settle", {"op": "settle"}), (at_once(self.many), {"op": "storm", "count": self.many})]
        return [
            ("memory", {"op": "memory"}),
            ("restart", {"op": "restart", "count": size}),
            ("settle", {"op": "settle"}),
            ("check", {"op": "check", "count": size}),
            *(many if size in self.many_sizes else []),
        ]

    def warm_up(self, size: int) -> Step:
        """Requests before those that are measured."""
        return "warm-up", self._requests("small", 16, size)

    def _requests(self, kind: str, connections: int, size: int) -> dict[str, Any]:
        return {"op": "requests", "kind": kind, "connections": connections, "among": size, "seconds": self.seconds}

    def growing(self, size: int) -> Step:
        """Requests that are compared with those at other sizes."""
        return "growth", self._requests("small", 16, size)

    def load(self, size: int) -> list[Step]:
        """One turn of requests; nothing is edited meanwhile, and each contestant is asked alone."""
        steps: list[Step] = [
            (f"{kind}-{connections}", self._requests(kind, connections, size))
            for kind, connections, sizes in self.requests
            if size in sizes
        ]
        if size in self.websocket_sizes:
            talk = {"op": "websockets", "connections": self.websockets, "among": size, "seconds": self.seconds}
            steps.append(("websockets", talk))
        return steps

    def limit_of(self, label: str) -> float:
        """Seconds that an operation may take."""
        return self.many_limit if label == at_once(self.many) else self.limit


def is_of_requests(label: str) -> bool:
    """True if a name in the results is that of requests or websockets."""
    return label in {"warm-up", "websockets"} or label.startswith(("small-", "large-"))


def at_once(count: int) -> str:
    """Name in the results of routes added at once."""
    return f"storm-{count}"


QUICK = Plan(
    sizes=(10, 100),
    adds=((100, 2, 2),),
    lookups=5,
    few_sizes=(100,),
    many_sizes=(100,),
    requests=(("small", 16, (10, 100)), ("small", 256, (10,)), ("large", 16, (10,)), ("large", 256, (10,))),
    websocket_sizes=(10,),
    seconds=1,
    growth=(10, 100),
    growth_turns=2,
    limit=60,
    many_limit=60,
)
