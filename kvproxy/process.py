"""The only subprocess of kvproxy: a Traefik that is started, or adopted, kept alive, and stopped."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from .birth import Birth, Origin, decode_birth
from .errors import TraefikError
from .launcher import remove, write_private
from .replicas import Log
from .traefik_log import LogFollower

#: Seconds between two looks at the process and its log.
_LOOK: Final = 0.2
#: Seconds that Traefik gets to close its connections when it is asked to stop.
_GRACE: Final = 10.0
#: Seconds before a Traefik that has died is started again: doubled from the first to the last.
_FIRST_RESTART: Final = 0.5
_LAST_RESTART: Final = 30.0


def _exit_on_sigterm() -> None:
    """Make SIGTERM an ordinary exit, which cleans up, until JupyterHub installs a handler of its own.

    It does so at the very end of its start; until then SIGTERM would end the hub and leave Traefik on the ports.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


class Adopted:
    """A process that an earlier hub has started, with what is asked of a `subprocess.Popen`."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        """None as long as it runs. Its exit status is not known: 0 stands for any."""
        return None if alive(self._process) else 0

    def terminate(self) -> None:
        """Ask it to stop."""
        with contextlib.suppress(psutil.Error):
            self._process.terminate()

    def kill(self) -> None:
        """End it."""
        with contextlib.suppress(psutil.Error):
            self._process.kill()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: if it has not after so many seconds.
        """
        try:
            self._process.wait(timeout)
        except psutil.TimeoutExpired:
            raise subprocess.TimeoutExpired("traefik", timeout or 0) from None


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class TraefikProcess:
    """A Traefik that is started from a static configuration file, kept alive, and stopped.

    Its output goes to a file beside the configuration and from there to the hub's log, not through a pipe, so that
    Traefik goes on when the hub is restarted. What it was started from is kept beside them, so that the next hub can
    adopt it.

    Args:
        config_file: where the static configuration stands.
        log: the hub's logger.
        secrets: texts that are blotted out of what Traefik logs.
    """

    def __init__(self, config_file: Path, log: Log, secrets: Sequence[str] = ()) -> None:
        self._config_file = config_file
        self._log = log
        self._log_path = config_file.with_name(config_file.name + ".log")
        self._pid_path = config_file.with_name(config_file.name + ".pid")
        self._birth_path = config_file.with_name(config_file.name + ".birth")
        self._output = LogFollower(self._log_path, log, secrets)
        self._process: subprocess.Popen[bytes] | Adopted | None = None
        self._task: asyncio.Task[None] | None = None
        self._command: list[str] = []
        self._env: dict[str, str] = {}
        self._origin: Origin | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running Traefik, None if none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def adopted(self) -> bool:
        """Whether an earlier hub has started it."""
        return isinstance(self._process, Adopted)

    def find(self, wanted: Origin) -> bool:
        """Look for a Traefik that an earlier hub left running from the same file; one that does not fit is stopped.

        Args:
            wanted: from what it must have been started in order to go on.

        Returns:
            whether there is one; :meth:`start` adopts it then.
        """
        found = self._running()
        if found is None:
            return False
        process, birth = found
        differences = birth.origin.differences(wanted) if birth is not None else ["origin"]
        if not differences:
            self._process = Adopted(process)
            return True
        self._log.info(
            "Stopping the Traefik that an earlier hub left running (process %d): its %s is not the same any more.",
            process.pid,
            " and its ".join(differences),
        )
        self._end(Adopted(process))
        return False

    def _running(self) -> tuple[psutil.Process, Birth | None] | None:
        """The Traefik that runs from the file, and what is known of its start."""
        try:
            process = psutil.Process(int(self._pid_path.read_text()))
            if str(self._config_file.absolute()) not in process.cmdline() or not alive(process):
                return None
            birth = decode_birth(self._birth_path.read_text()) if self._birth_path.exists() else None
            same = birth is not None and (birth.pid, birth.born) == (process.pid, str(process.create_time()))
        except (OSError, ValueError, psutil.Error):
            return None
        return process, birth if same else None

    def start(self, binary: str, env: Mapping[str, str], configuration: str, origin: Origin) -> None:
        """Start Traefik, unless :meth:`find` has found one, and look after it from now on.

        Args:
            binary: path of the Traefik binary.
            env: environment variables on top of the hub's own.
            configuration: the text of the static configuration.
            origin: what all this comes to.

        Raises:
            TraefikError: if it cannot be started.
        """
        atexit.register(self._clean_up)
        _exit_on_sigterm()
        self._command = [binary, "--configfile", str(self._config_file.absolute())]
        self._env = {**os.environ, **env}
        self._origin = origin
        if self._process is None:
            write_private(self._config_file, configuration)
            write_private(self._log_path, "")
            self._launch()
        if not self._log_path.exists():
            write_private(self._log_path, "")
        self._output.open(at_end=self.adopted)
        self._task = asyncio.get_running_loop().create_task(self._look_after())

    def replace(self) -> None:
        """Stop an adopted Traefik that is of no use, and start another one."""
        process, self._process = self._process, None
        self._end(process)
        self._launch()

    def check_alive(self) -> None:
        """Raise :class:`TraefikError` with Traefik's last words if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            self._output.pass_on()
            raise TraefikError(f"Traefik {self._ending()}. {self._output.last_words}")

    async def stop(self) -> None:
        """Stop Traefik, at first politely, and remove all that was written for it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await asyncio.get_running_loop().run_in_executor(None, self._end, self._process)
        self._output.pass_on()
        atexit.unregister(self._clean_up)
        self._clean_up()
        self._process = None
        self._output.close()

    def leave_running(self) -> None:
        """Let Traefik outlive the hub."""
        self._log.info("Traefik is left running when the hub stops (c.JupyterHub.cleanup_proxy = False).")
        atexit.unregister(self._clean_up)

    def _clean_up(self) -> None:
        self._end(self._process)
        for path in (self._config_file, self._log_path, self._pid_path, self._birth_path):
            remove(path)

    def _launch(self) -> None:
        with self._log_path.open("ab") as output:
            try:
                # A session of its own: Ctrl-C at the hub's terminal is for the hub to handle.
                process = subprocess.Popen(
                    self._command,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise TraefikError(f"{self._command[0]} cannot be started ({error.strerror}).") from None
        self._process = process
        write_private(self._pid_path, str(process.pid))
        if self._origin is not None:
            with contextlib.suppress(psutil.Error):
                born = str(psutil.Process(process.pid).create_time())
                write_private(self._birth_path, Birth(process.pid, born, self._origin).encode())

    def _end(self, process: subprocess.Popen[bytes] | Adopted | None) -> None:
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
            self._output.pass_on()
            if self._process is None or self._process.poll() is None:
                continue
            now = asyncio.get_running_loop().time()
            pause = _FIRST_RESTART if now - started > _LAST_RESTART else min(2 * pause, _LAST_RESTART)
            self._log.error("Traefik %s; starting it again in %g s. %s", self._ending(), pause, self._output.last_words)
            await asyncio.sleep(pause)
            started = asyncio.get_running_loop().time()
            try:
                self._launch()
            except TraefikError as error:
                self._log.error("%s", error)

    def _ending(self) -> str:
        if not isinstance(self._process, subprocess.Popen):
            return "ended (an earlier hub had started it, so nobody knows its exit status)"
        code = self._process.returncode
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
