"""The conformance kit: what every store has to do, as tests to inherit.

The kits for backends and proxies import JupyterHub, and are named by their own modules.
"""

from .store import (
    CONFIG,
    PATIENCE,
    RECORDS,
    StoreConformance,
    StoreCredentialsConformance,
    StoreServer,
    StoreServerConformance,
    put,
    setting,
)

__all__ = [
    "CONFIG",
    "PATIENCE",
    "RECORDS",
    "StoreConformance",
    "StoreCredentialsConformance",
    "StoreServer",
    "StoreServerConformance",
    "put",
    "setting",
]
