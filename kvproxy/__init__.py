"""JupyterHub proxies that keep their routes in a key-value store and let Traefik serve them.

The names here are the API for authors of plugins; docs/reference/api.md says what else is stable. Importing them starts
nothing and needs neither JupyterHub nor a store's client library. The base class of a backend's proxy is
``kvproxy.proxy.KVTraefikProxy``: it is not here because it imports JupyterHub, which takes seconds.
"""

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
    StoreChangedError,
    StoreError,
    StoreUnavailableError,
    StoreWriteRefusedError,
    TraefikAuthError,
    TraefikError,
    TraefikSilentError,
)
from .hookspecs import Backend, hookimpl
from .routing.route import Route, RouteSpec
from .store.base import Capabilities, Operation, Roots, Snapshot, Space, Store, Transaction

__all__ = [
    "Backend",
    "Capabilities",
    "ConfigurationError",
    "HookError",
    "InvalidRouteError",
    "KVProxyError",
    "Operation",
    "OwnershipError",
    "Roots",
    "Route",
    "RouteNotReadyError",
    "RouteRejectedError",
    "RouteSpec",
    "Snapshot",
    "Space",
    "StoppedError",
    "Store",
    "StoreAuthError",
    "StoreChangedError",
    "StoreError",
    "StoreUnavailableError",
    "StoreWriteRefusedError",
    "TraefikAuthError",
    "TraefikError",
    "TraefikSilentError",
    "Transaction",
    "hookimpl",
]
