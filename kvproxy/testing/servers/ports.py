"""TCP ports for servers of tests: no two processes of a user are given the same one.

A port is known long before its server listens on it, and again while the server is down. So each process holds blocks
of ports, by binding the first of each until it ends, and gives out each of the others once before any a second time.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

#: Below those that Linux and macOS give to outgoing connections (from 32768 and 49152 on): a server that is down must
#: find its port free when it comes back.
_FIRST: Final = 10_000
_BLOCKS: Final = 440
_BLOCK: Final = 50


@dataclass
class _Held:
    """The ports of a process.

    Args:
        pid: the process that holds them; a child of it has to hold others.
        ports: an endless iterator over them.
    """

    pid: int
    ports: Iterator[int]


_held: _Held | None = None


def free_port() -> int:
    """A TCP port that is free on 127.0.0.1, and that no other process of this user's tests is given meanwhile.

    Raises:
        OSError: if all blocks are held, or no port of this process's blocks is free.
    """
    global _held
    if _held is None or _held.pid != os.getpid():
        _held = _Held(os.getpid(), _give())
    for port in islice(_held.ports, _BLOCKS * _BLOCK):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("No port for servers of tests is free; stop servers that earlier tests have left.")


def _give() -> Iterator[int]:
    given: list[int] = []
    for block in random.sample(range(_BLOCKS), _BLOCKS):
        first, bound = _FIRST + block * _BLOCK, socket.socket()
        try:
            bound.bind(("127.0.0.1", first))
        except OSError:
            bound.close()
            continue
        # It is held to the end of the process, which is no leak.
        atexit.register(bound.close)
        for port in range(first + 1, first + _BLOCK):
            given.append(port)
            yield port
    # A port that was given out may still be somebody's, so this comes last.
    while given:
        yield from given
