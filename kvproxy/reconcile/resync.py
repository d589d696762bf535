"""The schedule for reading the store without a request.

A store can be restarted empty or with old data, fail over to a node that lags, or be changed by hand. Most of that
shows in one key, the revision, which is probed every second. The rest is found by full reads, as often as they cost
only a small part of the time.
"""

from __future__ import annotations

from typing import Final

#: Seconds between two probes of the revision.
_PROBE: Final = 1.0
#: Seconds for which the last probe is good enough for a commit. Otherwise a store that was just emptied would get that
#: commit alone, and Traefik would load it before the rest is rewritten.
_BEFORE_COMMIT: Final = 0.05
#: Full reads take at most one part in this number of all time.
_SHARE: Final = 50
#: Seconds until the next probe if there are to be none.
_NEVER: Final = 3600.0


class ResyncSchedule:
    """Decides when to probe the revision and when to read everything.

    Args:
        interval: minimum seconds between two full reads; 0 for no reads and no probes.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._pause = min(_PROBE, interval)
        self._cost = 0.0
        self._probed = 0.0
        self._read = 0.0

    def pause(self, now: float) -> float:
        """Return the seconds until the next probe."""
        return max(self._probed + self._pause - now, 0.0) if self._interval else _NEVER

    def probe_due(self, now: float, committing: bool) -> bool:
        """Return True if the revision is to be probed; before a commit that is almost always so."""
        pause = min(_BEFORE_COMMIT, self._interval) if committing else self._pause
        return bool(self._interval) and now >= self._probed + pause

    def read_due(self, now: float) -> bool:
        """Return True if everything is to be read."""
        return bool(self._interval) and now >= self._read + max(self._interval, _SHARE * self._cost)

    def probed(self, now: float) -> None:
        """Record that the revision was probed."""
        self._probed = now

    def read(self, start: float, end: float) -> None:
        """Record that everything was read and compared between these two times."""
        self._read = self._probed = end
        self._cost = end - start
