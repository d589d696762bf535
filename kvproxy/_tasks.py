"""Tasks that run as long as the hub does and are never awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ._types import Log
from .errors import KVProxyError


def begin(work: Coroutine[Any, Any, None], what: str, log: Log) -> asyncio.Task[None]:
    """Start a task whose failure is logged at once, instead of never.

    Args:
        work: the task.
        what: the task's name, as the beginning of a sentence.
        log: the hub's logger.
    """

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, KVProxyError):
            log.error("%s", error)
        elif error is not None:
            log.critical("%s has ended with an internal error of kvproxy. Restart the hub.", what, exc_info=error)

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(ended)
    return task
