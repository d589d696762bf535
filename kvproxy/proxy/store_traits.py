"""The traits of every proxy with a store, and the names that the routes have there."""

from __future__ import annotations

from traitlets import Float, Unicode

from ..store.base import Roots, make_roots
from .setup import TraefikSetUp


class StoreTraits(TraefikSetUp):
    """Everything about the store that does not depend on its kind."""

    kv_traefik_prefix = Unicode(
        "traefik",
        config=True,
        help="""The root of what Traefik reads from the store (its `rootKey`), with or without slashes at its ends.

        Keys that you add below it are picked up by Traefik and left alone by kvproxy. No other root in the same store
        may begin with the same characters.
        """,
    )
    kv_jupyterhub_prefix = Unicode(
        "jupyterhub",
        config=True,
        help="""The root of what the hub keeps in the store about its routes, with or without slashes at its ends.""",
    )
    store_timeout = Float(
        60,
        min=0,
        config=True,
        help="""Seconds that the store may be late when the hub starts, or away while a route is removed.""",
    )

    store_check_interval = Float(
        2,
        min=0,
        config=True,
        help="""Seconds between two looks, at least, whether the store still holds what the hub wrote; if not, it is put
        right. Large tables are read more rarely: it takes a fiftieth of the time at most. That a store was emptied, or
        has gone back to old data, is noticed within a second at any size. 0 switches both off.
        """,
    )

    def store_place(self) -> str:
        """Where in the store the routes are, for the log."""
        return str(self.roots)

    @property
    def traefik_root(self) -> str:
        """:attr:`kv_traefik_prefix` without slashes at its ends."""
        return self.roots.traefik

    @property
    def jupyterhub_root(self) -> str:
        """:attr:`kv_jupyterhub_prefix` without slashes at its ends."""
        return self.roots.jupyterhub

    @property
    def roots(self) -> Roots:
        """Both roots.

        Raises:
            ConfigurationError: if they cannot be used.
        """
        return make_roots(self.kv_traefik_prefix, self.kv_jupyterhub_prefix, self.hub_id)
