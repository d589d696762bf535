"""The errors that kvproxy raises on purpose.

Each carries one sentence for an administrator: what failed, which setting or server, what to do. None of them ever
contains a password, a token or a URL with credentials.
"""

from __future__ import annotations

from typing import Final

from ._text import shown

#: Maximum characters of an error's sentence, a part of which may come from a store.
_LIMIT: Final = 5000


class KVProxyError(Exception):
    """Base class of all errors raised by kvproxy."""

    def __str__(self) -> str:
        return shown(super().__str__(), _LIMIT)


class ConfigurationError(KVProxyError):
    """A setting cannot work; the message names it and says what to change."""


class InvalidRouteError(KVProxyError, ValueError):
    """A routespec, target or data is invalid. Nothing has been written."""


class HookError(InvalidRouteError):
    """A hook failed for a route, or returned an invalid configuration for it; the message names both.

    Nothing has been written: a route whose hook fails may lack what protects it, so it is not served at all.

    Args:
        message: the sentence.
        routespec: the route's routespec.
    """

    def __init__(self, message: str, routespec: str) -> None:
        super().__init__(message)
        self.routespec = routespec


class RouteNotReadyError(KVProxyError, TimeoutError):
    """Traefik did not serve a route in time; the message says what was seen. The route has been taken back."""


class RouteRejectedError(KVProxyError):
    """Traefik refused a router or service; the message holds Traefik's reason. The route has been taken back."""


class StoreError(KVProxyError):
    """A store answered with an error that waiting does not cure."""


class StoreUnavailableError(StoreError):
    """A store is unreachable, or is loading; a later retry may work."""


class StoreChangedError(StoreUnavailableError):
    """A store is not as it was left: it was emptied, has gone back to old data, or another client has written to it.

    Nothing has been written. After reading the store again, a retry may work.
    """


class StoreWriteRefusedError(StoreUnavailableError):
    """A store can be read but accepts no changes for now: it is full, read-only or cannot save its data.

    Args:
        message: the sentence.
        certain: True if the refused transaction is certainly not going to be applied later either.
    """

    def __init__(self, message: str, *, certain: bool = True) -> None:
        super().__init__(message)
        self.certain = certain


class StoreAuthError(StoreError):
    """A store refused the credentials, or they lack a right that kvproxy needs."""


class OwnershipError(StoreError):
    """Another hub uses the same routes; the message names it."""


class TraefikError(KVProxyError):
    """Traefik could not be found, started or asked."""


class TraefikAuthError(TraefikError):
    """Traefik's API refused the credentials, or what answers in its place did."""


class TraefikSilentError(TraefikError):
    """Traefik did not answer in time."""


class StoppedError(KVProxyError):
    """The proxy has been stopped, so it accepts no more routes."""
