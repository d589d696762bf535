"""A Traefik that the hub did not start, for hubs with ``should_start = False``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kvproxy.testing.servers.base import Server
from kvproxy.testing.servers.programs import Program, accepts, find_traefik

_START_SECONDS = 20


class TraefikServer(Server):
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
        super().__init__(Program([str(find_traefik()), f"--configfile={self.config_path}"], log, environment), None)

    def start(self) -> TraefikServer:
        """Start it and wait for its ports. Raises ServerError with its last log lines if they stay closed."""
        self._program.start()
        self._program.wait_ready(lambda: all(map(accepts, self.ports)), _START_SECONDS)
        return self
