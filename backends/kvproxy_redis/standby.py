"""Replicas, one of which is the master after the next failover: what must not be there, and what would be missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from redis.exceptions import MasterDownError, NoPermissionError, RedisError

from kvproxy import StoreError

from .admission import Login
from .cancellation import all_of
from .checks import Keys, try_admitting, try_reading, try_rights
from .client import connect
from .connection import Connection
from .errors import explain_replica, explain_replica_to_traefik
from .sentinels import endpoint

Address: TypeAlias = tuple[str, int]

#: Seconds that a replica is waited for.
_PATIENCE: Final = {"socket_connect_timeout": 1.0, "socket_timeout": 2.0}


@dataclass(frozen=True)
class Standby:
    """The hub's work at the servers that are not the master.

    Args:
        connection: names the sentinels, and has the credentials.
        keys: what the hub uses there.
        admits: the user that Traefik comes as, if it is the hub that lets it in.
        traefik: Traefik's login if the hub does not create it; None if it is not known.
    """

    connection: Connection
    keys: Keys
    admits: Login | None = None
    traefik: Connection | None = None

    async def examine(self, addresses: Iterable[Address]) -> list[StoreError]:
        """Warnings about logins that these servers would refuse if they became the master.

        Neither users nor passwords are copied from a master to its replicas, and the addresses that sentinels tell may
        be known among the servers only. :class:`StoreUnavailableError` may pass by itself.
        """
        found = await all_of(map(self._examine, addresses))
        return [error for errors in found for error in errors]

    async def _examine(self, address: Address) -> list[StoreError]:
        try:
            async with self._at(self.connection, address) as redis:
                await redis.ping()
                await try_rights(redis, self.keys, is_replica=True)
                if self.admits is not None:
                    await try_admitting(redis, self.admits, self.keys.fence, is_replica=True)
        except MasterDownError:
            # It has lost its master, and takes over the next one's data first.
            return []
        except (RedisError, OSError) as error:
            return [explain_replica(error, self.connection, endpoint(*address))]
        traefik = self.traefik
        if self.admits is not None or traefik is None or traefik == self.connection:
            return []
        try:
            async with self._at(traefik, address, named=False) as redis:
                await try_reading(redis, self.keys.root.rstrip("/"))
        except (RedisError, OSError) as error:
            return [explain_replica_to_traefik(error, traefik, endpoint(*address))]
        return []

    @staticmethod
    def _at(connection: Connection, address: Address, *, named: bool = True) -> Any:
        return connect(alone(connection, address), _PATIENCE, named=named)

    async def attend(self, addresses: Iterable[Address]) -> list[str]:
        """Shut Traefik out of these servers where the hub lets it in; gives back sentences about what hinders that.

        A server that was the master knows Traefik for as long as it runs. When it is the master again, Traefik would
        read from it before the hub has written what it lacks.

        One that still takes writes is left until it is a replica: a Traefik that listens there would take being shut
        out for an error, and be longer in coming back each time.
        """
        found = await all_of(map(self._attend, addresses))
        return [sentence for sentence in found if sentence]

    async def _attend(self, address: Address) -> str:
        if (login := self.admits) is None:
            return ""
        host, port = address
        try:
            async with self._at(self.connection, address) as redis:
                if (await redis.info("replication")).get("role") != "master":
                    await redis.execute_command("ACL DELUSER", login.username)
        except NoPermissionError:
            hub = self.connection.username or "default"
            return (
                f"The replica of Redis at {endpoint(host, port)} does not let the user {hub!r} remove Traefik's user, "
                "so that Traefik may read from it before all routes are there when it is the master again. Say on "
                f"every server: ACL SETUSER {hub} +acl|deluser (docs/how-to/sentinel.md)."
            )
        except (RedisError, OSError):
            # Warnings about replicas are given elsewhere; this one is retried.
            return ""
        return ""


def alone(connection: Connection, address: Address) -> Connection:
    """The connection to one server of those among which the sentinels choose."""
    return replace(connection, host=address[0], port=address[1], sentinels=None)


async def replicas(sentinels: Iterable[Any], name: str, master: Address | None) -> list[Address]:
    """The servers that the first of these sentinels to answer knows beside the master of this name."""
    for sentinel in sentinels:
        try:
            states = await sentinel.sentinel_slaves(name)
        except (RedisError, OSError):
            continue
        found = [(str(state["ip"]), int(state["port"])) for state in states]
        return [address for address in found if address != master]
    return []
