"""The base of all real servers for tests."""

from __future__ import annotations

import abc
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program

S = TypeVar("S", bound="Started")


@dataclass(frozen=True)
class Member:
    """One server's part in a cluster.

    Args:
        name: of the server.
        address: ``host:port`` at which the others reach it.
        members: the addresses of all that keep data, by name.
        before: what is put before its program, such as ``("ip", "netns", "exec", "one")``; it must become the program.
    """

    name: str
    address: str
    members: Mapping[str, str]
    before: tuple[str, ...] = ()

    @classmethod
    def alone(cls) -> Member:
        """The only one."""
        address = f"127.0.0.1:{free_port()}"
        return cls("one", address, {"one": address})

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return self.address.rpartition(":")[0]

    @property
    def port(self) -> int:
        """Its address for the others."""
        return int(self.address.rpartition(":")[2])


class Started(abc.ABC):
    """A server that a ``with`` block starts, and closes at its end or if the start fails."""

    @abc.abstractmethod
    def start(self) -> object:
        """Start it and wait until it works. Raises ServerError if it does not."""

    @abc.abstractmethod
    def close(self) -> None:
        """Stop it and remove what was made for it."""

    def __enter__(self: S) -> S:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Server(Started):
    """A server process that can be stopped, killed and started again with what it has kept.

    program: the process.
    temporary: a directory that `close` removes, None if there is none.
    """

    def __init__(self, program: Program, temporary: Path | None):
        self._program = program
        self._temporary = temporary

    @property
    def pid(self) -> int:
        """The process id. Raises ServerError if it was not started."""
        return self._program.pid

    @property
    def running(self) -> bool:
        """True if the process lives."""
        return self._program.running

    def stop(self) -> None:
        """End it in an orderly way (SIGTERM)."""
        self._program.stop()

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        self._program.kill()

    def restart(self) -> None:
        """Stop it and start it again in the same place with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it and remove its temporary directory."""
        self.stop()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return self._program.log_tail(lines)
