"""One description of an etcd connection, from which both the hub's client and Traefik's provider are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from kvproxy import ConfigurationError
from kvproxy.store.connection import Dialect, HttpConnection, parse_http_connection

ETCD: Final = Dialect(
    name="etcd",
    scheme="etcd",
    port=2379,
    url="etcd_url",
    login="etcd_username and etcd_password",
    ca="etcd_client_ca_cert",
    cert="etcd_client_cert_crt",
    key="etcd_client_cert_key",
)
#: etcd_client_kwargs are called as the client library etcd3 calls them.
_NAMES: Final = {"user": "username", "ca_cert": "ca", "cert_cert": "cert", "cert_key": "key"}
_REFUSED: Final = {
    "grpc_options": "kvproxy speaks to etcd's JSON gateway, not gRPC",
    "token": "Traefik takes only a username and a password",
}


def parse_connection(
    url: str,
    username: str = "",
    password: str = "",
    files: Mapping[str, str | None] | None = None,
    client_kwargs: Mapping[str, Any] | None = None,
) -> HttpConnection:
    """Put together what ``etcd_url`` and its companions say; the more special one wins.

    Args:
        url: ``etcd[s]://[user[:password]@]host[:port][,host[:port]…]``; ``http[s]://`` means the same.
        username: ``etcd_username``; wins over the URL.
        password: ``etcd_password``; wins over the URL.
        files: ``ca``, ``cert`` and ``key``: paths of certificates.
        client_kwargs: ``etcd_client_kwargs``; wins over all.

    Raises:
        ConfigurationError: if it makes no sense, or Traefik could not follow.
    """
    special = {_NAMES.get(name, name): value for name, value in (client_kwargs or {}).items()}
    if refused := sorted(_REFUSED.keys() & special.keys()):
        raise ConfigurationError(f"The etcd option {refused[0]!r} cannot be used: {_REFUSED[refused[0]]}.")
    connection = parse_http_connection(ETCD, url, {"username": username, "password": password}, files or {}, special)
    if bool(connection.username) != bool(connection.password):
        raise ConfigurationError("etcd_username and etcd_password go together; one is missing.")
    return connection


def traefik_connection(connection: HttpConnection, username: str = "", password: str = "") -> HttpConnection:
    """The connection that Traefik is given: the hub's own, or the same place with a login of Traefik's own.

    Args:
        connection: the hub's.
        username: ``etcd_traefik_username``; empty to come as the hub does.
        password: ``etcd_traefik_password``.

    Raises:
        ConfigurationError: if one of the two is missing.
    """
    if bool(username) != bool(password):
        raise ConfigurationError(
            "etcd_traefik_username and etcd_traefik_password go together; one is missing. Leave both empty to let "
            "Traefik come as the hub does."
        )
    return replace(connection, username=username, password=password) if username else connection


def provider_options(connection: HttpConnection, root: str) -> dict[str, Any]:
    """The ``providers.etcd`` section of Traefik's static configuration for this connection."""
    section: dict[str, Any] = {"endpoints": list(connection.endpoints), "rootKey": root}
    if connection.username:
        section |= {"username": connection.username, "password": connection.password}
    return section | ({"tls": connection.tls.section()} if connection.tls else {})
