"""Replicas, one of which is the master after the next failover: what must not be there, and what would be missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from redis.exceptions import NoPermissionError, RedisError

from .admission import Login
from .client import connect
from .connection import Connection
from .sentinels import endpoint

Address: TypeAlias = tuple[str, int]

#: Seconds that a replica is waited for.
_PATIENCE: Final = {"socket_connect_timeout": 1.0, "socket_timeout": 2.0}


@dataclass(frozen=True)
class Standby:
    """What the hub does at the servers that are not the master.

    Args:
        connection: names the sentinels, and says as whom to come.
        admits: the user that Traefik comes as, if it is the hub that lets it in.
    """

    connection: Connection
    admits: Login | None = None

    async def attend(self, addresses: Iterable[Address]) -> list[str]:
        """Shut Traefik out of these servers where the hub lets it in; gives back sentences about what hinders that.

        A server that was the master knows Traefik for as long as it runs. When it is the master again, Traefik would
        read from it before the hub has written what it lacks.
        """
        found = await asyncio.gather(*map(self._attend, addresses))
        return [sentence for sentence in found if sentence]

    async def _attend(self, address: Address) -> str:
        if (login := self.admits) is None:
            return ""
        host, port = address
        try:
            async with connect(replace(self.connection, host=host, port=port, sentinels=None), _PATIENCE) as redis:
                await redis.execute_command("ACL DELUSER", login.username)
        except NoPermissionError:
            hub = self.connection.username or "default"
            return (
                f"The replica of Redis at {endpoint(host, port)} does not let the user {hub!r} remove Traefik's user, "
                "so that Traefik may read from it before all routes are there when it is the master again. Say on "
                f"every server: ACL SETUSER {hub} +acl|deluser (docs/how-to/sentinel.md)."
            )
        except (RedisError, OSError):
            # Whether replicas are of any use is looked at elsewhere; this one is tried again.
            return ""
        return ""


async def replicas(sentinels: Iterable[Any], name: str, master: Address | None) -> Sequence[Address]:
    """The servers that the first of these sentinels to answer knows beside the master of this name."""
    for sentinel in sentinels:
        try:
            states = await sentinel.sentinel_slaves(name)
        except (RedisError, OSError):
            continue
        found = [(str(state["ip"]), int(state["port"])) for state in states]
        return [address for address in dict.fromkeys(found) if address != master]
    return []
