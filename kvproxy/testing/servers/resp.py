"""Just enough of Redis's wire protocol to ask a server something without a client library."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")
_LONGEST_ADDRESS = 100  # bytes of a unix socket's path that every system takes

Reply = str | int | None | list["Reply"]


class ReplyError(Exception):
    """The server answered with an error; the message is the server's own."""


def ask(unix_socket: Path, *commands: tuple[str, ...], timeout: float = 10) -> list[Reply]:
    """Send commands one after the other over a unix socket and return their replies.

    ``timeout`` is in seconds, for each step. Raises ReplyError for the first error reply, and OSError
    when the server is not there.
    """
    with socket.socket(socket.AF_UNIX) as link, _address(unix_socket) as address:
        link.settimeout(timeout)
        link.connect(address)
        with link.makefile("rb") as replies:
            return [_exchange(link, replies, command) for command in commands]


@contextlib.contextmanager
def _address(unix_socket: Path) -> Iterator[str]:
    """The socket's path, or on Linux, if it is too long for an address, another name of it."""
    if len(os.fsencode(unix_socket)) <= _LONGEST_ADDRESS or not _DESCRIPTORS.exists():
        yield str(unix_socket)
        return
    folder = os.open(unix_socket.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(_DESCRIPTORS / str(folder) / unix_socket.name)
    finally:
        os.close(folder)


def _exchange(link: socket.socket, replies: BufferedReader, command: tuple[str, ...]) -> Reply:
    parts = [b"$%d\r\n%s\r\n" % (len(part), part) for part in map(str.encode, command)]
    link.sendall(b"*%d\r\n" % len(parts) + b"".join(parts))
    return _read(replies)


def _read(stream: BufferedReader) -> Reply:
    line = stream.readline().decode(errors="replace")
    if not line.endswith("\r\n"):
        raise ConnectionResetError("The server closed the connection.")
    kind, rest = line[0], line[1:-2]
    if kind == "-":
        raise ReplyError(rest)
    if kind == ":":
        return int(rest)
    if kind == "$":
        return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode(errors="replace")
    if kind == "*":
        return [_read(stream) for _ in range(int(rest))]
    return rest
