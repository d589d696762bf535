"""When to read a store that nobody has asked for.

A store can be restarted empty or with old data, fail over to a node that lags, or be changed by hand. Most of that
shows in one key, the revision, which is looked at every second. For the rest all is read anew, as often as that costs a
small part of the time only.
"""

from __future__ import annotations

from typing import Final

#: Seconds between two looks at the revision.
_PROBE: Final = 1.0
#: Seconds for which the last look is good enough for a commit: else a store that was just emptied would get that alone,
#: and Traefik would load it, before the rest is written again.
_BEFORE_COMMIT: Final = 0.05
#: Of all time, reading in full may take one part in so many.
_SHARE: Final = 50
#: Seconds until a look that is not wanted.
_NEVER: Final = 3600.0


class ResyncSchedule:
    """Decides when to look.

    Args:
        interval: seconds between two full reads at least; 0 for no look at all.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._cost = 0.0
        self._probed = 0.0
        self._read = 0.0

    def pause(self, now: float) -> float:
        """Seconds until the next look."""
        return max(self._probed + self._probe - now, 0.0) if self._interval else _NEVER

    @property
    def _probe(self) -> float:
        return min(_PROBE, self._interval)

    def probe_due(self, now: float, committing: bool) -> bool:
        """Whether the revision is to be looked at; before a commit that is so at almost any time."""
        pause = min(_BEFORE_COMMIT, self._interval) if committing else self._probe
        return bool(self._interval) and now >= self._probed + pause

    def read_due(self, now: float) -> bool:
        """Whether all is to be read."""
        return bool(self._interval) and now >= self._read + max(self._interval, _SHARE * self._cost)

    def probed(self, now: float) -> None:
        """Say that the revision was looked at."""
        self._probed = now

    def read(self, start: float, end: float) -> None:
        """Say that all has been read, and compared, between two moments."""
        self._read = self._probed = end
        self._cost = end - start
