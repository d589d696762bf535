"""TLS between Traefik and the hub's servers, with the certificates that JupyterHub's ``internal_ssl`` makes.

With it, the hub and its users' servers take no client without a certificate of one of JupyterHub's authorities,
and the proxy is to take no server that does not (``app.init_internal_ssl``, JupyterHub 5.5 and 6.1). In Traefik this is
a *serversTransport*, which the services of all servers with an https URL name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ...errors import ConfigurationError
from ...routing.names import ALONE, Names

#: JupyterHub's names of the proxy's own certificate, and of the bundle of the authorities that it trusts.
_CERTIFICATE: Final = "proxy-client"
_AUTHORITIES: Final = "proxy-client-ca"
#: Unused connections that Traefik keeps to one server, as many as in its own default transport
#: (``cmd/configuration.go``, 3.7). Any other transport keeps two, and a handshake with RSA keys is dear for both ends.
_IDLE_CONNECTIONS: Final = 200


@dataclass(frozen=True)
class Identity:
    """The client certificate that Traefik presents, and the authorities that it trusts.

    Args:
        authorities: certificates of the authorities whose servers it takes, in PEM.
        certificate: its own certificate, in PEM.
        key: the key to it: in PEM, or the absolute path of a file.
    """

    authorities: str
    certificate: str
    key: str = field(repr=False)


def read_identity(app: Any, *, key_as_text: bool) -> Identity:
    """Files that JupyterHub has made for its proxy.

    Certificates are public and always given as text: Traefik looks at a serversTransport again only if its text
    has changed (``TransportManager.Update``, 3.7), which a new certificate under an old path would not do.

    Args:
        app: a JupyterHub with ``internal_ssl``.
        key_as_text: whether the key itself is given, for a Traefik that may be unable to read the hub's files.

    Raises:
        ConfigurationError: if a file cannot be read.
    """
    pair = app.internal_proxy_certs[_CERTIFICATE]
    file = Path(pair["keyfile"]).absolute()
    key = _read(file)
    return Identity(
        authorities=_read(Path(app.internal_trust_bundles[_AUTHORITIES])),
        certificate=_read(Path(pair["certfile"])),
        key=key if key_as_text else str(file),
    )


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "it is not text"
        raise ConfigurationError(
            f"JupyterHub's internal certificates cannot be used: {file} cannot be read ({why}). It is in "
            "c.JupyterHub.internal_certs_location; c.JupyterHub.recreate_internal_certs = True regenerates all of them."
        ) from None


def servers_transport(identity: Identity, names: Names = ALONE) -> dict[str, Any]:
    """The dynamic configuration with the serversTransport.

    The name of a server is that of its URL, which JupyterHub has put into its certificate (``127.0.0.1``, ``localhost``
    and ``Spawner.ssl_alt_names``), so none is set here.
    """
    transport = {
        "rootCAs": [identity.authorities],
        "certificates": [{"certFile": identity.certificate, "keyFile": identity.key}],
        "maxIdleConnsPerHost": _IDLE_CONNECTIONS,
    }
    return {"http": {"serversTransports": {names.transport: transport}}}


def transport_name(*, internal_ssl: bool, own: str, set_up: bool, names: Names = ALONE) -> str:
    """The serversTransport for servers with an https URL; empty for Traefik's default one.

    Args:
        internal_ssl: whether JupyterHub has made certificates.
        own: ``traefik_servers_transport``, the name of the administrator's own one.
        set_up: whether kvproxy writes the dynamic configuration that is not about routes.
        names: how the hub calls what it has in Traefik's configuration.

    Raises:
        ConfigurationError: if there has to be one and it is not set up.
    """
    if own or not internal_ssl:
        return own
    if not set_up:
        raise ConfigurationError(
            "c.JupyterHub.internal_ssl needs a serversTransport in Traefik, which kvproxy does not set up as "
            "enable_setup_dynamic_config is False; set up your own and name it in "
            "c.TraefikProxy.traefik_servers_transport, such as 'internal@file'."
        )
    return names.transport
