"""One description of a Redis connection, from which both the hub's client and Traefik's provider are made."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from kvproxy import ConfigurationError

from .sentinels import Sentinels, endpoint

_SCHEMES: Final = {"redis", "rediss", "unix", "redis+unix"}
#: Client options about address and credentials; Traefik needs each of them too.
_SHARED: Final = {"host", "port", "db", "username", "password", "unix_socket_path", "ssl"}
_TLS: Final = {
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
}
#: The default address.
_HERE: Final = ("127.0.0.1", 6379)
#: Client options that Traefik cannot have at all, with the reason.
_REFUSED: Final = {
    "ssl_ca_path": "name one file with ssl_ca_certs",
    "ssl_keyfile_password": "Traefik takes no encrypted keys; decrypt the key's file",
    "ssl_password": "Traefik takes no encrypted keys; decrypt the key's file",
    "credential_provider": "Traefik takes only a fixed username and password",
    "connection_pool": "Traefik could not use the same server; use redis_url",
    "sentinel_kwargs": "give them as redis_sentinel_username and redis_sentinel_password",
    "decode_responses": "kvproxy needs the answers as they are",
    "encoding": "kvproxy and Traefik write UTF-8",
}


@dataclass(frozen=True)
class Tls:
    """Settings of TLS. Paths are absolute; an empty text means not set.

    Args:
        ca: path, or PEM text, of the authorities to trust; empty for the system's.
        cert: path of the client certificate.
        key: path of its key.
        verify: whether the server's certificate and name are checked.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True


@dataclass(frozen=True)
class Connection:
    """Redis' address and credentials.

    Args:
        host: name or address; empty with a unix socket.
        port: TCP port.
        db: number of the database.
        username: empty for the default user.
        password: never shown.
        tls: None for none.
        socket: path of a unix socket, empty for TCP.
        sentinels: that know the master's address; host and port are of no account then. None for one fixed server.
        options: further options of ``redis.asyncio.Redis`` that Traefik need not know.
    """

    host: str = _HERE[0]
    port: int = _HERE[1]
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Tls | None = None
    socket: str = ""
    sentinels: Sentinels | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def endpoints(self) -> list[str]:
        """The first addresses to ask, as in Traefik's ``endpoints``: go-redis takes ``/…`` as a unix socket."""
        if self.sentinels is not None:
            return self.sentinels.endpoints
        return [self.socket or endpoint(self.host, self.port)]

    def __str__(self) -> str:
        who = f"{self.username}@" if self.username else ""
        if self.socket:
            return f"unix://{who}{self.socket}?db={self.db}"
        where = self.endpoints[0] if self.sentinels is None else self.sentinels.master
        by = "" if self.sentinels is None else f" ({self.sentinels})"
        return f"{'rediss' if self.tls else 'redis'}://{who}{where}/{self.db}{by}"


def parse_connection(
    url: str,
    username: str = "",
    password: str = "",
    client_kwargs: Mapping[str, Any] | None = None,
    sentinels: Sentinels | None = None,
) -> Connection:
    """Put together what ``redis_url`` and its companions say; the more special one wins.

    Args:
        url: ``redis[s]://[user[:password]@]host[:port][/db][?option=…]`` or ``unix://[…@]/path?db=…``.
        username: ``redis_username``; wins over the URL.
        password: ``redis_password``; wins over the URL.
        client_kwargs: ``redis_client_kwargs``; wins over all.
        sentinels: see :func:`kvproxy_redis.sentinels.parse_sentinels`; the rest must name no server then.

    Raises:
        ConfigurationError: if it makes no sense, or Traefik could not follow.
    """
    settings = _from_url(url)
    settings |= {name: value for name, value in (("username", username), ("password", password)) if value}
    settings |= {name: value for name, value in (client_kwargs or {}).items() if value is not None}
    if refused := sorted(_REFUSED.keys() & settings.keys()):
        raise ConfigurationError(f"The Redis option {refused[0]!r} cannot be used: {_REFUSED[refused[0]]}.")
    options = {name: value for name, value in settings.items() if name not in _SHARED | _TLS}
    socket = str(settings.get("unix_socket_path") or "")
    if socket and not socket.startswith("/"):
        raise ConfigurationError(f"The Redis socket {socket!r} must be an absolute path, or Traefik cannot find it.")
    host = "" if socket else str(settings.get("host") or _HERE[0])
    port = _number("port", settings.get("port", _HERE[1]), 65535)
    if sentinels is not None and (socket or (host, port) not in {_HERE, ("localhost", _HERE[1])}):
        raise ConfigurationError(
            f"redis_url names the server {socket or endpoint(host, port)!r}, but with redis_sentinels it is the "
            "sentinels that know where the master is. Leave host and port out, as in redis:///0 or rediss:///0."
        )
    return Connection(
        host=host,
        port=port,
        db=_number("db", settings.get("db", 0), 2**31),
        username=str(settings.get("username") or ""),
        password=str(settings.get("password") or ""),
        tls=_tls(settings) if _flag(settings.get("ssl", False)) and not socket else None,
        socket=socket,
        sentinels=sentinels,
        options=options,
    )


def _from_url(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        several = "," in parts.netloc.rpartition("@")[2]
        host, port = ("", None) if several else (parts.hostname, parts.port)
    except ValueError:
        raise ConfigurationError("redis_url is not a valid URL; it should look like redis://host:6379/0.") from None
    if parts.scheme not in _SCHEMES:
        given = f", not with {parts.scheme}://" if parts.scheme and parts.netloc else ""
        raise ConfigurationError(
            f"redis_url must begin with redis://, rediss:// (TLS) or unix://{given}. Sentinels are named in "
            "redis_sentinels; Traefik cannot read from a Redis Cluster."
        )
    if several:
        raise ConfigurationError(
            "redis_url names several servers. Traefik cannot read from a Redis Cluster; name one server that is not "
            "part of a cluster, or the sentinels of a master and its replicas in redis_sentinels."
        )
    settings: dict[str, Any] = {name: _value(name, values[-1]) for name, values in parse_qs(parts.query).items()}
    if parts.username:
        settings["username"] = unquote(parts.username)
    if parts.password:
        settings["password"] = unquote(parts.password)
    if parts.scheme.endswith("unix"):
        if parts.netloc.rpartition("@")[2] or not parts.path:
            raise ConfigurationError(
                "redis_url must give the absolute path of the socket, as in unix:///run/redis/redis.sock?db=0."
            )
        return settings | {"unix_socket_path": unquote(parts.path)}
    path = parts.path.strip("/")
    if path and str(settings.get("db", path)) != path:
        raise ConfigurationError(
            f"redis_url names two databases, /{path} and ?db={settings['db']}; leave one of them out."
        )
    settings |= {"host": unquote(host or _HERE[0])} | ({"port": port} if port else {})
    settings |= {"db": path} if path else {}
    return settings | ({"ssl": True} if parts.scheme == "rediss" else {})


def _value(name: str, text: str) -> Any:
    """Parse a value of a URL's query into the type that the client wants, as redis-py does."""
    if name in {"socket_timeout", "socket_connect_timeout"}:
        try:
            return float(text)
        except ValueError:
            raise ConfigurationError(f"The Redis option {name} = {text!r} is not a number of seconds.") from None
    if name in {"max_connections", "health_check_interval", "protocol"}:
        return _number(name, text, 2**31)
    return _flag(text) if name in {"socket_keepalive", "retry_on_timeout"} else text


def _number(name: str, value: Any, most: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= most:
        raise ConfigurationError(f"The Redis {name} {value!r} is not a number from 0 to {most}.")
    return number


def _flag(value: Any) -> bool:
    return str(value).lower() not in {"false", "no", "0", "n", "none", ""}


def _tls(settings: Mapping[str, Any]) -> Tls:
    verify = settings.get("ssl_cert_reqs", "required") not in {"none", ssl.CERT_NONE}
    if verify and not _flag(settings.get("ssl_check_hostname", True)):
        raise ConfigurationError(
            "The Redis option ssl_check_hostname=False cannot be used: Traefik checks the name with the certificate. "
            "Give Redis a certificate with its name, or set ssl_cert_reqs='none', which checks neither."
        )
    files = {name: settings.get(name, "") for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
    for name, file in files.items():
        if file and not Path(file).is_file():
            raise ConfigurationError(f"The Redis option {name} names {str(file)!r}, which is not a file.")
    if bool(files["ssl_certfile"]) != bool(files["ssl_keyfile"]):
        raise ConfigurationError("The Redis options ssl_certfile and ssl_keyfile go together; one is missing.")
    paths = {name: str(Path(file).absolute()) if file else "" for name, file in files.items()}
    ca = paths["ssl_ca_certs"] or str(settings.get("ssl_ca_data") or "")
    return Tls(ca, paths["ssl_certfile"], paths["ssl_keyfile"], verify)


def client_options(connection: Connection) -> dict[str, Any]:
    """Keyword arguments of ``redis.asyncio.Redis`` for this connection."""
    options: dict[str, Any] = {"db": connection.db, **connection.options}
    if connection.socket:
        options["unix_socket_path"] = connection.socket
    elif connection.sentinels is None:
        options |= {"host": connection.host, "port": connection.port}
    return options | _login(connection.username, connection.password) | _client_tls(connection.tls)


def sentinel_options(connection: Connection) -> dict[str, Any]:
    """Keyword arguments of ``redis.asyncio.Redis`` for the sentinels of this connection, but for their addresses.

    Traefik has one setting of TLS for sentinels and servers (go-redis, ``FailoverOptions.TLSConfig``), so the hub does.
    """
    assert connection.sentinels is not None  # noqa: S101 - for the type checker
    login = _login(connection.sentinels.username, connection.sentinels.password)
    return login | _client_tls(connection.tls)


def _login(username: str, password: str) -> dict[str, Any]:
    return ({"username": username} if username else {}) | ({"password": password} if password else {})


def _client_tls(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    options: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "required" if tls.verify else "none"}
    options["ssl_check_hostname"] = tls.verify
    if tls.ca:
        options["ssl_ca_data" if "-----BEGIN" in tls.ca else "ssl_ca_certs"] = tls.ca
    return options | ({"ssl_certfile": tls.cert, "ssl_keyfile": tls.key} if tls.cert else {})


def traefik_connection(connection: Connection, username: str = "", password: str = "") -> Connection:
    """The connection that Traefik is given: the hub's own, or the same place with a login of Traefik's own.

    Args:
        connection: the hub's.
        username: ``redis_traefik_username``; empty to come as the hub does.
        password: ``redis_traefik_password``.

    Raises:
        ConfigurationError: if a user is named without a password, or the other way round.
    """
    if password and not username:
        raise ConfigurationError(
            "redis_traefik_password is set without redis_traefik_username; name the Redis user whose password it is "
            "('default' for the one without a name), or leave both empty to let Traefik come as the hub does."
        )
    if username and not password:
        # go-redis (Traefik 3.7) leaves out the whole login then, and Traefik is the default user without a word.
        raise ConfigurationError(
            "redis_traefik_username is set without redis_traefik_password; Traefik logs in as a user only with a "
            "password, so give it one, and any for a user with 'nopass'."
        )
    if username:
        return replace(connection, username=username, password=password)
    if connection.password or connection.username in {"", "default"}:
        return connection
    raise ConfigurationError(
        f"The Redis user {connection.username!r} (redis_username) is named without a password, with which the hub may "
        "come but Traefik would be the default user. Set redis_password, to any text for a user with 'nopass', or give "
        "Traefik a login of its own with redis_traefik_username and redis_traefik_password."
    )


def provider_options(connection: Connection, root: str) -> dict[str, Any]:
    """The ``providers.redis`` section of Traefik's static configuration for this connection."""
    section: dict[str, Any] = {"endpoints": connection.endpoints, "rootKey": root}
    section |= _login(connection.username, connection.password)
    section |= {"db": connection.db} if connection.db else {}
    if (sentinels := connection.sentinels) is not None:
        section["sentinel"] = {"masterName": sentinels.master, **_login(sentinels.username, sentinels.password)}
    if (tls := connection.tls) is not None:
        named = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
        section["tls"] = {name: value for name, value in named.items() if value}
        section["tls"] |= {} if tls.verify else {"insecureSkipVerify": True}
    return section
