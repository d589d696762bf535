"""A process that has imported JupyterHub, and forks hubs that need not import it again.

A forked process is as if its command had been started: one with its own session, folder, arguments, environment
and output, which ends by the same signals and has the same exit status. Only to others, as in ``/proc``, its command
line and environment are those of the fork server.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kvproxy.testing.servers.programs import Process

_PRELOADED: Final = ("jupyterhub.app", "jupyterhub.auth", "kvproxy.proxy", "kvproxy_redis.proxy")
#: Variables on which nothing depends that is imported.
_INDIFFERENT: Final = ("COLUMNS", "LINES", "NO_COLOR", "PAGER", "TERM", "KVPROXY_TEST_HUB", "PYTEST_CURRENT_TEST")
#: Bytes of a message at most.
_LIMIT: Final = 2**18


class Forked:
    """A process that was forked, with some methods of :class:`subprocess.Popen`."""

    def __init__(self, news: socket.socket):
        self._news = news
        self.pid: int = self._read(None)
        self._status: int | None = None

    def _read(self, timeout: float | None) -> int:
        news = select.poll()
        news.register(self._news, select.POLLIN)
        if not news.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired("the forked process", timeout or 0)
        if not (text := self._news.recv(_LIMIT)):
            raise RuntimeError("The fork server has ended.")
        return int(text)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status. Raises TimeoutExpired if it still runs after that many seconds."""
        if self._status is None:
            self._status = self._read(timeout)
            self._news.close()
        return self._status

    def poll(self) -> int | None:
        """Return the exit status, None if it still runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.send_signal(signal.SIGTERM)


class ForkServer:
    """Forks what ``python -m`` would start; begins when it is first needed, and ends with this interpreter."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._environment: dict[str, str] = {}

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], directory: Path, files: Sequence[int]
    ) -> Process:
        """Start a command in a session of its own, with these files as its input, output and error output.

        It is forked, unless it is no Python module or has another environment than this process, on which imports may
        depend.
        """
        if self.forks(command, environment):
            assert self._control is not None
            news, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            request = {
                "arguments": command[2:],
                "environment": dict(environment),
                "directory": str(directory.absolute()),
            }
            with theirs:
                socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno(), *files])
            return Forked(news)
        stdin, stdout, stderr = files
        return subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    def forks(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """True if such a command is forked."""
        if sys.platform != "linux" or list(command[:2]) != [sys.executable, "-m"]:
            return False
        if self._control is None:
            self._control = self._begin()
        return _decisive(environment) == self._environment

    def _begin(self) -> socket.socket:
        self._environment = _decisive(os.environ)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import main; main({theirs.fileno()})"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        for last in (ours.close, process.wait, process.terminate):
            atexit.register(last)
        return ours


def _decisive(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _INDIFFERENT}


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork at each request, and return it in the forked process; return None when there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, files, _, _ = socket.recv_fds(control, _LIMIT, 4)
        if not message:
            return None
        # The process in between waits for the end of the other one.
        if os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            news = socket.socket(fileno=files[0])
            if (pid := os.fork()) == 0:
                news.close()
                return {"files": files[1:], **json.loads(message)}
            for file in files[1:]:
                os.close(file)
            news.send(str(pid).encode())
            news.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
            os._exit(0)
        for file in files:
            os.close(file)


def become(arguments: list[str], environment: Mapping[str, str], directory: str, files: Sequence[int]) -> None:
    """Run a module as ``python -m`` does."""
    os.setsid()
    os.chdir(directory)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


#: The one of this process.
FORK_SERVER: Final = ForkServer()


def main(control: int) -> None:
    """Import what hubs need, and serve at that socket; in a forked process, go on as a hub."""
    # A hub that needs it will say that it is not installed.
    with contextlib.suppress(ImportError):
        for name in _PRELOADED:
            importlib.import_module(name)
    # Else the first collection in each process would copy all that is shared.
    gc.freeze()
    if request := serve(socket.socket(fileno=control)):
        become(**request)
