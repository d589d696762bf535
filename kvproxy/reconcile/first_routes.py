"""The first commit over a store without routes, held back while Traefik serves those of an earlier start.

A store that was emptied while the hub was down looks like that of a new hub. JupyterHub adds its routes at the end of
its start, in ``check_routes``, when all services run. A commit before that would hold the hub's own configuration only,
and every user would get 404. So nothing is written until then, and Traefik keeps what it has loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

#: Maximum seconds to wait for JupyterHub's check of all routes.
LONGEST_START: Final = 10.0
#: Seconds without a further route after which JupyterHub's check has added all of them: it adds them concurrently.
_QUIET: Final = 0.1


class FirstRoutes:
    """Decides when all routes of a start are known.

    Args:
        complete: called once, when they are known.
        longest: seconds after the first route after which they count as known even without JupyterHub's check.
    """

    def __init__(self, complete: Callable[[], None], longest: float) -> None:
        self._complete = complete
        self._longest = longest
        self._checking = self._over = False
        #: Set when all routes are known.
        self.known = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Enclose JupyterHub's check of all routes. A check that fails does not count."""
        self._checking = True
        self._wait(None)
        try:
            yield
        except BaseException:
            self._checking = False
            self._wait(self._longest)
            raise
        self._checking = False
        self.over()

    def added(self) -> None:
        """Record that a route was added."""
        if self._checking:
            self._wait(_QUIET)
        elif self._timer is None:
            self._wait(self._longest)

    def over(self) -> None:
        """Stop waiting for further routes, and report that all are known."""
        self.aclose()
        self.known.set()
        self._complete()

    def aclose(self) -> None:
        """Stop waiting without a report."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and not self._over:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.over)
