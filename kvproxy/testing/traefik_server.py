"""A Traefik that somebody else started, for hubs with ``should_start = False``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from kvproxy.testing.programs import Program, accepts, find_traefik

_START_SECONDS = 20


class TraefikServer:
    """The real Traefik with a static configuration file of the caller's.

    config_path: the static configuration.
    ports: TCP ports on 127.0.0.1 that it must accept connections on before `start` returns.
    environment: variables of the process, where the configuration's secrets come by environment.
    Its output goes to a file beside the configuration, with ``.log`` added to the name.
    """

    def __init__(self, config_path: Path, ports: Sequence[int] = (), environment: Mapping[str, str] | None = None):
        self.config_path = config_path.resolve()
        self.ports = tuple(ports)
        log = self.config_path.with_name(self.config_path.name + ".log")
        self._program = Program([str(find_traefik()), f"--configfile={self.config_path}"], log, environment)

    @property
    def pid(self) -> int:
        """The process id. Raises ServerError if it was not started."""
        return self._program.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._program.running

    def start(self) -> TraefikServer:
        """Start it and wait for its ports. Raises ServerError with its last log lines if they stay closed."""
        self._program.start()
        self._program.wait_ready(lambda: all(map(accepts, self.ports)), _START_SECONDS)
        return self

    def stop(self) -> None:
        """End it in an orderly way (SIGTERM)."""
        self._program.stop()

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        self._program.kill()

    def restart(self) -> None:
        """Stop it and start it again with the same file."""
        self.stop()
        self.start()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its output."""
        return self._program.log_tail(lines)

    def __enter__(self) -> TraefikServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
