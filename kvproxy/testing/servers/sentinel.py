"""A Redis master with replicas, and the sentinels that replace it, as real servers."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvproxy.testing.servers.base import Server, Started
from kvproxy.testing.servers.network import Network
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import wait_until
from kvproxy.testing.servers.redis import RedisProgram, RedisServer, port_lines, quoted, write_private
from kvproxy.testing.servers.resp import Reply, ReplyError, ask
from kvproxy.testing.servers.tls import Certificates

_START_SECONDS = 15
_AGREEMENT_SECONDS = 60
_DOWN_MILLISECONDS = 1000
_FAILOVER_MILLISECONDS = 3000


@dataclass(frozen=True)
class Login:
    """User and password of a server; the default user if the name is empty."""

    username: str = ""
    password: str = ""


class SentinelServer(Server):
    """A real sentinel, which keeps what it learns in its configuration file.

    master: host and port of the server that is the master at first.
    name: what it calls the master.
    quorum: how many sentinels must miss the master.
    host: the address that it listens on.
    password: what clients, other sentinels among them, must give (``requirepass``).
    acl: ACL users as in the ``user`` lines; the other sentinels come as `peer` then.
    peer: the login of the sentinels at one another.
    login: its login at the servers.
    certificates: makes all clients come by TLS, and it to servers and sentinels.
    program: how to run it.
    """

    def __init__(
        self,
        master: tuple[str, int],
        *,
        name: str = "mymaster",
        quorum: int = 2,
        host: str = "127.0.0.1",
        password: str = "",
        acl: Sequence[str] = (),
        peer: Login | None = None,
        login: Login | None = None,
        certificates: Certificates | None = None,
        program: RedisProgram | None = None,
    ):
        self.host, self.port, self.name = host, free_port(), name
        self.directory = Path(tempfile.mkdtemp(prefix="kvproxy-sentinel-"))
        self._peer = peer or Login(password=password)
        lines = [
            *port_lines(host, self.port, certificates),
            "protected-mode no",
            *(f"user {user}" for user in acl),
            *([f"requirepass {quoted(password)}"] if password else []),
            f"sentinel monitor {name} {master[0]} {master[1]} {quorum}",
            f"sentinel down-after-milliseconds {name} {_DOWN_MILLISECONDS}",
            f"sentinel failover-timeout {name} {_FAILOVER_MILLISECONDS}",
            *_login_lines(f"auth-user {name}", f"auth-pass {name}", login or Login()),
            *_login_lines("sentinel-user", "sentinel-pass", self._peer),
        ]
        write_private(self.directory / "sentinel.conf", lines)
        runs = (program or RedisProgram()).on("sentinel.conf", "--sentinel", directory=self.directory)
        super().__init__(runs, self.directory)

    @property
    def address(self) -> str:
        """``host:port`` for clients."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers. Raises ServerError with its last log lines if it does not."""
        (self.directory / "socket").unlink(missing_ok=True)
        self._program.start()
        self._program.wait_ready(self._answers, _START_SECONDS)

    def command(self, *parts: str) -> Reply:
        """Run one command as a fellow sentinel. Raises ReplyError with its own message."""
        auth = [("AUTH", *filter(None, (self._peer.username, self._peer.password)))] if self._peer.password else []
        return ask(self.directory / "socket", *auth, parts, timeout=2)[-1]

    def master(self) -> tuple[str, int] | None:
        """Host and port of the master as it sees it, None if it does not answer."""
        with contextlib.suppress(OSError, ReplyError):
            found = self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
            return (str(found[0]), int(str(found[1]))) if isinstance(found, list) else None
        return None

    def state(self) -> dict[str, str]:
        """The master's description by ``SENTINEL MASTER``; empty if it does not answer."""
        with contextlib.suppress(OSError, ReplyError):
            found = self.command("SENTINEL", "MASTER", self.name)
            return _pairs(found)
        return {}

    def _answers(self) -> bool:
        try:
            return self.command("PING") == "PONG"
        except (OSError, ReplyError):
            return False


def _login_lines(user: str, password: str, login: Login) -> list[str]:
    lines = [f"sentinel {user} {login.username}"] if login.username else []
    return [*lines, f"sentinel {password} {quoted(login.password)}"] if login.password else lines


def _pairs(reply: Reply) -> dict[str, str]:
    flat = [str(part) for part in reply] if isinstance(reply, list) else []
    return dict(zip(flat[::2], flat[1::2], strict=True))


@dataclass(frozen=True)
class Access:
    """Logins at the servers of a `SentinelGroup`.

    Args:
        acl: users of the servers, as their ``user`` lines; every client has all rights if there are none.
        sentinel: the login of the sentinels at the servers.
        replica: the login of a replica at its master.
        sentinel_acl: users of the sentinels.
        sentinel_password: that every client must give to the sentinels if they have no users.
    """

    acl: Sequence[str] = ()
    sentinel: Login = field(default_factory=Login)
    replica: Login = field(default_factory=Login)
    sentinel_acl: Sequence[str] = ()
    sentinel_password: str = ""


class SentinelGroup(Started):
    """A master, its replicas, and a sentinel beside each, as on three machines.

    access: users and passwords.
    replicas: how many replicas; there is one sentinel more.
    separate: whether each machine has a network of its own (see `Network`), so that it can really be cut off.
    certificates: makes clients, servers and sentinels come by TLS; `program` must know TLS then.
    program: how to run servers and sentinels.

    Example::

        with SentinelGroup() as group:
            old = group.master()
            group.servers[old].kill()
            group.wait_for_another_master(old)
    """

    name = "mymaster"

    def __init__(
        self,
        access: Access | None = None,
        *,
        replicas: int = 2,
        separate: bool = False,
        certificates: Certificates | None = None,
        program: RedisProgram | None = None,
    ):
        self._network = Network(replicas + 1) if separate else None
        count, access = range(replicas + 1), access or Access()
        hosts = self._network.addresses if self._network else ["127.0.0.1" for _ in count]
        programs = [self._program(number, program or RedisProgram()) for number in count]
        settings = _settings(masteruser=access.replica.username, masterauth=access.replica.password)
        settings |= {"protected-mode": "no", "repl-diskless-sync-delay": "0"}
        self.servers = [
            RedisServer(
                host=hosts[number],
                acl=access.acl,
                appendonly=True,
                certificates=certificates,
                settings=settings,
                program=programs[number],
            )
            for number in count
        ]
        peer = Login("kvproxy-testing", secrets.token_hex(16)) if access.sentinel_acl else None
        peers = [f"{peer.username} on >{peer.password} allchannels allcommands"] if peer else []
        self.sentinels = [
            SentinelServer(
                (hosts[0], self.servers[0].port),
                quorum=replicas // 2 + 1,
                host=hosts[number],
                password=access.sentinel_password,
                acl=[*access.sentinel_acl, *peers],
                peer=peer,
                login=access.sentinel,
                certificates=certificates,
                program=programs[number],
            )
            for number in count
        ]
        self._stopped: set[int] = set()

    def _program(self, number: int, program: RedisProgram) -> RedisProgram:
        before = self._network.inside(number) if self._network else ()
        return RedisProgram(program.path, before, program.environment)

    @property
    def addresses(self) -> list[str]:
        """``host:port`` of each sentinel, for clients."""
        return [sentinel.address for sentinel in self.sentinels]

    def start(self) -> None:
        """Start all and wait until every sentinel knows all servers and all sentinels."""
        if self._network is not None:
            self._network.start()
        for server in self.servers:
            server.start()
        for server in self.servers[1:]:
            self.follow(server)
        for sentinel in self.sentinels:
            sentinel.start()
        wait_until(self.complete, "all sentinels know one another and all replicas", _AGREEMENT_SECONDS)

    def follow(self, server: RedisServer) -> None:
        """Make a server a replica of the first one, also after its restart."""
        server.command("REPLICAOF", self.servers[0].host, str(self.servers[0].port))
        server.command("CONFIG", "REWRITE")

    def complete(self) -> bool:
        """True if every server works as master or replica and every sentinel knows all of it."""
        others = len(self.servers) - 1
        expected = {"num-slaves": str(others), "num-other-sentinels": str(others), "flags": "master"}
        states = [sentinel.state() for sentinel in self.sentinels]
        agreed = all(expected.items() <= state.items() for state in states)
        return agreed and sorted(map(self.role, range(len(self.servers)))) == ["master"] + ["slave"] * others

    def role(self, number: int) -> str:
        """``master`` or ``slave``, the latter only if it has its master's data; empty if it does not answer."""
        with contextlib.suppress(OSError, ReplyError):
            found = self.servers[number].command("ROLE")
            if isinstance(found, list):
                return "" if found[0] == "slave" and found[3] != "connected" else str(found[0])
        return ""

    def master(self) -> int:
        """Number of the server that most sentinels hold for the master."""
        seen = [sentinel.master() for sentinel in self.sentinels]
        places = [(server.host, server.port) for server in self.servers]
        return max(range(len(places)), key=lambda number: seen.count(places[number]))

    def wait_for_another_master(self, old: int) -> int:
        """Wait until the sentinels have replaced the master of that number, and give back the new one's."""
        wait_until(
            lambda: self.master() != old and self.role(self.master()) == "master", "a new master", _AGREEMENT_SECONDS
        )
        return self.master()

    def cut(self, number: int) -> None:
        """Make a server and its sentinel unreachable without a word, as if their machine was cut off.

        Without networks of their own the two are stopped (SIGSTOP), which looks the same from outside: their
        connections stay open, and nothing comes from them.
        """
        if self._network is not None:
            self._network.cut(number)
            return
        self._stopped.add(number)
        for part in (self.servers[number], self.sentinels[number]):
            os.kill(part.pid, signal.SIGSTOP)

    def join(self, number: int) -> None:
        """Undo `cut`."""
        if self._network is not None:
            self._network.join(number)
            return
        self._stopped.discard(number)
        for part in (self.servers[number], self.sentinels[number]):
            if part.running:
                os.kill(part.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop all and remove all their files."""
        for number in list(self._stopped):
            self.join(number)
        for part in (*self.sentinels, *self.servers):
            part.close()
        if self._network is not None:
            self._network.close()


def _settings(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
