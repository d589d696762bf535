"""The interface between kvproxy and a store, which a plugin implements."""

from .base import Capabilities, Operation, Snapshot, Space, Store, Transaction, normalise_root, roots

__all__ = ["Capabilities", "Operation", "Snapshot", "Space", "Store", "Transaction", "normalise_root", "roots"]
