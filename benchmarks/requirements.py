"""Requirements of kvproxy, and the verdict of this run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from benchmarks.figures import figure
from benchmarks.results import Results
from benchmarks.roster import ROSTER

#: The subject of the requirements: the set-up that the documentation recommends.
RECOMMENDED = "kvproxy-quiet"
#: The same without what the peer does not do either: it has nothing to tell a hub about the use of servers.
LIKE_PEER = "kvproxy-uncounted"
#: The same questions about other ways to run it on Redis, without a verdict.
OTHERS = ("kvproxy-tcp", "kvproxy")


@dataclass(frozen=True)
class Check:
    """One requirement.

    text: what was measured. value: None if it was not. limit: None if there is none. why: what kept it from being
    measured.
    """

    text: str
    value: float | None
    unit: str
    limit: float | None = None
    at_least: bool = True
    why: str = ""

    @property
    def verdict(self) -> str:
        """PASS, FAIL, INFO, or that it was not measured."""
        if self.value is None:
            return "NOT MEASURED"
        if self.limit is None:
            return "INFO"
        return "PASS" if (self.value >= self.limit if self.at_least else self.value <= self.limit) else "FAIL"

    def cells(self) -> list[str]:
        """A row of a table."""
        wanted = (
            "" if self.limit is None else f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"
        )
        found = self.why if self.value is None else f"{figure(self.value)} {self.unit}"
        return [self.verdict, self.text, found, wanted]


@dataclass(frozen=True)
class Point:
    """One number among the results: the median of the calls; the mean for CPU, which comes in rare lumps."""

    contestant: str
    size: int
    operation: str
    metric: str = "returned_s"

    def value(self, results: Results) -> float | None:
        """The number, None if there is none."""
        ask: Callable[..., float | None] = results.mean if "cpu" in self.metric else results.median
        return ask(self.contestant, self.size, self.operation, self.metric)

    def why(self, results: Results) -> str:
        """The reason why there is no value, with the contestant's name."""
        found = results.error(self.contestant, self.size, self.operation)
        return f"{ROSTER[self.contestant].label}: {found}" if found else ""


def checks(results: Results) -> list[Check]:
    """All requirements; then, as information, the same of other ways to run kvproxy."""
    found = list(_all(results, RECOMMENDED))
    for name in OTHERS:
        if name in results.contestants():
            found += [replace(check, limit=None) for check in _all(results, name)]
    return found


def _all(results: Results, ours: str) -> Iterator[Check]:
    for part in (_adding, _adding_beside_peer, _at_once, _reading, _requests):
        for check in part(results, ours):
            yield replace(check, text=f"{ROSTER[ours].label}: {check.text}")


def _adding(results: Results, ours: str) -> Iterator[Check]:
    floor = ours.replace("kvproxy", "floor")
    if floor not in ROSTER:
        return
    for size in results.sizes("add_polled"):
        text = f"added route served at {size:,} routes, times the floor"
        limit = 1.3 if size in (100, 1000, 5000) else None
        points = Point(ours, size, "add_polled", "served_s"), Point(floor, size, "add_polled", "served_s")
        yield ratio(results, text, *points, limit, at_least=False)
    for size in results.sizes("add"):
        text = f"add_route at {size:,} routes, times the floor"
        yield ratio(results, text, Point(ours, size, "add"), Point(floor, size, "add"))


def _adding_beside_peer(results: Results, ours: str) -> Iterator[Check]:
    text = "add_route at 100 routes, times faster than the peer"
    yield ratio(results, text, Point("peer", 100, "add"), Point(ours, 100, "add"), 30)
    for size, limit in ((1000, 8), (5000, 3)):
        # Each returns when it finds its route ready. Polling is work for Traefik too, the same for both.
        text = f"add_route at {size:,} routes, times faster than the peer"
        yield ratio(results, text, Point("peer", size, "add"), Point(ours, size, "add"), limit)
        text = f"the same while the public URL is polled, at {size:,} routes"
        points = Point("peer", size, "add_polled", "served_s"), Point(ours, size, "add_polled", "served_s")
        yield ratio(results, text, *points)
    text = "Traefik's CPU an added route at 5,000 routes, the peer's in times ours"
    points = Point("peer", 5000, "add", "proxy_cpu_s"), Point(ours, 5000, "add", "proxy_cpu_s")
    yield ratio(results, text, *points, 12)


def _at_once(results: Results, ours: str) -> Iterator[Check]:
    text = "50 at once at 100 routes, times faster than the peer"
    yield ratio(results, text, Point("peer", 100, "storm-50"), Point(ours, 100, "storm-50"), 40)
    text = "200 at once at 1,000 routes, times one added route"
    yield ratio(results, text, Point(ours, 1000, "storm-200"), Point(ours, 1000, "add"), 4, at_least=False)


def _reading(results: Results, ours: str) -> Iterator[Check]:
    for operation in ("get", "delete"):
        point = Point(ours, 5000, operation)
        seconds = point.value(results)
        value = None if seconds is None else 1000 * seconds
        text = f"{operation}_route at 5,000 routes, median"
        yield Check(text, value, "ms", 5, at_least=False, why=point.why(results))


def _requests(results: Results, ours: str) -> Iterator[Check]:
    if not ROSTER[ours].loaded:
        return
    if ROSTER[ours].grown:
        yield from _growth(results, "", ours)
        yield from _growth(results, ", without last_activity", LIKE_PEER)
    text = "requests a second at 5,000 routes, times"
    yield _faster(results, f"{text} configurable-http-proxy", ours, "chp", 2.5)
    yield _faster(results, f"{text} the peer, which does not count them", ours, "peer")
    if ours == RECOMMENDED:
        yield _faster(results, f"{text} the peer, without last_activity as it", LIKE_PEER, "peer", 3)


def _growth(results: Results, how: str, name: str) -> Iterator[Check]:
    for size, limit in ((5000, 1.3), (10000, 1.5)):
        text = f"CPU a request at {size:,} routes{how}, times that at 10"
        points = Point(name, size, "growth", "cpu_s"), Point(name, 10, "growth", "cpu_s")
        yield ratio(results, text, *points, limit, at_least=False)


def _faster(results: Results, text: str, ours: str, rival: str, limit: float | None = None) -> Check:
    points = Point(ours, 5000, "small-16", "rate"), Point(rival, 5000, "small-16", "rate")
    return ratio(results, text, *points, limit)


def ratio(
    results: Results, text: str, above: Point, below: Point, limit: float | None = None, *, at_least: bool = True
) -> Check:
    """A requirement about one number in times another; where one is missing, it says why."""
    more, less = above.value(results), below.value(results)
    if more and less:
        return Check(text, more / less, "x", limit, at_least)
    return Check(text, None, "x", limit, at_least, above.why(results) or below.why(results))
