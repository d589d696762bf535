"""The client's errors in kvproxy's words."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,
)

from kvproxy import (
    ConfigurationError,
    KVProxyError,
    StoreAuthError,
    StoreError,
    StoreUnavailableError,
    StoreWriteRefusedError,
)
from kvproxy.store.certificate_errors import untrusted

from .connection import Connection

#: The hint about a connection that the server closed, as it does with one whose client certificate it does not trust.
_ENDED: Final = re.compile("closed by server|[Cc]onnection reset|ALERT_")
#: The answer to a client that gives no password and has to.
_ASKED: Final = re.compile("(?i)authentication required|NOAUTH|without any password|already authenticated")
#: The answer to a client that selects a database that is not there; a cluster has one only.
_NO_DATABASE: Final = re.compile("DB index is out of range|SELECT is not allowed")


class MasterMissing(StoreUnavailableError):
    """No sentinel names a master; the sentinels themselves tell why."""


def explain(error: Exception, connection: Connection, master: str = "") -> StoreError:
    """One of kvproxy's errors for one of the client's, about the server that holds the routes.

    Args:
        error: the client's.
        connection: where to.
        master: ``host:port`` of the server that the sentinels name, as far as it is known.
    """
    where = f"The master {master} of Redis at {connection}" if master else f"Redis at {connection}"
    if connection.sentinels is not None and (changing := _explain_change(error, where)):
        return changing
    return _refused(error, where) or _explain(
        error, connection, where, connection.username, "redis_username and redis_password"
    )


def explain_replica(error: Exception, connection: Connection, place: str) -> StoreError:
    """The same about a replica at that place, which is to take over one day."""
    where = f"The replica of Redis at {place}"
    return _explain(error, connection, where, connection.username, "redis_username and redis_password")


def explain_replica_to_traefik(error: Exception, connection: Connection, place: str) -> StoreError:
    """The same about a replica that is to serve Traefik one day, which comes by this connection."""
    where, settings = f"The replica of Redis at {place}", "redis_traefik_username and redis_traefik_password"
    return _explain(error, connection, where, connection.username, settings)


def explain_sentinel(error: Exception, connection: Connection, place: str) -> KVProxyError:
    """The same about a sentinel at that place."""
    where = f"The sentinel at {place}"
    if "unknown command" in str(error).lower():
        return ConfigurationError(
            f"{where} is a server without the SENTINEL command; redis_sentinels takes the addresses of "
            "sentinels, whose port is 26379 by default."
        )
    user = connection.sentinels.username if connection.sentinels is not None else ""
    return _explain(error, connection, where, user, "redis_sentinel_username and redis_sentinel_password")


def explain_traefik(provider_error: str, connection: Connection, username: str) -> str:
    """Say what to do about an error of Traefik's provider, if it is that Redis refuses its user; else empty.

    Args:
        provider_error: in the server's own words.
        connection: where Redis is.
        username: ``redis_traefik_username``.
    """
    if provider_error.startswith(("WRONGPASS", "NOAUTH")):
        return (
            f"Redis at {connection} refuses Traefik's user {username!r}; check redis_traefik_username and "
            "redis_traefik_password."
        )
    if provider_error.startswith("NOPERM"):
        return (
            f"Redis at {connection} does not let Traefik's user {username!r} (redis_traefik_username) read the routes "
            f"({provider_error.rstrip('.')}); give it the rights in docs/how-to/redis.md."
        )
    return ""


def explain_login(error: Exception, connection: Connection) -> StoreError:
    """The error of a login as Traefik's user, by Traefik's connection, in the words of :func:`explain_traefik`."""
    kinds = {AuthenticationError: "WRONGPASS", NoPermissionError: "NOPERM"}
    kind = next((name for cls, name in kinds.items() if isinstance(error, cls)), "")
    said = explain_traefik(
        f"{kind} {error}" if kind else str(error), replace(connection, username=""), connection.username
    )
    return StoreAuthError(said) if said else explain(error, connection)


def _explain_change(error: Exception, where: str) -> StoreError | None:
    """An error that lasts only until the sentinels have agreed on a master and it has taken over."""
    if isinstance(error, MasterNotFoundError):
        # The client's own text tells of each sentinel in the words of Python.
        return MasterMissing(f"{where} has no master just now: no sentinel can be reached that knows one.")
    if isinstance(error, (ReadOnlyError, MasterDownError)) or "master is now a slave" in str(error):
        return StoreUnavailableError(f"{where} is changing its master.")
    return None


def _refused(error: Exception, where: str) -> StoreError | None:
    """A refusal for now, which neither rights nor commands are to blame for."""
    text = str(error)
    if isinstance(error, OutOfMemoryError) or text.startswith("OOM"):
        return StoreWriteRefusedError(f"{where} is full (maxmemory); give it more memory or remove other keys.")
    if text.startswith("MISCONF"):
        return StoreWriteRefusedError(
            f"{where} takes no changes as it cannot save its data to disk (MISCONF); its log has the reason. Mostly "
            "the disk is full, or it may not write to its directory."
        )
    if isinstance(error, ReadOnlyError):
        return StoreWriteRefusedError(
            f"{where} is a read-only replica now; name the master in redis_url, or make it one with REPLICAOF NO ONE."
        )
    if "NOREPLICAS" in text:
        return StoreWriteRefusedError(f"{where} takes no writes while it has too few replicas (min-replicas-to-write).")
    if text.startswith("BUSY"):
        return StoreUnavailableError(f"{where} runs a script that does not end; SCRIPT KILL in Redis ends it.")
    return None


def _explain(error: Exception, connection: Connection, where: str, username: str, settings: str) -> StoreError:
    text = _safe(error, connection)
    if isinstance(error, NoPermissionError):
        return StoreAuthError(
            f"{where} does not let the user {username or 'default'!r} do what kvproxy needs ({text}); see the docs' "
            "ACL."
        )
    if _ASKED.search(text):
        return StoreAuthError(f"{where} asks for a password; set {settings.rpartition(' ')[2]}.")
    if isinstance(error, AuthenticationError) or "WRONGPASS" in text or "NOAUTH" in text:
        return StoreAuthError(f"{where} refuses the credentials; check {settings}.")
    if isinstance(error, BusyLoadingError):
        return StoreUnavailableError(f"{where} is still loading its data.")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        url = "redis_url" if connection.sentinels is None else ""
        return StoreError(untrusted(where, text, "ssl_ca_certs", url))
    if isinstance(error, TimeoutError) and connection.tls is not None:
        return StoreUnavailableError(f"{where} does not answer ({text}); does it speak TLS there?")
    if connection.tls is not None and connection.tls.cert and _ENDED.search(text):
        return StoreUnavailableError(
            f"{where} has ended the connection ({text}); if it is there, does it still trust the client certificate "
            f"{connection.tls.cert}?"
        )
    if isinstance(error, (ConnectionError, TimeoutError, OSError)):
        return StoreUnavailableError(f"{where} cannot be reached ({text}).")
    if _NO_DATABASE.search(text):
        return StoreError(
            f"{where} has no database {connection.db} ({text}); name another one in redis_url, or raise 'databases' in "
            "Redis' configuration. Two tiers of routes (c.TraefikProxy.route_tiers) need the next one as well."
        )
    return StoreError(f"{where} answers: {text}.")


def _safe(error: Exception, connection: Connection) -> str:
    text = str(error).strip().rstrip(".") or type(error).__name__
    passwords = [connection.password, connection.sentinels.password if connection.sentinels is not None else ""]
    for password in filter(None, passwords):
        text = text.replace(password, "…")
    return text
