"""``kvproxy static-config``."""

from .cmd import command

__all__ = ["command"]
