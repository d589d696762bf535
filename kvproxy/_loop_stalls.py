"""The time for which the hub's own event loop was stalled.

JupyterHub runs in the same loop, and some of its work blocks it for many seconds. A deadline that passes meanwhile
proves nothing about the store or Traefik: their answers may have arrived long ago without being read.
"""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

T = TypeVar("T")

#: Seconds between two beats.
_BEAT: Final = 0.5
#: Seconds by which a beat may be late in a loop that is only busy.
_BUSY: Final = 0.25


class LoopStalls:
    """Measures how long the running event loop was stalled, by a beat that comes late."""

    def __init__(self) -> None:
        self._lost = 0.0
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._beat()

    def aclose(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._due = None

    @property
    def lost(self) -> float:
        """Seconds lost since the start, including a stall that has not ended yet."""
        late = 0.0 if self._due is None else asyncio.get_running_loop().time() - self._due
        return self._lost + (late if late > _BUSY else 0.0)

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        self._lost = self.lost
        self._due = loop.time() + _BEAT
        self._timer = loop.call_at(self._due, self._beat)

    async def wait(self, future: asyncio.Future[T], timeout: float) -> float:
        """Wait for a future, with a timeout that counts only time in which the loop runs. The future is not cancelled.

        Returns:
            the seconds for which the loop was stalled meanwhile, also if the future is not done.
        """
        loop = asyncio.get_running_loop()
        begin, lost = loop.time(), self.lost
        stalled, left = 0.0, timeout
        while left > 0 and not future.done():
            await asyncio.wait({future}, timeout=left)
            stalled = self.lost - lost
            left = begin + timeout + stalled - loop.time()
        return stalled
