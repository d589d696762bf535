"""HAProxy, which leads connections to those members of a cluster that are well."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from kvproxy.testing.servers.base import Server
from kvproxy.testing.servers.debian import debian_with_libraries
from kvproxy.testing.servers.programs import Program, ServerError, accepts

HAPROXY_VARIABLE: Final = "KVPROXY_HAPROXY"
#: Libraries of Debian's HAProxy that a small installation may lack.
_LIBRARIES: Final = ("liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")
_START_SECONDS: Final = 15


def find_haproxy() -> tuple[Path, dict[str, str]]:
    """The program of HAProxy, and environment variables that it needs.

    Looks at the variable KVPROXY_HAPROXY, then for haproxy on PATH, and unpacks Debian's package at last. Raises
    ServerError saying how to get one.
    """
    if named := os.environ.get(HAPROXY_VARIABLE):
        if path := shutil.which(named):
            return Path(path), {}
        raise ServerError(f"The variable {HAPROXY_VARIABLE} names {named}, which is not a program.")
    if path := shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin"):
        return Path(path), {}
    try:
        return debian_with_libraries("haproxy", "usr/sbin/haproxy", _LIBRARIES)
    except ServerError as error:
        raise ServerError(
            f"No program of HAProxy was found. Install one, or name it in the variable {HAPROXY_VARIABLE}. {error}"
        ) from None


class HaproxyServer(Server):
    """A real HAProxy with a configuration of the caller's.

    configuration: as in its file.
    port: where it listens on 127.0.0.1 according to that.
    """

    def __init__(self, configuration: str, port: int):
        self.port = port
        self.directory = Path(tempfile.mkdtemp(prefix="kvproxy-haproxy-"))
        (self.directory / "haproxy.cfg").write_text(configuration)
        program, variables = find_haproxy()
        command = [str(program), "-db", "-f", "haproxy.cfg"]
        super().__init__(Program(command, self.directory / "haproxy.log", {**os.environ, **variables}), self.directory)

    def start(self) -> None:
        """Start it and wait until it listens. Raises ServerError with its last log lines if it does not."""
        self._program.start()
        self._program.wait_ready(lambda: accepts(self.port), _START_SECONDS)
