"""The proxy class of the Consul backend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from traitlets import Bool, Dict, Unicode

from kvproxy import Roots
from kvproxy.proxy import KVTraefikProxy
from kvproxy.proxy.former_names import former_name
from kvproxy.proxy.hot import has_one_tier
from kvproxy.store.connection import HttpConnection
from kvproxy.traefik.validation import Reader

from .admission import Login, check_token, hot_token
from .connection import parse_connection, provider_environment, provider_options
from .store import ConsulStore


class TraefikConsulProxy(KVTraefikProxy):
    """JupyterHub's proxy by Traefik, with the routes in Consul's key-value store."""

    provider_name = "consul"

    consul_url = Unicode(
        "http://127.0.0.1:8500",
        config=True,
        help="""A Consul agent's address: `consul://host[:port]`, or `consuls://…` for TLS; `http://` and `https://`
        mean the same.

        Name the agent of the machine, which follows the servers by itself. Several may stand there, separated by
        commas: the hub asks the next one when one cannot help, but Traefik takes only one and gets the first.
        """,
    )
    consul_token = Unicode(config=True, help="The ACL token, if Consul's access control is on.")
    consul_traefik_token = Unicode(
        config=True,
        help="""The ACL token that Traefik comes with; if empty, it is the hub's. It need only read what is below
        `kv_traefik_prefix`. Without effect if `should_start` is False.
        """,
    )
    consul_admit_traefik = Bool(
        False,
        config=True,
        help="""Have the hub create the token `consul_traefik_token` whenever Consul does not know it and all routes are
        there.

        Then a Consul that has lost its data keeps Traefik out until the hub has written all routes again, and Traefik
        goes on with what it has loaded. The hub's own token must be one that a new Consul knows from its configuration
        (`acl.tokens.initial_management`, before 1.11 `master`). With two tiers (`route_tiers`), the second
        Traefik gets a token of its own, made from that of the first.
        """,
    )
    consul_username = Unicode(
        config=True, help="The user for HTTP basic authentication, where a server in front of Consul asks for it."
    )
    consul_password = Unicode(
        config=True, help="That user's password. Without `consul_username`, it is the ACL token, as `consul_token`."
    )
    consul_client_ca_cert = Unicode(
        None,
        allow_none=True,
        config=True,
        help="The file (PEM) of the authority that Consul's certificate is from; the system's authorities if not set.",
    )
    consul_client_kwargs = Dict(
        config=True,
        help="""Further options: `host`, `port`, `scheme`, `token`, `verify` (False: do not check Consul's certificate,
        or the authority's file), `cert` (a client certificate: a file, or a pair of files with the key) and `timeout`
        (seconds for one request). They win over everything else.
        """,
    )

    kv_url = former_name("consul_url")
    kv_username = former_name("consul_username")
    kv_password = former_name("consul_password")

    @property
    def connection(self) -> HttpConnection:
        """Consul's endpoints and credentials, from all the traits together.

        Raises:
            ConfigurationError: if they make no sense, or Traefik could not follow.
        """
        return parse_connection(
            self.consul_url,
            self.consul_username,
            self.consul_password,
            self.consul_token,
            self.consul_client_ca_cert or "",
            self.consul_client_kwargs,
        )

    def open_store(self, roots: Roots) -> ConsulStore:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.open_store`."""
        connection = self.connection
        admits = self._admits(roots)
        traefik = None
        if self.should_start and self.consul_traefik_token and not admits and not self.says_provider:
            traefik = replace(connection, token=self.consul_traefik_token)
        return ConsulStore(connection, roots.traefik, roots.jupyterhub, self._warnings(), admits, traefik)

    def _admits(self, roots: Roots) -> Login | None:
        if not self.consul_admit_traefik:
            return None
        token, hot = check_token(self.consul_traefik_token, self.connection.token), self.hot_settings()
        former = Login(hot["consul_traefik_token"], hot["kv_traefik_prefix"]) if has_one_tier(self) else None
        return Login(token, roots.traefik, former)

    def reader(self) -> Reader:
        """See :meth:`kvproxy.proxy.traits.TraefikProxy.reader`."""
        return Reader(drops_empty=False)

    def traefik_provider(self) -> dict[str, Any]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.traefik_provider`."""
        connection = self.connection
        connection = replace(connection, token=self.consul_traefik_token or connection.token)
        return {"consul": provider_options(connection, self.traefik_root)}

    def traefik_environment(self) -> dict[str, str]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.traefik_environment`."""
        return provider_environment(self.connection)

    def hot_settings(self) -> dict[str, Any]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.hot_settings`.

        A token that the hub makes has rights to one root, so the second Traefik gets one of its own.

        Raises:
            ConfigurationError: if the hub cannot make the first Traefik's token.
        """
        if not self.consul_admit_traefik:
            return super().hot_settings()
        token = check_token(self.consul_traefik_token, self.connection.token)
        return {**super().hot_settings(), "consul_traefik_token": hot_token(token)}

    def store_secrets(self) -> list[str]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.store_secrets`."""
        own = [self.consul_traefik_token] if self.consul_traefik_token else []
        return self.connection.secrets + own

    def _warnings(self) -> list[str]:
        """Warnings about Traefik, which takes only one of several endpoints."""
        endpoints = self.connection.endpoints
        told = self.extra_static_config.get("providers", {}).get("consul", {}).get("endpoints")
        if len(endpoints) == 1 or told or not self.should_start:
            return []
        return [
            f"consul_url names {len(endpoints)} endpoints, but Traefik takes only one and gets the first, "
            f"{endpoints[0]}: while that is unreachable, no new route is served. Run a Consul agent on Traefik's "
            "machine, which follows the servers by itself, and name that one alone, or first."
        ]
