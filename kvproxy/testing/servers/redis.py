"""A private Redis (or Valkey) server on the loopback interface."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvproxy.testing.servers.base import Server
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, find_redis
from kvproxy.testing.servers.resp import Reply, ReplyError, ask
from kvproxy.testing.servers.tls import Certificates

#: Rights of a Traefik that is not to switch on keyspace notifications; in an ACL user's line behind its password.
TRAEFIK_RIGHTS = (
    "~traefik* resetchannels &__keyspace*:traefik* +@read +psubscribe +punsubscribe +@connection -@dangerous"
)
#: No client is let in without a login, and a restart loses nothing: the append-only file is read as this user.
CLOSED = "default off ~* &* +@all"

_ADMINISTRATOR = "kvproxy-testing"
_SLOTS = 16384
_START_SECONDS = 15


@dataclass(frozen=True)
class RedisProgram:
    """A server's program and the way to run it.

    Args:
        path: the program; one that is found if None.
        before: what is put before it, such as ``("ip", "netns", "exec", "one")``; it must become the program.
        environment: variables on top of this process' own.
    """

    path: Path | None = None
    before: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def on(self, *arguments: str, directory: Path) -> Program:
        """The program with those arguments in a directory, not started yet."""
        command = [*self.before, str(self.path or find_redis()), *arguments]
        return Program(command, directory / "redis.log", {**os.environ, **self.environment})


class RedisServer(Server):
    """A real server with its own data directory, which survives restarts and is removed by `close`.

    It listens on 127.0.0.1 and on a unix socket in its directory. Options go to it in a configuration
    file that only this user can read, never on its command line.

    port: TCP port; a free one if 0.
    password: what clients must give (``requirepass``).
    acl: ACL users as in the server's ``user`` lines, e.g. ``"hub on >secret ~jupyterhub* +@all"``.
    appendonly, save: persistence; ``save`` is the server's setting, e.g. ``"60 1"``; "" is none.
    notify_keyspace_events, maxmemory_policy: as the server's settings of those names.
    cluster: a cluster of this one node, which owns all slots.
    host: the address that it listens on instead of 127.0.0.1.
    certificates: makes clients and replicas come by TLS, which `program` must know, see `redis_with_tls`.
    settings: further settings, each of one word, which win over the others.
    program: the server's program, with what is put before it and its environment; one that is found if None.
    directory: where to keep its files instead of a temporary directory; then `close` leaves it.

    Example::

        with RedisServer(password="secret") as server:
            client = redis.Redis.from_url(server.url, password=server.password)
    """

    def __init__(
        self,
        *,
        port: int = 0,
        password: str = "",
        acl: Sequence[str] = (),
        appendonly: bool = False,
        save: str = "",
        notify_keyspace_events: str = "",
        maxmemory_policy: str = "noeviction",
        cluster: bool = False,
        host: str = "127.0.0.1",
        certificates: Certificates | None = None,
        settings: Mapping[str, str] | None = None,
        program: RedisProgram | None = None,
        directory: Path | None = None,
    ):
        self.host = host
        self.password = password
        self.cluster = cluster
        self.port = port or _choose_port(cluster)
        self.directory = directory or Path(tempfile.mkdtemp(prefix="kvproxy-redis-"))
        self._admin_password = secrets.token_hex(16) if acl else ""
        chosen = {
            "appendonly": "yes" if appendonly else "no",
            "save": save,
            "notify-keyspace-events": notify_keyspace_events,
            "maxmemory-policy": maxmemory_policy,
            "cluster-enabled": "yes" if cluster else "no",
            **(settings or {}),
        }
        self._write_configuration(port_lines(self.host, self.port, certificates), chosen, acl)
        runs = program or RedisProgram()
        super().__init__(runs.on("redis.conf", directory=self.directory), None if directory else self.directory)

    @property
    def url(self) -> str:
        """The server's URL for clients without TLS, without any password."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def unix_socket(self) -> Path:
        """The path of its unix socket."""
        return self.directory / "socket"

    def start(self) -> None:
        """Start it and wait until it answers. Raises ServerError with its last log lines if it does not."""
        # A dead server's socket must not be taken for the new one's.
        self.unix_socket.unlink(missing_ok=True)
        self._program.start()
        self._program.wait_ready(self._answers, _START_SECONDS)
        if self.cluster and "cluster_state:ok" not in str(self.command("CLUSTER", "INFO")):
            self._take_all_slots()

    def command(self, *parts: str) -> Reply:
        """Run one command as administrator, whatever the ACL says, and return the reply.

        Raises ReplyError with the server's own message.
        """
        return ask(self.unix_socket, *self._login(), parts)[-1]

    def _login(self) -> list[tuple[str, ...]]:
        if self._admin_password:
            return [("AUTH", _ADMINISTRATOR, self._admin_password)]
        return [("AUTH", self.password)] if self.password else []

    def _answers(self) -> bool:
        # Over the unix socket: only our own server can be behind it.
        try:
            return ask(self.unix_socket, *self._login(), ("PING",), timeout=1)[-1] == "PONG"
        except (OSError, ReplyError):
            return False

    def _take_all_slots(self) -> None:
        self.command("CLUSTER", "ADDSLOTS", *map(str, range(_SLOTS)))
        self._program.wait_ready(lambda: "cluster_state:ok" in str(self.command("CLUSTER", "INFO")), 10)

    def _write_configuration(self, ports: Sequence[str], settings: dict[str, str], acl: Sequence[str]) -> None:
        lines = [
            *ports,
            *(f"{name} {quoted(value)}" for name, value in settings.items()),
            *(f"user {user}" for user in acl),
        ]
        if self.password:
            lines.append(f"requirepass {quoted(self.password)}")
        if self._admin_password:
            lines.append(f"user {_ADMINISTRATOR} on >{self._admin_password} allkeys allcommands")
        write_private(self.directory / "redis.conf", lines)


def _choose_port(cluster: bool) -> int:
    """A port; a cluster's second one lies 10000 above it, among those of outgoing connections, and must be free too."""
    while True:
        port = free_port()
        if not cluster:
            return port
        with socket.socket() as probe, contextlib.suppress(OSError, OverflowError):
            probe.bind(("127.0.0.1", port + 10_000))
            return port


def port_lines(host: str, port: int, certificates: Certificates | None) -> list[str]:
    """The address of a server or a sentinel, in the lines of its configuration."""
    lines = [f"bind {host}", "unixsocket socket", "unixsocketperm 700", "daemonize no"]
    if certificates is None:
        return [*lines, f"port {port}"]
    return [
        *lines,
        "port 0",
        f"tls-port {port}",
        f"tls-cert-file {quoted(str(certificates.server_certificate.resolve()))}",
        f"tls-key-file {quoted(str(certificates.server_key.resolve()))}",
        f"tls-ca-cert-file {quoted(str(certificates.ca.resolve()))}",
        "tls-auth-clients no",
        "tls-replication yes",
    ]


def write_private(file: Path, lines: Sequence[str]) -> None:
    """Write a configuration file that only this user can read."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write("\n".join(lines) + "\n")


def quoted(value: str) -> str:
    """A value in the configuration file's quotes, with anything special as a hexadecimal escape."""
    plain = value.encode()
    return '"' + "".join(chr(c) if chr(c).isalnum() and c < 128 else f"\\x{c:02x}" for c in plain) + '"'
