"""Cancelling what redis-py does.

It sends each command by ``asyncio.wait_for``, which before Python 3.12 forgets a cancellation that comes when the
command has just gone out (redis-py 8.1, `send_packed_command`; CPython issue 86296). A task that writes without pause
could be cancelled in vain half of the time.

Its connections are closed by the task that has opened them. So that task must have ended before the event loop does,
but `asyncio.gather` goes on when the first of its cancelled tasks has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: Seconds until a cancellation is repeated: enough for closing what is open, which a further one would interrupt.
_PATIENCE: Final = 1.0


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended; whatever they raise is of no account."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_PATIENCE)
    await asyncio.gather(*tasks, return_exceptions=True)


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of this at once; unlike asyncio.gather, it has ended with its last part, also if one fails.

    Returns:
        The results in the order of the parts.

    Raises:
        asyncio.CancelledError: if this is cancelled.
        Exception: the first that a part raises; the others are cancelled.
    """
    if not (tasks := [asyncio.ensure_future(part) for part in work]):
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        # Once each: a further one would interrupt the closing.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    return [task.result() for task in tasks]


async def insist(work: Coroutine[Any, Any, T]) -> T:
    """Do something; a cancellation of this is repeated until the work has ended, and always raised.

    Raises:
        asyncio.CancelledError: if this is cancelled, also where the work was done all the same.
        Exception: whatever the work raises.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_PATIENCE)
        if not task.cancelled():
            # Otherwise asyncio would complain that it was never retrieved.
            task.exception()
        raise
    return task.result()


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Do something to its end; a cancellation of this is raised only then.

    Raises:
        asyncio.CancelledError: if this was cancelled meanwhile.
        Exception: whatever the work raises.
    """
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        # Otherwise asyncio would complain that it was never retrieved.
        task.exception()
        raise asyncio.CancelledError
    return task.result()
