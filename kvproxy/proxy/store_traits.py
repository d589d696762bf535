"""The traits of every proxy with a store, and the roots of the routes there."""

from __future__ import annotations

from traitlets import Float, Unicode

from ..store.base import Roots, make_roots
from .setup import TraefikSetUp


class StoreTraits(TraefikSetUp):
    """The traits about the store that do not depend on its kind."""

    kv_traefik_prefix = Unicode(
        "traefik",
        config=True,
        help="""The root of the keys that Traefik reads from the store (its `rootKey`), with or without outer slashes.

        Keys that you add below it are picked up by Traefik and left alone by kvproxy. No other root in the same store
        may begin with the same characters.
        """,
    )
    kv_jupyterhub_prefix = Unicode(
        "jupyterhub",
        config=True,
        help="""The root of the hub's own records of its routes in the store, with or without outer slashes.""",
    )
    store_timeout = Float(
        60,
        min=0,
        config=True,
        help="""Seconds that the store may be unreachable when the hub starts, or while a route is removed.""",
    )

    store_check_interval = Float(
        2,
        min=0,
        config=True,
        help="""Minimum seconds between two checks that the store still holds what the hub wrote; differences are
        repaired. Large tables are read less often: the checks take at most a fiftieth of the time. A store that was
        emptied, or has gone back to old data, is noticed within a second at any size. 0 switches both off.
        """,
    )

    def store_place(self) -> str:
        """Return the location of the routes in the store, for messages."""
        return str(self.roots)

    @property
    def traefik_root(self) -> str:
        """:attr:`kv_traefik_prefix` without outer slashes."""
        return self.roots.traefik

    @property
    def jupyterhub_root(self) -> str:
        """:attr:`kv_jupyterhub_prefix` without outer slashes."""
        return self.roots.jupyterhub

    @property
    def roots(self) -> Roots:
        """Both roots.

        Raises:
            ConfigurationError: if they cannot be used.
        """
        return make_roots(self.kv_traefik_prefix, self.kv_jupyterhub_prefix, self.hub_id)
