"""A complete JupyterHub on this machine, for trying things out: ``python -m kvproxy.demo``.

Starts a private Redis, JupyterHub with ``proxy_class = "traefik_redis"`` (which starts Traefik) and, for each user that
logs in, JupyterLab. Everything listens on 127.0.0.1 only and is kept in one temporary directory. Ctrl-C, SIGTERM or a
closed terminal stops everything and removes the directory.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import psutil

from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, ServerError, fetch, find_traefik
from kvproxy.testing.servers.redis import RedisServer

START_SECONDS = 120
STOP_SECONDS = 40  # the hub gives each user's server up to 20 seconds to end
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Raised when a signal has asked the demo to stop."""


class StopRequest:
    """Records a signal to stop. Nothing else is interrupted, so that the cleanup always completes."""

    def __init__(self) -> None:
        self._made = False
        for number in _SIGNALS:
            # `nohup` has SIGHUP ignored on purpose, and a shell's background jobs have SIGINT.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._made = True

    def check(self) -> None:
        """Raise Stopped if a signal came."""
        if self._made:
            raise Stopped


class Demo:
    """The demo's processes.

    Args:
        directory: the folder of all their files.
        port: the public TCP port on 127.0.0.1.
        request: polled for a request to stop.
        verbose: True to print the hub's log while it grows.
    """

    def __init__(self, directory: Path, port: int, request: StopRequest, verbose: bool = False):
        self.directory = directory
        self.port = port
        self.password = secrets.token_urlsafe(6)
        self._request = request
        self._verbose = verbose
        self._shown = 0  # bytes of the hub's log
        # Every descendant seen so far, as the children of a dead hub can no longer be found through it.
        self._family: set[psutil.Process] = set()
        data = directory / "redis"
        data.mkdir(mode=0o700)
        # A separate Redis user for Traefik, which the hub admits when its routes are there; see docs/how-to/redis.md.
        self._traefik_password = secrets.token_urlsafe(24)
        self.redis = RedisServer(password=secrets.token_urlsafe(24), appendonly=True, directory=data)
        config = Path(__file__).with_name("hub_config.py")
        command = [sys.executable, "-m", "jupyterhub", "-f", str(config)]
        self.hub = Program(command, directory / "jupyterhub.log", self._environment())

    @property
    def url(self) -> str:
        """The URL to open in a browser."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start everything and wait until the hub answers through Traefik.

        Raises ServerError with the hub's last log lines if it does not, and Stopped if asked to stop.
        """
        self.redis.start()
        self._request.check()
        self.hub.start()
        self.hub.wait_ready(self._hub_answers, START_SECONDS)

    def watch(self) -> None:
        """Wait forever; raise Stopped when asked to stop, and ServerError when the hub or Redis ends."""
        while True:
            self._tick()
            for program, name in ((self.hub, "JupyterHub"), (self.redis, "Redis")):
                if not program.running:
                    raise ServerError(f"{name} ended by itself. Its last log lines:\n{program.log_tail()}")
            time.sleep(0.3)

    def stop(self) -> None:
        """Stop all processes: first the hub, which stops users' servers and Traefik, and then the rest."""
        self._note_family()
        self.hub.stop(STOP_SECONDS)
        _end(self._family)
        self.redis.close()

    def _tick(self) -> None:
        self._request.check()
        self._note_family()
        if self._verbose:
            self._show_log()

    def _show_log(self) -> None:
        with self.hub.log.open("rb") as log:
            log.seek(self._shown)
            text = log.read()
        self._shown += len(text)
        if text:
            say(text.decode(errors="replace").rstrip("\n"))

    def _hub_answers(self) -> bool:
        self._tick()
        try:
            return fetch(f"{self.url}/hub/health", 2)[0] == 200
        except OSError:
            return False

    def _note_family(self) -> None:
        if self.hub.running:
            with contextlib.suppress(psutil.Error):
                self._family.update(psutil.Process(self.hub.pid).children(recursive=True))

    def _environment(self) -> dict[str, str]:
        settings = {
            "DIRECTORY": str(self.directory),
            "REDIS_URL": self.redis.url,
            "REDIS_PASSWORD": self.redis.password,
            "TRAEFIK_REDIS_PASSWORD": self._traefik_password,
            "API_PORT": str(free_port()),
            "PORT": str(self.port),
            "HUB_PORT": str(free_port()),
            "USER_PASSWORD": self.password,
        }
        return {**os.environ, **{f"KVPROXY_DEMO_{name}": value for name, value in settings.items()}}


def _end(processes: set[psutil.Process]) -> None:
    """Stop processes that have outlived the hub, at first by SIGTERM and then by SIGKILL."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=5)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def choose_port(wanted: int) -> int:
    """The wanted TCP port if it is free on 127.0.0.1, else a free one."""
    with socket.socket() as probe:
        # As servers do: a port with connections in TIME_WAIT only counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            port = free_port()
            say(f"Port {wanted} cannot be used here (probably something listens on it); taking {port}.")
            return port
    return wanted


def say(text: str) -> None:
    """Print at once, and ignore a closed terminal, so that no processes are left behind."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def greeting(demo: Demo) -> str:
    """Return the instructions for the user once the hub answers."""
    return (
        "\nJupyterHub is ready.\n"
        f"  Open:      {demo.url}\n"
        "  User name: demo (any other name works too)\n"
        f"  Password:  {demo.password}\n"
        f"  Log:       {demo.hub.log}\n"
        "Ctrl-C stops everything and removes all files.\n"
    )


def check_parts() -> None:
    """Check that all parts of the demo are installed; raise ServerError with a sentence otherwise."""
    find_traefik()
    for package in ("redis", "jupyterlab"):
        if importlib.util.find_spec(package) is None:
            raise ServerError(f"The demo needs {package}; install it with: pip install 'kvproxy[demo]'.")


def run(demo: Demo) -> int:
    """Run the demo until it is stopped, and return the exit status."""
    say("Starting Redis, JupyterHub and Traefik ...")
    try:
        demo.start()
        say(greeting(demo))
        demo.watch()
    except Stopped:
        say("\nStopping; users' servers get some seconds to end ...")
    except ServerError as error:
        say(f"The demo failed: {error}")
        return 1
    finally:
        demo.stop()
        say("Everything is stopped and removed.")
    return 0


def port_number(text: str) -> int:
    """Parse a TCP port; raise ArgumentTypeError if it is invalid."""
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text} is not a port; ports go from 1 to 65535")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kvproxy.demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=port_number, default=8000, help="public port on 127.0.0.1 (default: 8000)")
    parser.add_argument("--verbose", action="store_true", help="show the hub's log here too")
    options = parser.parse_args(arguments)
    request = StopRequest()
    directory = Path(tempfile.mkdtemp(prefix="kvproxy-demo-"))
    try:
        check_parts()
        return run(Demo(directory, choose_port(options.port), request, options.verbose))
    except ServerError as error:
        say(str(error))
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
