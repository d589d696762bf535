"""An event loop whose time passes only when nothing is left to do: hours of waiting take no time in a test.

For tests on :mod:`kvproxy.testing.memory`, where nothing from outside has to be waited for.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from math import ceil
from typing import Any, ParamSpec, TypeVar

#: Seconds after which a condition is checked again.
_STEP = 0.5

P = ParamSpec("P")
T = TypeVar("T")


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which begins at 0 and is in seconds."""

    def __init__(self) -> None:
        self._clock = 0.0
        super().__init__(_Clockwork(self))

    def time(self) -> float:
        """The loop's time, which is not the world's."""
        return self._clock

    def pass_time(self, seconds: float) -> None:
        """Let time go on."""
        self._clock += seconds

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result."""
        return self.run_until_complete(work)

    def close_all(self) -> None:
        """Cancel what still runs and close the loop."""
        if tasks := asyncio.all_tasks(self):
            for task in tasks:
                task.cancel()
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.close()


async def until_for(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition is true, for at most this number of seconds."""
    for _ in range(ceil(seconds / _STEP)):
        if condition():
            return
        await asyncio.sleep(_STEP)


def on_a_clock(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Decorate a test that is a coroutine function: it runs to its end in such a loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        loop = ClockLoop()
        try:
            return loop.run(test(*args, **kwargs))
        finally:
            loop.close_all()

    return run


class _Clockwork(selectors.DefaultSelector):
    """Instead of waiting, lets the clock go on by as much."""

    def __init__(self, loop: ClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Everything waits and nothing can ever happen any more.")
        ready = super().select(0)
        if not ready:
            self._loop.pass_time(max(timeout, 0))
        return ready
