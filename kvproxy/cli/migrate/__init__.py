"""``kvproxy migrate``."""

from .cmd import command

__all__ = ["command"]
