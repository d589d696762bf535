"""TCP ports for servers of tests: no two processes of a user are given the same one.

A port is known long before its server listens on it, and again while the server is down. So each process holds a block
of ports, by a lock on a file that ends with the process, and gives out each of them once before any a second time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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
        lock: the descriptor of the locked file.
        ports: gives the ports of the block, over and over.
    """

    pid: int
    lock: int
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
    directory = Path(tempfile.gettempdir()) / f"kvproxy-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    for block in random.sample(range(_BLOCKS), _BLOCKS):
        lock = os.open(directory / str(block), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        return _Held(os.getpid(), lock, _again_and_again(_FIRST + block * _BLOCK))
    raise OSError(f"All blocks of ports are held by other processes; see the locks in {directory}.")


def _again_and_again(first: int) -> Iterator[int]:
    while True:
        yield from range(first, first + _BLOCK)
