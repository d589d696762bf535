"""Log lines about the routes as a whole: their cost, and what keeps them out of groups."""

from __future__ import annotations

from typing import Final

from .._text import counted
from .._types import Log
from ..errors import StoreError
from ..routing.entry import SETUP
from ..routing.manifest import foreign_default, of_default_store
from ..routing.route import make_route
from ..routing.table import DesiredTable
from ..store.base import Snapshot, Store

#: A typical route, whose keys are counted, and the number of routes from which on their cost is worth a warning.
_USUAL: Final = make_route("/user/name/", "http://127.0.0.1:1", {"user": "name"})
_MANY: Final = 50


async def log_notification_cost(store: Store, table: DesiredTable, log: Log) -> None:
    """Warn of the cost of each added route if the store notifies Traefik per key and there are many routes.

    Args:
        store: the store, which knows if it does.
        table: the routes; keys that hooks add are not counted.
        log: takes the warning.
    """
    try:
        await store.disable_key_notifications()
        noisy = table.count >= _MANY and await store.notifies_per_key()
    except StoreError as error:
        log.info("Cannot determine how often the store notifies Traefik of a change. %s", error)
        return
    if noisy:
        # The route's own keys, the revision, and the one message that a store without such notifications sends.
        reads = len(table.entry(_USUAL, plain=True).config) + 2
        log.warning(
            "With the present %s, each added route makes Traefik read all of them %d times instead of "
            "once, as the store notifies it per key. %s",
            counted(table.count, "route"),
            reads,
            store.notification_advice,
        )


def make_way(table: DesiredTable, snapshot: Snapshot, log: Log) -> list[str]:
    """Leave Traefik's default certificate to keys in the store that the hub did not write, and log that once.

    Args:
        table: the desired contents of the store.
        snapshot: its present contents.
        log: takes the message.

    Returns:
        the names of the entries that this has changed.
    """
    setup = table.setup.config
    foreign = foreign_default(snapshot.config, snapshot.records.get(SETUP, ""), setup)
    changed = table.make_way(foreign)
    if changed and foreign:
        chosen = any(of_default_store(key) and not value.startswith("-----BEGIN") for key, value in setup.items())
        (log.warning if chosen else log.info)(
            "The store holds a default certificate for Traefik that the hub has not written (%s), and it stays.%s",
            ", ".join(sorted(foreign)),
            " The hub's own (ssl_cert, extra_dynamic_config) is not served. Remove these keys to change that."
            if chosen
            else "",
        )
    return changed


def log_forced_flat(routespec: str, log: Log) -> None:
    """Warn of a route that keeps all routes out of groups."""
    log.warning(
        "A hook gives the route %r tls or observability of its own, which Traefik allows outside of groups only. "
        "As long as there is such a route, all are laid out flat, whatever route_layout says.",
        routespec,
    )
