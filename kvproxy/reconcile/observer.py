"""What is worth counting or telling, and the seam to whoever does: the loops know no metrics library and no hooks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from .._text import NAMED, and_more, counted
from ..errors import HookError
from ..routing.route import Route


class Observer:
    """Is told of what happens. This one does nothing with it. No method may raise or take long."""

    def committed(self, operations: int, seconds: float) -> None:
        """A commit of so many operations is in the store; it took so many seconds."""

    def store_failed(self) -> None:
        """The store could not do what it was asked for; it is going to be asked again."""

    def repaired(self, entries: int) -> None:
        """So many entries were not as the hub left them, and are put right."""

    def told_again(self) -> None:
        """Traefik did not catch up, and was told again."""

    def served(self, route: Route, seconds: float) -> None:
        """A route, or a change of one, is served, so many seconds after it was asked for."""

    def not_served(self, routespec: str, error: Exception) -> None:
        """A route was asked for and is not served as it should be."""

    def removed(self, routespec: str) -> None:
        """A route is gone from the store."""

    def not_removed(self, routespec: str, error: Exception) -> None:
        """A route was to be removed, and that has not come about in time."""

    async def aclose(self) -> None:
        """There is nothing more to come."""


def log_refused_routes(
    refused: Sequence[HookError], observer: Observer, log: logging.Logger | logging.LoggerAdapter[Any]
) -> None:
    """Say that routes from the store are not served, as a hook refuses them.

    Args:
        refused: what each hook says.
        observer: is told of each route.
        log: where to say it to the administrator.
    """
    for error in refused:
        observer.not_served(error.routespec, error)
    if refused:
        log.error(
            "%s of the store %s known but not served, for lack of what may protect them: a hook fails. "
            "Correct it and restart the hub. %s%s",
            counted(len(refused), "route"),
            "is" if len(refused) == 1 else "are",
            " ".join(map(str, refused[:NAMED])),
            and_more(len(refused)),
        )
