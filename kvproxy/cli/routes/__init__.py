"""``kvproxy routes``."""

from .cmd import command

__all__ = ["command"]
