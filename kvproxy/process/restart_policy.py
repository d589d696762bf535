"""When a Traefik that has ended is started again, as values."""

from __future__ import annotations

from typing import Final

#: Seconds before a Traefik that has ended is started again. They are doubled from the first to the last, as long as
#: it ends before it works: then a restart mends nothing, and only fills the log.
_FIRST: Final = 0.5
_LAST: Final = 30.0


class Restarts:
    """Tells a crash from a crash loop."""

    def __init__(self) -> None:
        self._pause = 0.0

    def pause(self, *, worked: bool, lived: float) -> float:
        """Seconds until the next start.

        Args:
            worked: whether it has loaded the hub's configuration since its start.
            lived: seconds for which it ran.
        """
        loop = self._pause and not worked and lived < _LAST
        self._pause = min(2 * self._pause, _LAST) if loop else _FIRST
        return self._pause
