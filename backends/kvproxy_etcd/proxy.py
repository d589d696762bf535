"""The proxy class of the etcd backend."""

from __future__ import annotations

from typing import Any

from traitlets import Dict, Unicode

from kvproxy import Roots
from kvproxy.proxy import KVTraefikProxy
from kvproxy.proxy.former_names import former_name
from kvproxy.store.connection import HttpConnection
from kvproxy.traefik.validation import Reader

from .connection import parse_connection, provider_options, traefik_connection
from .store import EtcdStore


class TraefikEtcdProxy(KVTraefikProxy):
    """JupyterHub's proxy by Traefik, with the routes in etcd."""

    provider_name = "etcd"

    etcd_url = Unicode(
        "http://127.0.0.1:2379",
        config=True,
        help="""etcd's address: `etcd://[user:password@]host[:port]`, or `etcds://…` for TLS; `http://` and `https://`
        mean the same.

        Several members of a cluster are separated by commas: `etcd://one:2379,two:2379`. Special characters in user and
        password are percent-encoded. Traefik uses the same.
        """,
    )
    etcd_username = Unicode(config=True, help="The etcd user, instead of the one in `etcd_url`.")
    etcd_password = Unicode(config=True, help="The etcd user's password, instead of the one in `etcd_url`.")
    etcd_traefik_username = Unicode(
        config=True,
        help="""The etcd user that Traefik logs in as; if empty, it comes as the hub does. It need only read what is
        below `kv_traefik_prefix`. Without effect if `should_start` is False.
        """,
    )
    etcd_traefik_password = Unicode(config=True, help="The password of `etcd_traefik_username`.")
    etcd_client_ca_cert = Unicode(
        None,
        allow_none=True,
        config=True,
        help="The file (PEM) of the authority that etcd's certificate is from; the system's authorities if not set.",
    )
    etcd_client_cert_crt = Unicode(
        None, allow_none=True, config=True, help="The file (PEM) of a client certificate, if etcd asks for one."
    )
    etcd_client_cert_key = Unicode(
        None, allow_none=True, config=True, help="The file (PEM, not encrypted) of the client certificate's key."
    )
    etcd_client_kwargs = Dict(
        config=True,
        help="""Further options: `host`, `port`, `user`, `password`, `ca_cert`, `cert_cert`, `cert_key`, `timeout`
        (seconds for one request) and `verify` (False: do not check etcd's certificate). They win over everything else.
        """,
    )

    kv_url = former_name("etcd_url")
    kv_username = former_name("etcd_username")
    kv_password = former_name("etcd_password")
    etcd_traefik_prefix = former_name("kv_traefik_prefix")
    etcd_jupyterhub_prefix = former_name("kv_jupyterhub_prefix")

    @property
    def connection(self) -> HttpConnection:
        """etcd's endpoints and credentials, from all the traits together.

        Raises:
            ConfigurationError: if they make no sense, or Traefik could not follow.
        """
        files = {
            "ca": self.etcd_client_ca_cert,
            "cert": self.etcd_client_cert_crt,
            "key": self.etcd_client_cert_key,
        }
        return parse_connection(self.etcd_url, self.etcd_username, self.etcd_password, files, self.etcd_client_kwargs)

    def open_store(self, roots: Roots) -> EtcdStore:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.open_store`."""
        traefik = None
        if self.should_start and self.etcd_traefik_username and not self.says_provider:
            traefik = traefik_connection(self.connection, self.etcd_traefik_username, self.etcd_traefik_password)
        return EtcdStore(self.connection, roots.traefik, roots.jupyterhub, traefik)

    def reader(self) -> Reader:
        """See :meth:`kvproxy.proxy.traits.TraefikProxy.reader`."""
        return Reader(drops_empty=False)

    def traefik_provider(self) -> dict[str, Any]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.traefik_provider`."""
        login = self.etcd_traefik_username, self.etcd_traefik_password
        return {"etcd": provider_options(traefik_connection(self.connection, *login), self.traefik_root)}

    def store_secrets(self) -> list[str]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.store_secrets`."""
        own = [self.etcd_traefik_password] if self.etcd_traefik_password else []
        return self.connection.secrets + own
