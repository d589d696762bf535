"""The version of kvproxy, its backends and its testing kit."""

__version__ = "0.1.0"
