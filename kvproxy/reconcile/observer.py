"""The interface by which the loops report events to metrics and hooks, which they do not know."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from .._text import NAMED, and_more, counted
from ..errors import HookError
from ..routing.route import Route


class Observer:
    """Receives events; this base class ignores them. No method may raise or take long."""

    def committed(self, operations: int, seconds: float) -> None:
        """Handle a commit: its number of operations, and the seconds that it took."""

    def store_failed(self) -> None:
        """Handle an error of the store; the request is going to be retried."""

    def repaired(self, entries: int) -> None:
        """Handle a repair: the number of entries that were not as the hub left them."""

    def told_again(self) -> None:
        """Handle a repeated notification of a Traefik that did not catch up."""

    def served(self, route: Route, seconds: float) -> None:
        """Handle a new or changed route that is served, and the seconds since it was asked for."""

    def not_served(self, routespec: str, error: Exception) -> None:
        """Handle a route that was asked for and is not served."""

    def removed(self, routespec: str) -> None:
        """Handle a route that is gone from the store."""

    def not_removed(self, routespec: str, error: Exception) -> None:
        """Handle a route that could not be removed in time."""

    async def aclose(self) -> None:
        """Handle the end of all events."""


def log_refused_routes(
    refused: Sequence[HookError], observer: Observer, log: logging.Logger | logging.LoggerAdapter[Any]
) -> None:
    """Log and report the routes from the store that are not served because a hook refuses them.

    Args:
        refused: the hooks' errors.
        observer: receives each route.
        log: takes the message.
    """
    for error in refused:
        observer.not_served(error.routespec, error)
    if refused:
        log.error(
            "%s in the store %s not served, as a failing hook may be what protects them. "
            "Correct the hook and restart the hub. %s%s",
            counted(len(refused), "route"),
            "is" if len(refused) == 1 else "are",
            " ".join(map(str, refused[:NAMED])),
            and_more(len(refused)),
        )
