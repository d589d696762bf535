"""Stand-ins for the hub and the users' servers: one nginx for all, and behind it an echo server for websockets.

    python -m benchmarks.servers PORT      the echo server

nginx answers at two ports: as the hub, which refuses what only a user's server may answer, so that a request which was
led to the wrong place counts as failed; and as any user's server.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.programs import Tool
from benchmarks.workload import LARGE, ROOT
from kvproxy.testing.servers.base import Server
from kvproxy.testing.servers.echo import EchoServer
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, accepts

_START_SECONDS = 15
#: One process. The level between http and the servers is only about its files.
_CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{hub} backlog=4096;
        location / {{ return 200 '{{"name": "hub"}}'; }}
        location /user/ {{ return 424 '{{"name": "hub"}}'; }}
    }}
    server {{
        listen 127.0.0.1:{user} backlog=4096;
        location / {{ return 200 '{small}'; }}
        location ~ /large$ {{ alias {large}; }}
        location ~ /ws$ {{
            proxy_pass http://127.0.0.1:{echo};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""
#: About a hundred bytes; the path is as it was asked for.
_SMALL = '{"name": "user", "path": "$request_uri", "padding": "' + "." * 30 + '"}'


class Backend(Server):
    """nginx and the echo server. hub_url, user_url: where they answer; no slash at the end."""

    def __init__(self, nginx: Tool) -> None:
        hub, user, echo = free_port(), free_port(), free_port()
        self.hub_url, self.user_url = f"http://127.0.0.1:{hub}", f"http://127.0.0.1:{user}"
        self._ports = (hub, user, echo)
        self.directory = Path(tempfile.mkdtemp(prefix="kvproxy-nginx-"))
        large = self.directory / "large"
        large.write_bytes(LARGE)
        settings = {"hub": hub, "user": user, "echo": echo, "small": _SMALL, "large": large}
        configuration = self.directory / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(**settings))
        command = [nginx.path, "-p", str(self.directory), "-e", "stderr", "-c", str(configuration)]
        super().__init__(Program(command, self.directory / "nginx.log", nginx.environment), self.directory)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "benchmarks.servers", str(echo)]
        self._echo = Program(command, self.directory / "echo.log", environment)

    def start(self) -> None:
        """Start both. Raises ServerError with the last log lines of the one that does not come up."""
        hub, user, echo = self._ports
        self._program.start()
        self._program.wait_ready(lambda: accepts(hub) and accepts(user), _START_SECONDS)
        self._echo.start()
        self._echo.wait_ready(lambda: accepts(echo), _START_SECONDS)

    def stop(self) -> None:
        """Stop both."""
        self._echo.stop()
        super().stop()


def main(port: int) -> None:
    """Echo until told to end."""
    with EchoServer("user", port):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(int(sys.argv[1]))
