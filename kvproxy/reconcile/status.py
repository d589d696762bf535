"""The state of the routes, for metrics and other readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from ..routing.entry import Entry
from ..routing.route import Route, RouteSpec, address_of
from ..routing.table import DesiredTable
from ..routing.tiers import covering
from ..traefik.replicas import Replica
from .progress import Progress
from .reasons import stuck
from .store_loop import StoreLoop
from .traefik_loop import TraefikLoop


class Status:
    """The present state of the store and of Traefik, as far as it is known."""

    _progress: Progress
    _table: DesiredTable
    _store_loop: StoreLoop
    _traefik_loop: TraefikLoop

    @property
    def revision(self) -> int:
        """The revision of the configuration that Traefik was notified of last."""
        return self._progress.told

    @property
    def replicas(self) -> list[Replica]:
        """Every replica of Traefik, with its last known state."""
        return self._traefik_loop.replicas.all

    @property
    def desired(self) -> Mapping[str, Entry]:
        """The desired entries of the store, by name: routes, groups of them, and the setup."""
        return self._table.entries

    @property
    def waiting(self) -> int:
        """The number of entries that are still to be written to the store."""
        return self._store_loop.waiting

    @property
    def count(self) -> int:
        """The number of desired routes."""
        return self._table.count

    @property
    def answers(self) -> bool:
        """True if every replica of Traefik that counts answered when it was asked last."""
        return self._progress.problem is None

    @property
    def lost(self) -> bool:
        """See :attr:`.Replicas.lost`."""
        return self._traefik_loop.replicas.lost

    @property
    def follows(self) -> bool:
        """True if every replica of Traefik that counts answers, and has loaded a configuration of the hub."""
        return self.answers and self._progress.loaded is not None

    @property
    def version(self) -> tuple[int, ...] | None:
        """The oldest version of Traefik among the replicas that count; None if it is not known."""
        return self._progress.version

    @property
    def held_back(self) -> bool:
        """True while nothing is written, so that Traefik keeps the routes of an earlier start."""
        return self._store_loop.held_back

    @property
    def behind(self) -> bool:
        """True while Traefik is still loading a commit."""
        return self._progress.behind

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a route as JupyterHub knows it, None if there is none with this key, at the same cost at any size."""
        entry = self._table.entries.get(self._table.names.route(key))
        return entry.route.as_dict() if entry is not None and entry.route is not None else None

    def routes(self) -> Iterator[Route]:
        """Return the desired routes."""
        return (entry.route for entry in self._table.entries.values() if entry.route is not None)

    def route(self, spec: RouteSpec) -> Route | None:
        """Return the desired route at a place, None if there is none."""
        entry = self._table.entries.get(self._table.names.route(spec.key))
        return entry.route if entry is not None else None

    def serves(self, spec: RouteSpec) -> bool:
        """Return True if Traefik was seen to serve the route at a place as it is desired, since it last failed."""
        entry = self._table.entries.get(self._table.names.route(spec.key))
        return entry is not None and self._progress.served.get(entry.name) == entry.generation

    def awaited(self, spec: RouteSpec) -> bool:
        """Return True if a caller still waits for the route at a place, which may be taken back."""
        return bool(self._progress.waiters(self._table.names.route(spec.key)))

    def may_serve(self, spec: RouteSpec) -> bool:
        """Return True if a Traefik has a route at a place, is about to have it, or may still have it."""
        name = self._table.names.route(spec.key)
        return self._store_loop.knows(name) or self._progress.lingers(name)

    def leads_to(self, target: str) -> bool:
        """Return True if a desired route leads to the host and port of this URL."""
        return bool(self._table.routes_to(address_of(target)))

    def may_misroute(self, route: Route) -> bool:
        """Return True if Traefik may still have a deleted route that leads to this one's server, or is below it."""
        gone = chain(self._store_loop.leaving(), self._progress.lingering)
        return any(r.address == route.address or route.spec in covering(r.spec) for r in gone)

    def hooked(self, route: Route) -> bool:
        """Return True if hooks change a route, or refuse it."""
        return self._table.hooked(route)

    def stuck(self) -> str:
        """See :func:`kvproxy.reconcile.reasons.stuck`. Called several times a second."""
        store_problem = self._store_loop.problem or ""
        # Suspects can only rule it out, and finding them means looking at every key.
        if not stuck(replace(self._traefik_loop.facts_without_keys(), store_problem=store_problem)):
            return ""
        return stuck(replace(self._traefik_loop.facts(), store_problem=store_problem))

    def followed_since(self, moment: float) -> bool:
        """Return True if Traefik has shown a configuration of this hub after a moment of the loop's time."""
        return any(r.seen is not None and r.answered > moment for r in self.replicas)


class CountedTier:
    """One of two tiers, for the metrics.

    Args:
        tier: keeps its routes.
        leading: returns the number of its routes that only lead to the other tier.
    """

    def __init__(self, tier: Status, leading: Callable[[], int]) -> None:
        self._tier, self._leading = tier, leading

    @property
    def count(self) -> int:
        """The number of the hub's routes in this tier."""
        return self._tier.count - self._leading()

    @property
    def waiting(self) -> int:
        """See :attr:`.Status.waiting`."""
        return self._tier.waiting

    @property
    def revision(self) -> int:
        """See :attr:`.Status.revision`."""
        return self._tier.revision

    @property
    def replicas(self) -> list[Replica]:
        """See :attr:`.Status.replicas`."""
        return self._tier.replicas
