"""When to look at a store though nobody has asked for it.

A store can be restarted empty or with old data, fail over to a node that lags, or be changed by hand. Most of that
shows in one key, the revision, which is looked at every second. For the rest all is read anew, as often as that costs a
small part of the time only.
"""

from __future__ import annotations

from typing import Final

#: Seconds between two looks at the revision.
_GLANCE: Final = 1.0
#: Of all time, reading in full may take one part in so many.
_SHARE: Final = 50


class Guard:
    """Decides when to look.

    Args:
        interval: seconds between two full reads at least; 0 for no look at all.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._cost = 0.0
        self._glanced = 0.0
        self._read = 0.0

    def pause(self, now: float) -> float | None:
        """Seconds until the next look, None if there is none."""
        return max(self._glanced + self._glance - now, 0.0) if self._interval else None

    @property
    def _glance(self) -> float:
        return min(_GLANCE, self._interval)

    def glance_due(self, now: float) -> bool:
        """Whether the revision is to be looked at."""
        return bool(self._interval) and now >= self._glanced + self._glance

    def read_due(self, now: float) -> bool:
        """Whether all is to be read."""
        return bool(self._interval) and now >= self._read + max(self._interval, _SHARE * self._cost)

    def glanced(self, now: float) -> None:
        """Say that the revision was looked at."""
        self._glanced = now

    def read(self, start: float, end: float) -> None:
        """Say that all has been read, and compared, between two moments."""
        self._read = self._glanced = end
        self._cost = end - start
