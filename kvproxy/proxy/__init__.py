"""The proxies as JupyterHub sees them."""

from .base import KVTraefikProxy
from .traits import TraefikProxy

__all__ = ["KVTraefikProxy", "TraefikProxy"]
