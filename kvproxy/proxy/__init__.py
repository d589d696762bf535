"""The proxy classes that JupyterHub uses."""

from .base import KVTraefikProxy
from .traits import TraefikProxy

__all__ = ["KVTraefikProxy", "TraefikProxy"]
