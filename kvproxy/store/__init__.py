"""The interface between kvproxy and a store, which a plugin implements."""

from .base import Capabilities, Operation, Roots, Snapshot, Space, Store, Transaction, make_roots, normalise_root

__all__ = [
    "Capabilities",
    "Operation",
    "Roots",
    "Snapshot",
    "Space",
    "Store",
    "Transaction",
    "make_roots",
    "normalise_root",
]
