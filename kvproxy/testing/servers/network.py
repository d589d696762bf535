"""Machines with networks of their own, for tests that cut one off: Linux network namespaces on one bridge."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import subprocess
from typing import Final

from kvproxy.testing.servers.base import Started
from kvproxy.testing.servers.programs import ServerError

#: Addresses for tests of networks (RFC 2544), which no machine has.
_PREFIX: Final = "198.18"
_ALL: Final = "198.18.0.0/15"
_FIRST: Final = 10
_SECONDS: Final = 10


class Network(Started):
    """Machines that reach one another and this process, and nothing else; needs root on Linux.

    count: how many machines.

    Example::

        with Network(3) as network:
            server = RedisServer(host=network.addresses[0], program=RedisProgram(before=network.inside(0)))
            …
            network.cut(0)  # packets to and from it vanish, as if the cable was pulled
    """

    def __init__(self, count: int = 3):
        self._names = [f"kvp{secrets.token_hex(4)}{number}" for number in range(count)]
        self._bridge = f"kvp{secrets.token_hex(4)}b"
        self._range = f"{_PREFIX}.{secrets.randbelow(255)}"
        self.addresses = [f"{self._range}.{_FIRST + number}" for number in range(count)]

    @staticmethod
    @functools.cache
    def possible() -> bool:
        """True if this process may make such machines."""
        if os.geteuid() != 0:
            return False
        try:
            with Network(1):
                return True
        except ServerError:
            return False

    def inside(self, number: int) -> tuple[str, ...]:
        """The prefix that runs a command on that machine; it is replaced by the command."""
        return (_program(), "netns", "exec", self._names[number])

    def cut(self, number: int) -> None:
        """Let all packets to and from that machine vanish."""
        _ip("link", "set", self._names[number], "down")

    def join(self, number: int) -> None:
        """Let packets through again."""
        _ip("link", "set", self._names[number], "up")

    def start(self) -> None:
        """Make the machines. Raises ServerError if that is not allowed here."""
        # Stays forever: the kernel goes on sending for connections that were closed while a machine was cut off, which
        # must not leave this one when the bridge is gone.
        _undo("route", "add", "blackhole", _ALL, "metric", "4000000")
        if _ALL not in _ip("route", "show", "type", "blackhole"):
            raise ServerError(f"Network namespaces cannot be used: {_ALL} cannot be kept on this machine.")
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self._range}.1/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for name, address in zip(self._names, self.addresses, strict=True):
            _ip("netns", "add", name)
            _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", name, "master", self._bridge, "up")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def close(self) -> None:
        """Remove them; what ran on them must have ended before."""
        for name in self._names:
            _undo("link", "del", name)
            _undo("netns", "del", name)
        _undo("link", "del", self._bridge)


def _program() -> str:
    return shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin") or "ip"


def _ip(*arguments: str) -> str:
    try:
        done = subprocess.run([_program(), *arguments], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"Network namespaces cannot be used: {error}.") from None
    if done.returncode:
        raise ServerError(f"ip {' '.join(arguments)} says: {done.stderr.strip()}.")
    return done.stdout


def _undo(*arguments: str) -> None:
    with contextlib.suppress(ServerError):
        _ip(*arguments)
