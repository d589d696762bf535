"""The command ``kvproxy``."""

from .main import main

__all__ = ["main"]
