"""A description of how to reach a store by HTTP, from which the hub's client and Traefik's are both made.

A backend gives the names of its settings in a :class:`Dialect`, and translates its own options to :data:`OPTIONS`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import ConfigurationError
from .clear_text import clear_text
from .renewal import Stamp, stamp

#: The options besides the URL, by this module's names.
OPTIONS: Final = {"host", "port", "username", "password", "token", "ca", "cert", "key", "verify", "timeout"}
_PEM: Final = "-----BEGIN"


@dataclass(frozen=True)
class Dialect:
    """The names of a kind of store and of its settings, for messages.

    Args:
        name: the store's name in sentences, such as ``"etcd"``.
        scheme: the scheme of its URLs; an ``s`` at the end means TLS. ``http`` and ``https`` are always accepted too.
        port: the default TCP port.
        url: name of the setting that holds the URL.
        login: names of the settings with user and password (or token), for sentences.
        ca: name of the setting for the authority's certificate.
        cert: name of the setting for the client's certificate.
        key: name of the setting for its key.
    """

    name: str
    scheme: str
    port: int
    url: str
    login: str
    ca: str
    cert: str
    key: str


@dataclass(frozen=True)
class Tls:
    """Options of TLS. Paths are absolute; an empty string means not set.

    Args:
        ca: path, or PEM text, of the authorities to trust; empty for the system's.
        cert: path of the client certificate.
        key: path of its key.
        verify: True if the server's certificate and name are verified.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True

    def section(self) -> dict[str, Any]:
        """Return the section ``tls`` of a provider in Traefik's static configuration."""
        named = {"ca": self.ca, "cert": self.cert, "key": self.key}
        section: dict[str, Any] = {name: value for name, value in named.items() if value}
        return section | ({} if self.verify else {"insecureSkipVerify": True})

    def stamp(self) -> Stamp:
        """Return a value that changes when one of the files is renewed."""
        return stamp([self.ca, self.cert, self.key])

    def context(self) -> ssl.SSLContext:
        """Return the same options for Python's client.

        Raises:
            ConfigurationError: if a file cannot be read or used.
        """
        what = self.ca
        try:
            pem = self.ca if _PEM in self.ca else None
            context = ssl.create_default_context(cafile=None if pem else self.ca or None, cadata=pem)
            if self.cert:
                what = self.cert
                # Without a callback, OpenSSL would ask for the key's password at the terminal.
                context.load_cert_chain(self.cert, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            shown = "the authority's certificate" if _PEM in what else what
            raise ConfigurationError(
                f"The TLS file {shown} cannot be used ({error}); certificates and keys must be PEM, keys not encrypted."
            ) from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True)
class HttpConnection:
    """A store's endpoints and credentials.

    Args:
        dialect: names for messages.
        endpoints: ``host:port``, at least one; all belong to the same store.
        username: empty for none.
        password: never shown.
        token: never shown.
        tls: None for a connection without TLS.
        timeout: seconds that one endpoint may take for a request.
    """

    dialect: Dialect
    endpoints: tuple[str, ...]
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    tls: Tls | None = None
    timeout: float = 10.0

    @property
    def urls(self) -> tuple[str, ...]:
        """The endpoints as ``http[s]://host:port``."""
        return tuple(f"{'https' if self.tls else 'http'}://{endpoint}" for endpoint in self.endpoints)

    @property
    def secrets(self) -> list[str]:
        """The strings that must never be shown."""
        return [secret for secret in (self.password, self.token) if secret]

    def redact(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "…")
        return text

    @property
    def stranger(self) -> HttpConnection:
        """The same servers for a client without a login and a certificate."""
        tls = replace(self.tls, cert="", key="") if self.tls else None
        return replace(self, username="", password="", token="", tls=tls)

    def in_clear_text(self) -> list[str]:
        """Return warnings about a connection that others can read, see :func:`kvproxy.store.clear_text.clear_text`."""
        dialect, tls = self.dialect, self.tls
        return clear_text(
            dialect.name,
            [endpoint.rpartition(":")[0] for endpoint in self.endpoints],
            tls=tls is not None,
            verify=tls is not None and tls.verify,
            what="passwords, tokens and routes",
            mend=f"Begin {dialect.url} with {dialect.scheme}s://, and give its authority with {dialect.ca}.",
        )

    def at(self, endpoint: str) -> str:
        """Return one endpoint for a message, such as ``etcd at etcds://hub@host:2379``."""
        user = f"{self.username}@" if self.username else ""
        return f"{self.dialect.name} at {self.dialect.scheme}{'s' if self.tls else ''}://{user}{endpoint}"

    def __str__(self) -> str:
        return self.at(",".join(self.endpoints))


def parse_http_connection(dialect: Dialect, url: str, *layers: Mapping[str, Any]) -> HttpConnection:
    """Combine a URL and further settings.

    Args:
        dialect: names for messages.
        url: ``scheme://[user[:password]@]host[:port][,host[:port]…][?option=…]``; or several URLs, each with its
            scheme, separated by commas.
        layers: further settings, named as in :data:`OPTIONS`; a later one wins, and an empty value does not count.

    Raises:
        ConfigurationError: if they cannot be used.
    """
    tls, endpoints, settings = _from_url(dialect, url)
    for layer in layers:
        settings |= {name: value for name, value in layer.items() if value is not None and value != ""}
    if unknown := sorted(settings.keys() - OPTIONS):
        raise ConfigurationError(f"{dialect.url} or a related setting has the unknown option {unknown[0]!r}.")
    if "host" in settings or "port" in settings:
        host, _, port = endpoints[0].rpartition(":")
        endpoints = (_endpoint(dialect, str(settings.get("host", host)).strip("[]"), settings.get("port", port)),)
    return HttpConnection(
        dialect,
        endpoints,
        str(settings.get("username", "")),
        str(settings.get("password", "")),
        str(settings.get("token", "")),
        _tls(dialect, settings) if tls else None,
        _seconds(dialect, settings.get("timeout", 10.0)),
    )


def _from_url(dialect: Dialect, url: str) -> tuple[bool, tuple[str, ...], dict[str, Any]]:
    first, *more = [part.strip() for part in url.split(",")]
    scheme = first.partition("://")[0] if "://" in first else ""
    if scheme not in {dialect.scheme, dialect.scheme + "s", "http", "https"}:
        shown = f" and not with {scheme}://" if scheme else ""
        raise ConfigurationError(
            f"{dialect.url} must begin with {dialect.scheme}://, {dialect.scheme}s:// (TLS), http:// or https://{shown}."
        )
    endpoints: list[str] = []
    settings: dict[str, Any] = {}
    for part in (first, *more):
        other, there, _ = part.partition("://")
        if there and other != scheme:
            raise ConfigurationError(f"{dialect.url} names several servers; all must have the same scheme.")
        endpoint, said = _from_part(dialect, part if there else f"{scheme}://{part}")
        endpoints.append(endpoint)
        settings |= said
    return scheme.endswith("s"), tuple(dict.fromkeys(endpoints)), settings


def _from_part(dialect: Dialect, url: str) -> tuple[str, dict[str, Any]]:
    wrong = ConfigurationError(f"{dialect.url} is not a valid URL; it should look like {dialect.scheme}://host:port.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if not host:
        raise wrong
    if parts.path.strip("/") or parts.fragment:
        raise ConfigurationError(f"{dialect.url} has a path, which Traefik cannot use; give only host and port.")
    said: dict[str, Any] = dict(parse_qsl(parts.query))
    said |= {"username": unquote(parts.username)} if parts.username else {}
    said |= {"password": unquote(parts.password)} if parts.password else {}
    return _endpoint(dialect, unquote(host), port), said


def _endpoint(dialect: Dialect, host: str, port: Any) -> str:
    try:
        number = dialect.port if port is None else int(port)
    except (TypeError, ValueError):
        number = 0
    if not 0 < number < 65536:
        raise ConfigurationError(f"The port {port!r} of {dialect.name} is not a number from 1 to 65535.")
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"


def _seconds(dialect: Dialect, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise ConfigurationError(f"The {dialect.name} option timeout = {value!r} is not a number of seconds.")
    return seconds


def _tls(dialect: Dialect, settings: Mapping[str, Any]) -> Tls:
    verify = str(settings.get("verify", True)).lower() not in {"false", "no", "0"}
    return Tls(
        _file(dialect.ca, settings.get("ca", "")),
        *_pair(_file(dialect.cert, settings.get("cert", "")), _file(dialect.key, settings.get("key", "")), dialect),
        verify,
    )


def _file(setting: str, file: Any) -> str:
    if not file or _PEM in str(file):
        return str(file)
    if not Path(file).is_file():
        raise ConfigurationError(f"{setting} names {str(file)!r}, which is not a file.")
    return str(Path(file).absolute())


def _pair(cert: str, key: str, dialect: Dialect) -> tuple[str, str]:
    if bool(cert) != bool(key):
        raise ConfigurationError(f"{dialect.cert} and {dialect.key} go together; one is missing.")
    if _PEM in cert + key:
        raise ConfigurationError(f"{dialect.cert} and {dialect.key} must name files, not hold their text.")
    return cert, key
