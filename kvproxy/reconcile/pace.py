"""The time that Traefik takes to load a revision, and the schedule for notifying it again."""

from __future__ import annotations

from typing import Final

#: A Traefik that has not caught up is notified again after this multiple of the time that it took last, within limits
#: in seconds. Above these seconds it is the lesser multiple: a fault may have made the last time a long one, and
#: callers wait half a minute at most.
_TIMES_AS_LONG: Final = 4
_ENOUGH: Final = 10.0
_LESSER: Final = 1.5
_LEAST: Final = 2.0
_MOST: Final = 120.0
#: Seconds up to which the pause is doubled after each notification, if it is not longer anyway.
_LAST_TELLING: Final = 30.0
#: Repeated notifications without effect after which something must be wrong.
_IN_VAIN: Final = 1
#: Limits of the seconds after which a read that Traefik has begun must have ended.
_SHORTEST_READ: Final = 0.1
_LONGEST_READ: Final = 1.0


class Pace:
    """Measures how fast Traefik catches up, and decides when to notify it again. Times are in seconds."""

    def __init__(self) -> None:
        self._stalled = 0.0
        self._told = 0.0
        self._took = 0.0
        self._tellings = 0
        self._unseen = False

    @property
    def usual(self) -> float:
        """Seconds after which a Traefik that has made no progress has most likely missed the notification."""
        pause = min(_TIMES_AS_LONG * self._took, max(_ENOUGH, _LESSER * self._took))
        return min(max(_LEAST, pause), _MOST)

    @property
    def in_vain(self) -> bool:
        """True if Traefik was notified so often that something must be wrong."""
        return self._tellings > _IN_VAIN

    @property
    def since(self) -> float:
        """Time of Traefik's last progress, or of the first notification after it had caught up."""
        return self._stalled

    @property
    def took(self) -> float:
        """Seconds that Traefik took to load the last revision."""
        return self._took

    @property
    def read(self) -> float:
        """Seconds after which a read of the store that Traefik has begun has ended, most likely."""
        return min(max(_SHORTEST_READ, 2 * self._took), _LONGEST_READ)

    def stalled(self, now: float) -> float:
        """Return the seconds since the last progress."""
        return now - self._stalled

    def begin(self, now: float) -> None:
        """Record that Traefik was up to date and has just been notified of a new revision."""
        self._stalled = now

    def not_seen(self) -> None:
        """Record that Traefik could not be asked, so the time that it takes at present cannot be measured."""
        self._unseen = True

    def progress(self, now: float, *, all_of_it: bool) -> None:
        """Record that Traefik has loaded a newer revision.

        Args:
            now: the time at which that was seen.
            all_of_it: True if Traefik was not notified of anything newer. Otherwise it is still applying an earlier
                notification. That time is recorded as well, or a Traefik slower than the pause is notified again
                forever.
        """
        if not self._unseen and (not self._tellings or not all_of_it):
            self._took = now - self._stalled
        self._unseen = False
        self._stalled = now
        self._tellings = 0

    def due(self, now: float) -> bool:
        """Return True if it is time to notify Traefik again."""
        pause = max(self.usual, min(self.usual * 2.0**self._tellings, _LAST_TELLING))
        return now - max(self._stalled, self._told) >= pause

    def told(self, now: float) -> None:
        """Record that Traefik was notified again."""
        self._told = now
        self._tellings += 1
