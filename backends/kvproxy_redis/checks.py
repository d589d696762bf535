"""Warnings about a Redis server's settings that endanger routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from kvproxy import ConfigurationError, StoreError, StoreUnavailableError

from .admission import Login
from .connection import Connection
from .exposure import replay
from .transactions import is_wrong_type

_SETTINGS = ("maxmemory-policy", "maxmemory", "appendonly", "save")
_SECTIONS = ("cluster", "replication", "persistence", "memory")
_CROWD = 10_000  # keys of others from which on they cost a tenth of a second and more at each reload
PATIENCE = 2.0  # seconds for an answer that takes a round trip


async def findings(redis: Any, connection: Connection) -> list[str]:
    """Warnings about a server, each a sentence that names the setting to change.

    Args:
        redis: a connected ``redis.asyncio.Redis``.
        connection: what it is connected to.

    Raises:
        ConfigurationError: if Traefik cannot read from this server at all.
        StoreError: if it is a read-only replica.
        StoreUnavailableError: if it is one, and the sentinels are about to name another server.
    """
    info: dict[str, Any] = {}
    try:
        for section in _SECTIONS:
            info |= await redis.info(section)
    except (NoPermissionError, ResponseError):
        info = {}
    refuse(info, connection)
    settings = await settings_of(redis, *_SETTINGS) or told(info)
    return warnings(settings, connection) + await replay(redis, settings, f"Redis at {connection}")


async def settings_of(redis: Any, *names: str) -> dict[str, str]:
    """Settings of a server by name (``CONFIG GET``), those that it has; none if the user may not ask."""
    settings: dict[str, str] = {}
    try:
        for name in names:
            settings |= _texts(await redis.config_get(name))
    except (NoPermissionError, ResponseError):
        return {}
    return settings


def told(info: Mapping[str, Any]) -> dict[str, str]:
    """The settings that ``INFO`` tells, which few may be refused: all but ``save``.

    >>> told({"aof_enabled": 1, "maxmemory": 0, "maxmemory_policy": "noeviction"})
    {'appendonly': 'yes', 'maxmemory': '0', 'maxmemory-policy': 'noeviction'}
    """
    settings = {"appendonly": "yes" if str(info["aof_enabled"]) == "1" else "no"} if "aof_enabled" in info else {}
    named = {"maxmemory": "maxmemory", "maxmemory-policy": "maxmemory_policy"}
    return settings | {name: str(info[key]) for name, key in named.items() if key in info}


def _texts(answer: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in answer.items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def refuse(info: Mapping[str, Any], connection: Connection) -> None:
    """Raise if Traefik, or kvproxy, cannot work with a server that says this of itself (``INFO``)."""
    if str(info.get("cluster_enabled", 0)) == "1":
        raise ConfigurationError(
            f"Redis at {connection} is part of a Redis Cluster, which Traefik cannot read from. Use a Redis that is "
            "not (cluster-enabled no)."
        )
    if info.get("role") not in {"slave", b"slave"}:
        return
    if connection.sentinels is not None:
        raise StoreUnavailableError(f"Redis at {connection} is changing its master.")
    raise StoreError(f"Redis at {connection} is a read-only replica; name the master in redis_url.")


def warnings(settings: Mapping[str, str], connection: Connection) -> list[str]:
    """Warnings for an administrator about these settings (``CONFIG GET``, or what ``INFO`` tells of them)."""
    found = []
    where = f"Redis at {connection}"
    if settings.get("appendonly") != "yes" and "save" not in settings:
        found.append(
            f"{where} does not tell its settings to this user (CONFIG GET), so it is unknown whether routes survive "
            "its restart; make sure that appendonly or save is set and maxmemory-policy is noeviction."
        )
    elif settings.get("appendonly") == "no" and not settings.get("save"):
        found.append(
            f"{where} keeps nothing on disk, so its restart loses all routes until the hub's next check; set "
            "'appendonly yes' or 'save 60 1'."
        )
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy.startswith("allkeys") and settings.get("maxmemory", "0") != "0":
        found.append(
            f"{where} may drop routes when its memory is full (maxmemory-policy {policy}); set "
            "'maxmemory-policy noeviction'."
        )
    return found


@dataclass(frozen=True)
class Keys:
    """The keys and the channel that the hub uses in a server.

    Args:
        root: begins the keys of the configuration.
        records: key of the hash of records.
        fence: key that every transaction looks at and changes.
        channel: where Traefik is woken.
    """

    root: str
    records: str
    fence: str
    channel: str


async def try_rights(redis: Any, keys: Keys, *, is_replica: bool = False) -> None:
    """Do all that kvproxy does to keys in a transaction that is given up, so that nothing comes of it.

    Redis looks at the rights to a command when it is queued, and only then at whether it is a replica that takes no
    writes (``processCommand``, 6.2-8).

    Args:
        redis: a connected ``redis.asyncio.Redis``.
        keys: what kvproxy uses there.
        is_replica: whether it may refuse to write.

    Raises:
        NoPermissionError: if the user may not do one of them.
    """
    key = keys.root + "kvproxy-probe-of-rights"
    await redis.get(key)
    try:
        await redis.hget(keys.records, key)
    except ResponseError as error:
        # Other data there is overwritten.
        if not is_wrong_type(error):
            raise
    commands = [
        ("MSET", key, ""),
        ("DEL", key),
        ("HSET", keys.records, key, ""),
        ("HDEL", keys.records, key),
        ("SET", keys.fence, ""),
        ("PUBLISH", keys.channel, "set"),
    ]
    await _give_up(redis, keys.fence, commands, is_replica)


async def try_admitting(redis: Any, login: Login, fence: str, *, is_replica: bool = False) -> None:
    """Do what it takes to let Traefik in, in a transaction that is given up.

    Args:
        redis: a connected ``redis.asyncio.Redis``.
        login: Traefik's.
        fence: see :class:`Keys`.
        is_replica: as in :func:`try_rights`.

    Raises:
        NoPermissionError: if the hub's user may not.
    """
    await login.known(redis)
    await _give_up(redis, fence, [login.command], is_replica)


async def try_reading(redis: Any, root: str) -> None:
    """Do what Traefik does, as Traefik.

    Args:
        redis: a connected ``redis.asyncio.Redis``.
        root: root of the configuration, without slashes at its ends.

    Raises:
        NoPermissionError: if its user may not.
    """
    await redis.scan(match=f"{root}*", count=1)
    await redis.mget(f"{root}/kvproxy-probe-of-rights")
    async with redis.pubsub() as listener:
        await listener.psubscribe(f"__keyspace*:{root}*")
        await listener.get_message(timeout=PATIENCE)


async def may_configure(redis: Any, traefik: Connection) -> list[str]:
    """A warning if Traefik's own user may run CONFIG, which it has a user of its own not to do.

    Args:
        redis: a ``redis.asyncio.Redis`` that has logged in as that user.
        traefik: what it is connected to.
    """
    try:
        await redis.config_get("notify-keyspace-events")
    except (NoPermissionError, ResponseError):
        return []
    return [
        f"Redis at {replace(traefik, username='')} lets Traefik's user {traefik.username!r} (redis_traefik_username) "
        "run CONFIG, with which Traefik makes it notify of every key of a change. Say in Redis, and in its "
        f"configuration or aclfile: ACL SETUSER {traefik.username} -config (docs/how-to/redis.md)."
    ]


async def _give_up(redis: Any, fence: str, commands: Sequence[tuple[str, ...]], is_replica: bool) -> None:
    async with aclosing(redis.client()) as one:
        await one.execute_command("WATCH", fence)
        await one.execute_command("MULTI")
        try:
            for command in commands:
                with suppress(*([ReadOnlyError] if is_replica else [])):
                    await one.execute_command(*command)
        finally:
            await one.execute_command("DISCARD")


async def crowded(redis: Any, patterns: Sequence[str], connection: Connection) -> list[str]:
    """A warning if a database holds many keys of others.

    Traefik's client scans the whole database at each reload, ten keys a step (kvtools/redis 1.2, `list`).

    Args:
        redis: a connected ``redis.asyncio.Redis``.
        patterns: of the keys that are kvproxy's.
        connection: what it is connected to.
    """
    others = int(await redis.dbsize())
    if others < _CROWD:
        return []
    for pattern in patterns:
        others -= len({key async for key in redis.scan_iter(match=pattern, count=_CROWD)})
    if others < _CROWD:
        return []
    return [
        f"Redis at {connection} holds {others} keys of others in the same database. Traefik passes them all at each "
        "reload: from 100,000 on a new server takes seconds longer. Give kvproxy a database of its own, such as "
        f"{connection.db + 1} (redis_url)."
    ]
