"""Traefik's complaints about a state of the store that it has read while it was being written, as values.

Traefik reads key by key, so it may see a group of routes without its members, or a route without its service, for the
few milliseconds until its next read. Nothing is wrong then, and no request is answered by it for longer than that.
"""

from __future__ import annotations

import logging
import re
from typing import Final

#: Seconds after which a complaint that is repeated is none about a half-read state.
HOLD: Final = 1.0
#: Seconds without a complaint after which the next one is a new one.
FORGET: Final = 60.0
#: Complaints that are remembered at most.
_MOST: Final = 5000
#: Characters of a line that are looked at.
_LOOKED_AT: Final = 1000
_NAME: Final = r"[a-z2-7]{16}-kv[pgl](?:-[a-z0-9]+)*@"
#: Things that are missing in such a state (`pkg/server/router/router.go`, `pkg/server/service/service.go` and
#: `pkg/server/middleware/middlewares.go`, 3.7; before 3.6 with other words for a router without a service), and a rule
#: that is empty as yet (`pkg/muxer/http`).
_MISSING: Final = re.compile(
    r"router must have either a service or child routers|router has no service and no child routers"
    r"|the service is missing on the router"
    r"|(?:the service|middleware|(?:parent|child) router) \S+ does not exist"
    r"|no child routers could be added|expected operand, found 'EOF'"
)


def _ours(text: str) -> bool:
    """True if a line is about something missing of what kvproxy writes; most are not, which a plain search tells."""
    return "-kv" in text and bool(_MISSING.search(text) and re.search(_NAME, text))


class HalfRead:
    """Tells complaints that are over with the next read from those that last. Times are in seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def level(self, level: int, text: str, now: float) -> int:
        """The level of a line of Traefik's: that of details for what may be over by itself."""
        text = text[:_LOOKED_AT]
        if level <= logging.DEBUG or not _ours(text):
            return level
        first, last = self._seen.get(text, (now, now))
        if now - last > FORGET:
            first = now
        if len(self._seen) >= _MOST:
            self._seen = {known: times for known, times in self._seen.items() if now - times[1] <= HOLD}
        if len(self._seen) < _MOST:
            self._seen[text] = (first, now)
        return level if now - first > HOLD else logging.DEBUG
