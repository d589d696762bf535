"""Prometheus metrics of the proxy, in the hub's own registry, so that they appear in ``/hub/metrics``.

Names begin as the hub's do (``JUPYTERHUB_METRICS_PREFIX``, ``jupyterhub`` if it is not set) and go on with ``kvproxy``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from jupyterhub.metrics import metrics_prefix
from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..routing.route import Route
from ..traefik.replicas import Replica
from .observer import Observer

_PREFIX: Final = f"{metrics_prefix}_kvproxy"
#: Seconds; from an idle small hub to an unreachable store.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

COMMITS: Final = Histogram(
    f"{_PREFIX}_commit_duration_seconds", "Duration of a commit to the store, all its transactions", buckets=_BUCKETS
)
OPERATIONS: Final = Counter(f"{_PREFIX}_operations", "Keys that were set or deleted in the store")
STORE_FAILURES: Final = Counter(f"{_PREFIX}_store_failures", "Errors of the store")
REPAIRS: Final = Counter(f"{_PREFIX}_repairs", "Entries in the store that were not as the hub left them")
RENOTIFICATIONS: Final = Counter(
    f"{_PREFIX}_traefik_renotifications", "Times that Traefik had to be notified again of a change"
)
READY: Final = Histogram(
    f"{_PREFIX}_route_ready_seconds", "Time from add_route until Traefik serves the route", buckets=_BUCKETS
)
NOT_READY: Final = Counter(f"{_PREFIX}_routes_not_ready", "Routes that were added and not served in time")


class Counters(Observer):
    """Counts in the hub's registry."""

    def committed(self, operations: int, seconds: float) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.committed`."""
        COMMITS.observe(seconds)
        OPERATIONS.inc(operations)

    def store_failed(self) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.store_failed`."""
        STORE_FAILURES.inc()

    def repaired(self, entries: int) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.repaired`."""
        REPAIRS.inc(entries)

    def told_again(self) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.told_again`."""
        RENOTIFICATIONS.inc()

    def served(self, route: Route, seconds: float) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.served`."""
        READY.observe(seconds)

    def not_served(self, routespec: str, error: Exception) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.not_served`."""
        NOT_READY.inc()


class State(Protocol):
    """The state of a proxy that is read when the metrics are scraped."""

    @property
    def count(self) -> int:
        """The number of desired routes."""

    @property
    def waiting(self) -> int:
        """The number of entries that are still to be written to the store."""

    @property
    def revision(self) -> int:
        """The revision that Traefik was notified of last."""

    @property
    def replicas(self) -> Iterable[Replica]:
        """Every replica of Traefik."""


class Measured(Protocol):
    """A source of the memory that each Traefik uses."""

    @property
    def memory(self) -> Mapping[str, float]:
        """Bytes of memory that each replica used when it was asked last, by its label."""


class Gauges(Collector):
    """Reads the state of all proxies of this process at each scrape; a hub has one proxy."""

    def __init__(self) -> None:
        self._states: list[State] = []
        self._measured: list[Measured] = []

    def watch(self, state: State) -> None:
        """Read this state too."""
        self._states.append(state)

    def forget(self, state: State) -> None:
        """Stop reading this state; one that is not read is no error."""
        self._states = [other for other in self._states if other is not state]

    def watch_memory(self, measured: Measured) -> None:
        """Read the memory of this source's Traefiks too."""
        self._measured.append(measured)

    def forget_memory(self, measured: Measured | None) -> None:
        """Stop reading this source; None, or a source that is not read, is no error."""
        self._measured = [other for other in self._measured if other is not measured]

    def collect(self) -> Iterator[Metric]:
        """See ``prometheus_client``."""
        routes = sum(state.count for state in self._states)
        waiting = sum(state.waiting for state in self._states)
        yield GaugeMetricFamily(f"{_PREFIX}_routes", "Routes that the hub has added", value=routes)
        yield GaugeMetricFamily(f"{_PREFIX}_edits_waiting", "Entries still to be written", value=waiting)
        up = GaugeMetricFamily(f"{_PREFIX}_replica_up", "Whether a replica of Traefik answers", labels=["replica"])
        lag = GaugeMetricFamily(
            f"{_PREFIX}_replica_lag_seconds",
            "Age of a replica's configuration, relative to the last one that it was notified of",
            labels=["replica"],
        )
        for state in self._states:
            for replica in state.replicas:
                where = _where(replica.view.label)
                up.add_metric([where], replica.problem is None)
                if replica.seen is not None:
                    # Revisions are milliseconds since 1970, as the hub's clock has them.
                    lag.add_metric([where], max(state.revision - replica.seen, 0) / 1000)
        yield up
        yield lag
        memory = GaugeMetricFamily(
            f"{_PREFIX}_traefik_memory_bytes",
            "Memory that a replica of Traefik used when the hub asked it for its counters",
            labels=["replica"],
        )
        for measured in self._measured:
            for label, used in measured.memory.items():
                memory.add_metric([_where(label)], used)
        yield memory


def _where(label: str) -> str:
    return label.removeprefix("Traefik's API at ")


#: The collector in the registry.
GAUGES: Final = Gauges()
REGISTRY.register(GAUGES)
