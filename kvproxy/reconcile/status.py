"""How things stand with the routes, for metrics and everything else that only looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..routing.entry import Entry
from ..routing.table import DesiredTable
from ..traefik.replicas import Replica
from .progress import Progress
from .reasons import stuck
from .store_loop import StoreLoop
from .traefik_loop import TraefikLoop


class Status:
    """What is known at this moment of the store and of Traefik."""

    _progress: Progress
    _table: DesiredTable
    _store_loop: StoreLoop
    _traefik_loop: TraefikLoop

    @property
    def revision(self) -> int:
        """The revision of the configuration that Traefik was told of last."""
        return self._progress.told

    @property
    def replicas(self) -> list[Replica]:
        """Every replica of Traefik, and what has been seen of it last."""
        return self._traefik_loop.replicas.all

    @property
    def desired(self) -> Mapping[str, Entry]:
        """What the store is to hold, by name: routes, groups of them, and the setup."""
        return self._table.entries

    @property
    def waiting(self) -> int:
        """How many entries are still to be written to the store."""
        return self._store_loop.waiting

    @property
    def count(self) -> int:
        """How many routes the hub wants."""
        return self._table.count

    def stuck(self) -> str:
        """See :func:`kvproxy.reconcile.reasons.stuck`. Called several times a second."""
        store_problem = self._store_loop.problem or ""
        # Suspects can only speak against it, and cost a look at every key.
        if not stuck(replace(self._traefik_loop.facts_without_keys(), store_problem=store_problem)):
            return ""
        return stuck(replace(self._traefik_loop.facts(), store_problem=store_problem))

    def followed_since(self, moment: float) -> bool:
        """Whether Traefik was seen to have loaded a configuration of this hub's after a moment of the loop's time."""
        return any(r.seen is not None and r.answered > moment for r in self.replicas)
