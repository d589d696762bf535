"""The proxy class of the ZooKeeper backend."""

from typing import Any

from traitlets import Unicode

from kvproxy import Roots
from kvproxy.proxy import KVTraefikProxy

from .connection import Connection, parse_connection
from .store import ZooKeeperStore


class TraefikZooKeeperProxy(KVTraefikProxy):
    """JupyterHub's proxy by Traefik, with the routes in Apache ZooKeeper."""

    provider_name = "zookeeper"

    zookeeper_url = Unicode(
        "zookeeper://127.0.0.1:2181",
        config=True,
        help="Where it is: `zookeeper://[user:password@]host[:port][,host2…]`.",
    )
    zookeeper_username = Unicode(config=True, help="The user, by ZooKeeper's `digest` scheme, instead of the URL's.")
    zookeeper_password = Unicode(config=True, help="That user's password, instead of the one in `zookeeper_url`.")

    @property
    def connection(self) -> Connection:
        """Where ZooKeeper is, from all the traits together.

        Raises:
            ConfigurationError: if they make no sense.
        """
        return parse_connection(self.zookeeper_url, self.zookeeper_username, self.zookeeper_password)

    def open_store(self, roots: Roots) -> ZooKeeperStore:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.open_store`."""
        return ZooKeeperStore(self.connection, roots.traefik, roots.jupyterhub)

    def traefik_provider(self) -> dict[str, Any]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.traefik_provider`."""
        made = self.connection
        login = {"username": made.username, "password": made.password} if made.username else {}
        return {"zooKeeper": {"endpoints": made.hosts.split(","), "rootKey": self.traefik_root, **login}}

    def store_secrets(self) -> list[str]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.store_secrets`."""
        return [self.connection.password]
