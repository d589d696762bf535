"""Clusters of real servers, whose members can be killed, paused, cut off from one another or from all."""

from __future__ import annotations

import abc
import os
import signal
import subprocess
import uuid
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from kvproxy.testing.servers.base import Member, Started
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy.testing.servers.network import Network
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import ServerError, wait_until

S = TypeVar("S", EtcdServer, ConsulServer)

_NAMES: Final = ("one", "two", "three")
_AGREEMENT_SECONDS: Final = 60


class Cluster(Started, Generic[S]):
    """Three servers that take writes as long as two of them reach one another.

    separate: whether each has a network of its own (see `Network`), so that it can be cut off.

    Example::

        with EtcdCluster() as cluster:
            old = cluster.leader()
            cluster.nodes[old].kill()
            cluster.wait_for_leader(besides=old)
            cluster.nodes[old].start()
    """

    def __init__(self, *, separate: bool = False):
        self._network = Network(len(_NAMES) + 1) if separate else None
        self._members = {name: self._address(number) for number, name in enumerate(_NAMES)}
        self.nodes: list[S] = [self._make(self._member(number, name)) for number, name in enumerate(_NAMES)]
        self._paused: set[int] = set()

    def _address(self, machine: int) -> str:
        host = self._network.addresses[machine] if self._network else "127.0.0.1"
        return f"{host}:{free_port()}"

    def _member(self, machine: int, name: str) -> Member:
        before = self._network.inside(machine) if self._network else ()
        return Member(name, self._members.get(name) or self._address(machine), self._members, before)

    @abc.abstractmethod
    def _make(self, member: Member) -> S:
        """A server that is not started yet."""

    @property
    def endpoints(self) -> list[str]:
        """``host:port`` of each server, for clients."""
        return [node.endpoint for node in self.nodes]

    def start(self) -> None:
        """Start all and wait until they take writes. Raises ServerError if they do not."""
        if self._network is not None:
            self._network.start()
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait()

    def leader(self) -> int | None:
        """Number of the server that holds itself for the leader, None if none does."""
        return next((n for n, node in enumerate(self.nodes) if n not in self._paused and node.leads()), None)

    def wait_for_leader(self, besides: int | None = None) -> int:
        """Wait until there is a leader, another one than `besides`, and give back its number."""
        wanted = [n for n in range(len(self.nodes)) if n != besides and n not in self._paused]
        return wait_until(lambda: [n for n in wanted if self.nodes[n].leads()], "a leader", _AGREEMENT_SECONDS)[0]

    def contents(self) -> list[dict[str, str] | None]:
        """Contents of each server, None for one that does not answer."""
        return [self._contents(node) for node in self.nodes]

    @staticmethod
    def _contents(node: S) -> dict[str, str] | None:
        try:
            return node.own()
        except OSError:
            return None

    def pause(self, number: int) -> None:
        """Stop a server where it is (SIGSTOP): connections stay open, new ones are accepted, and nothing comes."""
        self._paused.add(number)
        os.kill(self.nodes[number].pid, signal.SIGSTOP)

    def go_on(self, number: int) -> None:
        """Let a paused one go on where it was."""
        os.kill(self.nodes[number].pid, signal.SIGCONT)
        self._paused.discard(number)

    def isolate(self, number: int) -> None:
        """Let packets between a server and the others vanish; clients still reach all of them."""
        self._routes("add", number)

    def reunite(self, number: int) -> None:
        """Undo `isolate`."""
        self._routes("del", number)

    def cut(self, number: int) -> None:
        """Let all packets to and from a server vanish."""
        self._separate().cut(number)

    def join(self, number: int) -> None:
        """Undo `cut`."""
        self._separate().join(number)

    def close(self) -> None:
        """Stop all and remove all their files."""
        for number in list(self._paused):
            self.go_on(number)
        for node in self.nodes:
            # There is nothing to be kept, and one that is alone would take its time.
            node.kill()
            node.close()
        if self._network is not None:
            self._network.close()

    def _separate(self) -> Network:
        if self._network is None:
            raise ServerError("Only a cluster with separate networks can be cut apart.")
        return self._network

    def _routes(self, verb: str, number: int) -> None:
        hosts = [node.host for node in self.nodes]
        pairs = [(number, hosts[n]) for n in range(len(hosts)) if n != number]
        pairs += [(n, hosts[number]) for n in range(len(hosts)) if n != number]
        for machine, host in pairs:
            inside: Sequence[str] = self._separate().inside(machine)
            subprocess.run([*inside, inside[0], "route", verb, "blackhole", host], check=True, timeout=10)


class EtcdCluster(Cluster[EtcdServer]):
    """Three members of etcd.

    root_password: switches authentication on, with the user root and this password.
    version: ``"3.4"`` or ``"3.5"``.
    """

    def __init__(self, *, root_password: str = "", version: str = "3.5", separate: bool = False):
        self._root_password, self._version = root_password, version
        super().__init__(separate=separate)

    def _make(self, member: Member) -> EtcdServer:
        return EtcdServer(version=self._version, root_password=self._root_password, member=member)

    def start(self) -> None:
        """See `Cluster.start`."""
        super().start()
        if self._root_password:
            self.nodes[0].protect()
            for node in self.nodes:
                node.protected = True


class ConsulCluster(Cluster[ConsulServer]):
    """Three servers of Consul, and the agent of a machine that has none.

    acl: switches access control on; a client without a token has no rights.
    """

    def __init__(self, *, acl: bool = False, separate: bool = False):
        self.token = str(uuid.uuid4()) if acl else ""
        super().__init__(separate=separate)
        self.agent = self._make(self._member(len(_NAMES), "agent"))

    def _make(self, member: Member) -> ConsulServer:
        return ConsulServer(acl=bool(self.token), token=self.token, member=member)

    def start(self) -> None:
        """See `Cluster.start`."""
        super().start()
        self.agent.start()

    def close(self) -> None:
        """See `Cluster.close`."""
        self.agent.kill()
        self.agent.close()
        super().close()
