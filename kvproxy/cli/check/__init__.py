"""``kvproxy check``."""

from .cmd import command

__all__ = ["command"]
