"""The conformance kit: what every store has to do, as tests to inherit.

The kits for backends and proxies import JupyterHub, and are named by their own modules.
"""

import pytest

# Else a failing assertion of theirs would show no values.
_MODULES = ("backend", "oracle", "proxy", "proxy_life", "proxy_names", "proxy_suite", "proxy_tree", "store", "suite")
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _MODULES))

from .store import (  # noqa: E402 - after that
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
