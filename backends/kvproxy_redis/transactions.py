"""One transaction behind a watched key, in two round trips.

redis-py's own pipeline sends MULTI together with all that follows, so a server that refuses MULTI carries the rest out
command by command. It also raises one and the same error for a lost connection and for a key that has changed, and its
texts repeat parts of the commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeAlias

from redis.exceptions import RedisError, ResponseError

Command: TypeAlias = tuple[Any, ...]

#: The value of a key that is not a string.
OTHER_TYPE: Final = b"\x00not a string"


class KeyChanged(RedisError):
    """The watched key was changed by another client; nothing has been applied."""


async def transact(
    redis: Any, key: str, commands: Callable[[bytes | None], Sequence[Command]], pause: float = 0.0
) -> list[Any]:
    """Run commands in a transaction that holds only if a key stays as it is.

    Args:
        redis: a ``redis.asyncio.Redis``.
        key: the watched key.
        commands: gives the commands for the key's value; none to give the transaction up. An error of its own is
            passed on, and gives it up as well.
        pause: seconds to wait before they are sent. A server that is restarted meanwhile gives the transaction up.

    Returns:
        The answers to the commands; none if it was given up.

    Raises:
        KeyChanged: if another client has changed the key meanwhile.
        ResponseError: if the server refuses the transaction, or one of its commands: this transaction is over.
        RedisError: for anything else; the transaction may be applied later.
    """
    async with aclosing(redis.client()) as one:
        await one.initialize()
        connection = one.connection
        try:
            watched, found, multi = await _exchange(connection, [("WATCH", key), ("GET", key), ("MULTI",)])
            queue = commands(value_of(found) if _accepted(watched, multi) else None)
            if not queue:
                await _exchange(connection, [("DISCARD",)])
                return []
            if pause:
                await asyncio.sleep(pause)
            *queued, results = await _exchange(connection, [*queue, ("EXEC",)])
        except BaseException:
            # Its watches, queued commands and pending answers must not meet its next user.
            await connection.disconnect(nowait=True)
            raise
    if results is None:
        raise KeyChanged
    # A refused command is told when it is queued; that EXEC refuses the whole then adds nothing.
    _accepted(*queued, results)
    _accepted(*results)
    return list(results)


async def ask(redis: Any, *command: Any) -> Any:
    """The server's answer to one command as it is, without redis-py's reading of it."""
    async with aclosing(redis.client()) as one:
        await one.initialize()
        [answer] = await _exchange(one.connection, [command])
        _accepted(answer)
        return answer


def value_of(answer: Any) -> bytes | None:
    """The value in an answer to GET, :data:`OTHER_TYPE` if the key holds something else than a string."""
    if is_wrong_type(answer):
        return OTHER_TYPE
    _accepted(answer)
    return None if answer is None else bytes(answer)


def is_wrong_type(answer: Any) -> bool:
    """True if an answer, or an error, says that a key is of another type than the command wants."""
    return isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer)


def _accepted(*answers: Any) -> bool:
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return True


async def _exchange(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """Send commands at once and read all answers, errors of the server's among them."""
    await connection.send_packed_command(connection.pack_commands(commands))
    return [await _answer(connection) for _ in commands]


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
