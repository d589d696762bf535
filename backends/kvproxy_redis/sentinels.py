"""Sentinels to ask for the master, and the login there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from kvproxy import ConfigurationError

#: The name that Redis' own example configuration, and with it nearly every installation, gives to the master.
MASTER: Final = "mymaster"
_PORT: Final = 26379


@dataclass(frozen=True)
class Sentinels:
    """The sentinels that know which server is the master.

    Args:
        addresses: host and TCP port of each sentinel.
        master: the name that they know the master by.
        username: of the login at the sentinels; empty for the default user.
        password: never shown.
    """

    addresses: tuple[tuple[str, int], ...]
    master: str = MASTER
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def endpoints(self) -> list[str]:
        """The addresses in the form that Traefik's ``endpoints`` have."""
        return [endpoint(host, port) for host, port in self.addresses]

    def __str__(self) -> str:
        return f"{'sentinels' if len(self.addresses) > 1 else 'sentinel'} {', '.join(self.endpoints)}"


def endpoint(host: str, port: int) -> str:
    """Host and port as one text.

    >>> endpoint("redis", 6379), endpoint("::1", 6379)
    ('redis:6379', '[::1]:6379')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_sentinels(
    addresses: str | Sequence[str], master: str = MASTER, username: str = "", password: str = ""
) -> Sentinels | None:
    """Parse ``redis_sentinels`` and its companions; None if there are no sentinels.

    Args:
        addresses: ``redis_sentinels``: ``host[:port]`` each, or several in one text with commas between.
        master: ``redis_sentinel_master``.
        username: ``redis_sentinel_username``.
        password: ``redis_sentinel_password``.

    Raises:
        ConfigurationError: if it makes no sense.
    """
    texts = [addresses] if isinstance(addresses, str) else addresses
    named = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    if not named:
        _refuse_alone(master, username, password)
        return None
    if not master:
        raise ConfigurationError(
            "redis_sentinels is set, but redis_sentinel_master is empty; give it the name that stands behind "
            "'sentinel monitor' in the sentinels' configuration."
        )
    if username and not password:
        # go-redis (Traefik 3.7) leaves out the whole login then, and Traefik is the default user without a word.
        raise ConfigurationError(
            "redis_sentinel_username is set without redis_sentinel_password; Traefik logs in as a user only with a "
            "password, so give it one, and any for a user with 'nopass'."
        )
    return Sentinels(tuple(dict.fromkeys(map(_address, named))), master, username, password)


def _refuse_alone(master: str, username: str, password: str) -> None:
    """Refuse a companion without sentinels: Sentinel is meant, and one server would be used silently."""
    companions = {"username": username, "password": password, "master": "" if master == MASTER else master}
    if alone := [name for name, value in companions.items() if value]:
        raise ConfigurationError(
            f"redis_sentinel_{alone[0]} is set without redis_sentinels; list the sentinels there, such as "
            f"['sentinel-1:{_PORT}', 'sentinel-2:{_PORT}', 'sentinel-3:{_PORT}']."
        )


def _address(text: str) -> tuple[str, int]:
    if "@" in text:
        raise ConfigurationError(
            "redis_sentinels takes addresses without credentials; put these in redis_sentinel_username and "
            "redis_sentinel_password."
        )
    if "/" in text:
        raise ConfigurationError(
            f"redis_sentinels takes addresses such as 'sentinel-1:{_PORT}', not {text!r}; for TLS to sentinels and "
            "servers alike begin redis_url with rediss://."
        )
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or (":" in host and not text.startswith("[")):
        raise ConfigurationError(
            f"redis_sentinels holds {text!r}, which is not an address; it should look like 'sentinel-1:{_PORT}' or "
            f"'[::1]:{_PORT}'."
        )
    return host, _PORT if port is None else port
