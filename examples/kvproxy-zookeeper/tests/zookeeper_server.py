"""A private ZooKeeper on the loopback interface: Debian's jars, unpacked but not installed, and this machine's Java."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType

from kvproxy.testing.servers.debian import debian_program
from kvproxy.testing.servers.programs import Program, ServerError, free_port

#: A folder with ZooKeeper's jars, such as the ``lib`` of its own release.
JARS_VARIABLE = "KVPROXY_ZOOKEEPER_JARS"
_START_SECONDS = 60
_JARS = {
    "libzookeeper-java": ("zookeeper.jar", "zookeeper-jute.jar"),
    "libslf4j-java": ("slf4j-api.jar", "slf4j-simple.jar"),
    "libdropwizard-metrics-java": ("metrics-core.jar",),
    "libsnappy-java": ("snappy-java.jar",),
}


def class_path() -> str:
    """Where Java finds ZooKeeper. Raises ServerError saying how to get it."""
    if not shutil.which("java"):
        raise ServerError("ZooKeeper needs Java; install it: `apt install default-jre-headless` (Debian, Ubuntu).")
    if folder := os.environ.get(JARS_VARIABLE):
        return f"{folder}/*"
    jars = [debian_program(package, "", f"usr/share/java/{jar}") for package, names in _JARS.items() for jar in names]
    return os.pathsep.join(map(str, jars))


class ZooKeeperServer:
    """A real server, alone, which survives restarts and is removed by `close`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"zookeeper://127.0.0.1:{self.port}"
        self.directory = Path(tempfile.mkdtemp(prefix="kvproxy-zookeeper-"))
        settings = {
            "tickTime": 500,
            "maxSessionTimeout": 30_000,
            "dataDir": self.directory / "data",
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "ruok",
        }
        file = self.directory / "zoo.cfg"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", class_path()]
        # Java's own connection for profilers needs no door here.
        java += ["-Dzookeeper.jmx.log4j.disable=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        self._program = Program([*java, main, str(file)], self.directory / "log")

    def start(self) -> None:
        """Start it and wait until it answers. Raises ServerError with its last log lines if it does not."""
        self._program.start()
        self._program.wait_ready(self._answers, _START_SECONDS)

    def stop(self) -> None:
        """End it at once, as a crash would; its data stay."""
        self._program.kill()

    def close(self) -> None:
        """End it and remove its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as asking:
                asking.sendall(b"ruok")
                return asking.recv(4) == b"imok"
        except OSError:
            return False

    def __enter__(self) -> ZooKeeperServer:
        try:
            self.start()
        except ServerError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
