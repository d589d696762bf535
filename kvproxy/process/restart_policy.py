"""The time to restart a Traefik that has ended, or runs and does not work, as values."""

from __future__ import annotations

from typing import Final

#: Seconds before a Traefik that has ended is started again. They are doubled from the first to the last, as long as
#: it ends before it works: then a restart mends nothing, and only fills the log.
_FIRST: Final = 0.5
_LAST: Final = 30.0
#: Seconds between two looks after which the hub itself stood still: nothing that it knows is of this moment.
_GAP: Final = 3.0


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


class Standstill:
    """Decides when a Traefik that runs but does not work is restarted.

    Args:
        patience: seconds for which Traefik may not work; 0 for no limit.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._since: float | None = None
        self._looked = 0.0

    def over(self, now: float, problem: str) -> bool:
        """True if it has lasted for too long; to be asked all the time.

        Args:
            now: seconds on any clock.
            problem: what keeps Traefik from working; empty if it works.
        """
        late, self._looked = now - self._looked > _GAP, now
        if not problem or not self.patience:
            self._since = None
            return False
        if self._since is None or late:
            self._since = now
        return now - self._since >= self.patience
