"""Every error that kvproxy raises on purpose.

Each carries one sentence for an administrator: what failed, which setting or server, what to do. None of them
ever contains a password, a token or a URL with credentials in it.
"""

from __future__ import annotations

from typing import Final

from ._text import shown

#: Characters of an error's sentence that are shown at most; a part of it may be what a store has said.
_LIMIT: Final = 5000


class KVProxyError(Exception):
    """Base class of all errors raised by kvproxy."""

    def __str__(self) -> str:
        return shown(super().__str__(), _LIMIT)


class ConfigurationError(KVProxyError):
    """A setting cannot work; the message names it and says what to change."""


class InvalidRouteError(KVProxyError, ValueError):
    """A routespec, target or data that cannot be routed. Nothing has been written."""


class HookError(InvalidRouteError):
    """A hook failed for a route, or gave it a configuration that cannot be used; the message names both.

    Nothing has been written: a route whose hook fails may lack what protects it, so it is not served at all.

    Args:
        message: the sentence.
        routespec: of the route.
    """

    def __init__(self, message: str, routespec: str) -> None:
        super().__init__(message)
        self.routespec = routespec


class RouteNotReadyError(KVProxyError, TimeoutError):
    """Traefik did not serve a route in time; the message says what was seen. The route has been taken back."""


class RouteRejectedError(KVProxyError):
    """Traefik refused a router or service; the message holds Traefik's reason. The route has been taken back."""


class StoreError(KVProxyError):
    """A store answered with an error that waiting will not mend."""


class StoreUnavailableError(StoreError):
    """A store cannot be reached, or is loading; trying again later may work."""


class StoreChangedError(StoreUnavailableError):
    """A store is not as it was left: it was emptied, has gone back to old data, or somebody else has written to it.

    Nothing has been written. Whoever reads it again may go on.
    """


class StoreWriteRefusedError(StoreUnavailableError):
    """A store can be read, and takes no changes for now: it is full, read-only or cannot save its data.

    Args:
        message: the sentence.
        certain: whether nothing of the refused transaction is going to be applied later either.
    """

    def __init__(self, message: str, *, certain: bool = True) -> None:
        super().__init__(message)
        self.certain = certain


class StoreAuthError(StoreError):
    """A store refused the credentials, or these may not do what kvproxy needs."""


class OwnershipError(StoreError):
    """Another hub is at work on the same routes; the message says which."""


class TraefikError(KVProxyError):
    """Traefik could not be found, started or asked."""


class TraefikSilentError(TraefikError):
    """Traefik did not answer in time."""


class StoppedError(KVProxyError):
    """The proxy has been stopped, so it takes no more routes."""
