"""TCP ports for servers of tests: no two processes of a user are given the same one.

A port is known long before its server listens on it, and again while the server is down. So each process holds a block
of ports, by binding the first of them until it ends, and gives out each of the others once before any a second time.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Below those that Linux and macOS give to outgoing connections (from 32768 and 49152 on): a server that is down must
#: find its port free when it comes back.
_FIRST: Final = 10_000
_BLOCKS: Final = 88
_BLOCK: Final = 250


@dataclass
class _Held:
    """A block of ports.

    Args:
        pid: the process that holds it; a child of it has to hold another.
        bound: keeps other processes off it.
        ports: gives the ports of the block, over and over.
    """

    pid: int
    bound: socket.socket
    ports: Iterator[int]


_held: _Held | None = None


def free_port() -> int:
    """A TCP port that is free on 127.0.0.1, and that no other process of this user's tests is given meanwhile.

    Raises:
        OSError: if all blocks are held, or no port of this process's block is free.
    """
    global _held
    if _held is None or _held.pid != os.getpid():
        _held = _hold()
    for _ in range(_BLOCK):
        port = next(_held.ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("No port of this process's block is free; stop servers that earlier tests have left.")


def _hold() -> _Held:
    for block in random.sample(range(_BLOCKS), _BLOCKS):
        first, bound = _FIRST + block * _BLOCK, socket.socket()
        try:
            bound.bind(("127.0.0.1", first))
        except OSError:
            bound.close()
            continue
        # It is held to the end of the process, which is no leak.
        atexit.register(bound.close)
        return _Held(os.getpid(), bound, _again_and_again(range(first + 1, first + _BLOCK)))
    raise OSError("All blocks of ports for servers of tests are held by other processes; stop some.")


def _again_and_again(ports: range) -> Iterator[int]:
    while True:
        yield from ports
