"""One description of a Consul connection, from which both the hub's client and Traefik's provider are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from kvproxy import ConfigurationError
from kvproxy.store.connection import Dialect, HttpConnection, parse_http_connection

CONSUL: Final = Dialect(
    name="Consul",
    scheme="consul",
    port=8500,
    url="consul_url",
    login="consul_username and consul_password",
    ca="consul_client_ca_cert",
    cert="consul_client_kwargs['cert'][0]",
    key="consul_client_kwargs['cert'][1]",
)
#: Options of the client library python-consul that Traefik does not have, with the reason.
_REFUSED: Final = {
    "dc": "Traefik reads only from the data centre of the agent that it asks",
    "consistency": "kvproxy always reads what was written last",
}
#: Variables that would make Traefik's client leave the way that kvproxy goes.
_AMBIENT: Final = ("CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_SSL", "CONSUL_NAMESPACE")


def parse_connection(
    url: str,
    username: str = "",
    password: str = "",
    token: str = "",
    ca: str = "",
    client_kwargs: Mapping[str, Any] | None = None,
) -> HttpConnection:
    """Put together what ``consul_url`` and its companions say; the more special one wins.

    A password without a user is a token, as in jupyterhub-traefik-proxy.

    Args:
        url: ``consul[s]://[user:password@]host[:port][,host[:port]…]``; ``http[s]://`` means the same.
        username: ``consul_username``, for HTTP basic authentication; wins over the URL.
        password: ``consul_password``; wins over the URL.
        token: ``consul_token``.
        ca: path of the authority's certificate.
        client_kwargs: ``consul_client_kwargs``; wins over all.

    Raises:
        ConfigurationError: if it makes no sense, or Traefik could not follow.
    """
    special, tls = _translate(client_kwargs or {})
    if tls is not None:
        url = f"{'https' if tls else 'http'}://{url.partition('://')[2] or url}"
    traits = {"username": username, "password": password, "token": token, "ca": ca}
    made = parse_http_connection(CONSUL, url, traits, special)
    if ":" in made.username:
        raise ConfigurationError("consul_username cannot hold a colon, which ends the user in basic authentication.")
    if made.password and not made.username:
        return replace(made, password="", token=made.token or made.password)
    return made


def _translate(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], bool | None]:
    """``consul_client_kwargs``, called as python-consul calls them, and whether they ask for TLS (None: not said)."""
    options = dict(kwargs)
    if refused := sorted(_REFUSED.keys() & options.keys()):
        raise ConfigurationError(f"The Consul option {refused[0]!r} cannot be used: {_REFUSED[refused[0]]}.")
    scheme = options.pop("scheme", None)
    if scheme not in {None, "http", "https"}:
        raise ConfigurationError(f"The Consul option scheme = {scheme!r} must be 'http' or 'https'.")
    verify, cert = options.pop("verify", None), options.pop("cert", None)
    if isinstance(verify, str) and verify:
        options["ca"] = verify
    elif verify is not None:
        options["verify"] = bool(verify)
    if isinstance(cert, str):
        # One file with both.
        options |= {"cert": cert, "key": options.get("key", cert)}
    elif cert:
        try:
            options["cert"], options["key"] = cert
        except (TypeError, ValueError):
            raise ConfigurationError("The Consul option cert must be a file, or two: certificate and key.") from None
    return options, None if scheme is None else scheme == "https"


def provider_options(connection: HttpConnection, root: str) -> dict[str, Any]:
    """The ``providers.consul`` section of Traefik's static configuration for this connection.

    It holds the first endpoint only: with more, Traefik does not start (``ErrMultipleEndpointsUnsupported`` of
    kvtools/consul 1.0.2, as of Traefik 3.7).
    """
    section: dict[str, Any] = {"endpoints": [connection.endpoints[0]], "rootKey": root}
    section |= {"token": connection.token} if connection.token else {}
    return section | ({"tls": connection.tls.section()} if connection.tls else {})


def provider_environment(connection: HttpConnection) -> dict[str, str]:
    """Environment variables for Traefik: its configuration has no place for basic authentication."""
    login = f"{connection.username}:{connection.password}" if connection.username else ""
    return {**dict.fromkeys(_AMBIENT, ""), "CONSUL_HTTP_AUTH": login}
