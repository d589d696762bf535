"""Servers and sentinels that answer without a login, and access rights that lose data at a restart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from kvproxy.store.clear_text import clear_text

from .client import connect, sentinel_client
from .connection import Connection

#: Closes a server without taking the default user's rights, as which it reads its append-only file back.
CLOSING: Final = "ACL SETUSER default off ~* &* +@all"
_EVERYBODY: Final = 0o002  # the right to write to a unix socket is the right to connect to it


async def exposure(redis: Any, connection: Connection) -> list[str]:
    """Warnings about a server that answers clients without a login, each with the command that closes it.

    Args:
        redis: a connected ``redis.asyncio.Redis``.
        connection: what it is connected to.
    """
    port = await _tcp_port(redis) if connection.socket else 0
    return [said(door) for door in doors(connection, port) if await answers_strangers(door)]


def doors(connection: Connection, tcp_port: int = 0) -> list[Connection]:
    """The ways into a server that others than the hub's user may take.

    Args:
        connection: the hub's own way.
        tcp_port: where else a server with a unix socket listens, as it says itself; 0 for nowhere.
    """
    if not connection.socket:
        return [connection]
    found = [connection] if _is_open(connection.socket) else []
    return found + ([replace(connection, socket="", host="127.0.0.1", port=tcp_port)] if tcp_port else [])


def _is_open(socket: str) -> bool:
    """True if every user of this machine may connect to a unix socket."""
    try:
        return bool(os.stat(socket).st_mode & _EVERYBODY)
    except OSError:
        return False


async def _tcp_port(redis: Any) -> int:
    try:
        return int((await redis.info("server")).get("tcp_port", 0))
    except (NoPermissionError, ResponseError):
        return 0


def in_clear_text(connection: Connection) -> list[str]:
    """Warnings about a connection that others can read along, see :func:`kvproxy.store.clear_text.clear_text`."""
    named = [host for host, _ in connection.sentinels.addresses] if connection.sentinels is not None else None
    tls = connection.tls
    return clear_text(
        "Redis" if named is None else "A sentinel of Redis",
        [connection.host] if named is None else named,
        tls=tls is not None,
        verify=tls is not None and tls.verify,
        what="passwords and routes",
        mend="Begin redis_url with rediss://, and give the certificate's authority with ssl_ca_certs.",
    )


async def answers_strangers(connection: Connection) -> bool:
    """True if a server lets a client work that gives neither a login nor a certificate."""
    tls = replace(connection.tls, cert="", key="") if connection.tls is not None else None
    return await _pings(connect(replace(connection, username="", password="", tls=tls)))


async def sentinel_answers_strangers(connection: Connection, host: str, port: int) -> bool:
    """The same of a sentinel of the connection."""
    assert connection.sentinels is not None  # noqa: S101 - for the type checker
    tls = replace(connection.tls, cert="", key="") if connection.tls is not None else None
    stranger = replace(connection, tls=tls, sentinels=replace(connection.sentinels, username="", password=""))
    return await _pings(sentinel_client(stranger, host, port))


async def _pings(client: Any) -> bool:
    try:
        async with client as redis:
            await redis.ping()
    except (RedisError, OSError):
        return False
    return True


def said(connection: Connection) -> str:
    """The warning about a server that answers without a login."""
    if connection.username in {"", "default"}:
        close = (
            "Give it a password, requirepass in its configuration and redis_password in the hub's, or users of its own"
        )
    else:
        close = f"Switch its default user off, in Redis and in its configuration or aclfile: {CLOSING}"
    return (
        f"Redis at {replace(connection, username='')} answers without a login, so that anyone who reaches it may "
        f"change every route. {close} (docs/how-to/redis.md)."
    )


def said_of_sentinels(places: Sequence[str]) -> str:
    """The warning about sentinels that answer without a login."""
    several = len(places) > 1
    return (
        f"The sentinel{'s' if several else ''} at {', '.join(places)} {'answer' if several else 'answers'} without a "
        "login, so that anyone who reaches them may name another master, to which hub and Traefik would give their "
        "passwords. Set requirepass in the sentinels' configuration and redis_sentinel_password in the hub's "
        "(docs/how-to/sentinel.md)."
    )


async def replay(redis: Any, settings: Mapping[str, str], where: str) -> list[str]:
    """A warning if the server's next restart drops what the hub has written.

    A server reads its append-only file back as the default user, and EXEC looks at that user's rights again (Redis
    7.0.15, Valkey 8.1.8; redis issue 14541, valkey issue 3983), so a transaction that it lacks a right for is left out.

    Args:
        redis: a connected ``redis.asyncio.Redis``.
        settings: its settings, see :func:`kvproxy_redis.checks.findings`.
        where: the server, for the sentence.
    """
    if settings.get("appendonly") != "yes":
        return []
    try:
        user = await redis.acl_getuser("default")
    except (NoPermissionError, ResponseError):
        return []
    if user is None or may_do_all(user):
        return []
    return [
        f"{where} has a default user that lacks rights, and 'appendonly yes': Redis 7 and Valkey 8 read their file "
        "back as that user, and drop every transaction of the hub at their next restart. Give it all rights, which "
        f"lets no client in while it is off: {CLOSING}. Put the same into Redis' configuration or aclfile."
    ]


def may_do_all(user: Mapping[str, Any]) -> bool:
    """True if a user, as ``ACL GETUSER`` describes it, may run every command on every key.

    >>> may_do_all({"categories": ["+@all"], "commands": [], "keys": ["~*"]})
    True
    >>> may_do_all({"categories": ["+@all"], "commands": ["-flushall"], "keys": ["~*"]})
    False
    """
    return user["categories"] == ["+@all"] and not user["commands"] and bool({"~*", "*"} & set(user["keys"]))
