"""What all real servers of the tests have in common."""

from __future__ import annotations

import abc
import shutil
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from kvproxy.testing.programs import Program

S = TypeVar("S", bound="Server")


class Server(abc.ABC):
    """A server process that can be stopped, killed and started again with what it has kept.

    program: the process.
    temporary: a directory that `close` removes, None if there is none.
    """

    def __init__(self, program: Program, temporary: Path | None):
        self._program = program
        self._temporary = temporary

    @abc.abstractmethod
    def start(self) -> object:
        """Start it and wait until it works. Raises ServerError with its last log lines if it does not."""

    @property
    def pid(self) -> int:
        """The process id. Raises ServerError if it was not started."""
        return self._program.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
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
