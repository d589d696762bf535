"""Tells hooks of what happens to routes. A hook that fails is logged, and never stands in a route's way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from .._types import Log
from ..reconcile.observer import Observer
from ..routing.route import Route
from .customize import Hook, Hooks

#: Seconds that asynchronous hooks have to come to their end when the proxy is stopped.
_FAREWELL: Final = 2.0


class HookNotifier(Observer):
    """Tells hooks of routes, and another observer of everything.

    Args:
        hooks: plain and asynchronous functions alike; the latter run as tasks.
        log: where a hook that fails is named.
        other: the other observer, which comes first.
    """

    def __init__(self, hooks: Hooks, log: Log, other: Observer) -> None:
        self._hooks = hooks
        self._log = log
        self._other = other
        self._tasks: set[asyncio.Future[Any]] = set()
        self._closed = False

    def committed(self, operations: int, seconds: float) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.committed`."""
        self._other.committed(operations, seconds)

    def store_failed(self) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.store_failed`."""
        self._other.store_failed()

    def repaired(self, entries: int) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.repaired`."""
        self._other.repaired(entries)

    def told_again(self) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.told_again`."""
        self._other.told_again()

    def served(self, route: Route, seconds: float) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.served`."""
        self._other.served(route, seconds)
        self._tell(self._hooks.route_added, route, seconds)

    def not_served(self, routespec: str, error: Exception) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.not_served`."""
        self._other.not_served(routespec, error)
        self._tell(self._hooks.route_failed, routespec, error)

    def removed(self, routespec: str) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.removed`."""
        self._other.removed(routespec)
        self._tell(self._hooks.route_deleted, routespec)

    def not_removed(self, routespec: str, error: Exception) -> None:
        """See :meth:`kvproxy.reconcile.observer.Observer.not_removed`."""
        self._other.not_removed(routespec, error)
        self._tell(self._hooks.route_failed, routespec, error)

    async def aclose(self) -> None:
        """Give asynchronous hooks a moment to end, then end them; no hook is notified after that."""
        self._closed = True
        await self._other.aclose()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_FAREWELL)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tell(self, hooks: Sequence[Hook], *said: Any) -> None:
        for hook in () if self._closed else hooks:
            try:
                answer = hook.call(*said)
                if inspect.isawaitable(answer):
                    self._run(hook, answer)
            except Exception as error:
                self._failed(hook, error)

    def _run(self, hook: Hook, answer: Awaitable[Any]) -> None:
        def ended(task: asyncio.Future[Any]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._failed(hook, error)

        task = asyncio.ensure_future(answer)
        self._tasks.add(task)
        task.add_done_callback(ended)

    def _failed(self, hook: Hook, error: BaseException) -> None:
        self._log.error(
            "%s failed (%s: %s); routes go on without it.", hook.name, type(error).__name__, error, exc_info=error
        )
