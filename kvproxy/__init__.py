"""JupyterHub proxies that keep their routes in a key-value store and let Traefik serve them."""

from ._version import __version__ as __version__
from .errors import (
    ConfigurationError,
    HookError,
    InvalidRouteError,
    KVProxyError,
    OwnershipError,
    RouteNotReadyError,
    RouteRejectedError,
    StoppedError,
    StoreAuthError,
    StoreError,
    StoreUnavailableError,
    TraefikError,
    TraefikSilentError,
)
from .store.base import Capabilities, Operation, Snapshot, Space, Store, Transaction

__all__ = [
    "Capabilities",
    "ConfigurationError",
    "HookError",
    "InvalidRouteError",
    "KVProxyError",
    "Operation",
    "OwnershipError",
    "RouteNotReadyError",
    "RouteRejectedError",
    "Snapshot",
    "Space",
    "StoppedError",
    "Store",
    "StoreAuthError",
    "StoreError",
    "StoreUnavailableError",
    "TraefikError",
    "TraefikSilentError",
    "Transaction",
]
