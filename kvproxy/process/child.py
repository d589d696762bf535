"""One process as its supervisor sees it, whether this hub has started it or an earlier one did."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import psutil

from ..errors import TraefikError
from .adoption import Identity, Running, is_of

#: Seconds between two looks at a process that is to end.
_LOOK: Final = 0.05
#: A random name that Linux gives to each boot (random(4)).
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class ChildProcess:
    """A process that is looked after.

    Args:
        process: which one.
        child: the same, if this hub has started it.
    """

    def __init__(self, process: psutil.Process, child: subprocess.Popen[bytes] | None = None) -> None:
        self._process = process
        self._child = child
        #: The identity of the process, also after its end.
        self.identity = _identity(process)

    @classmethod
    def start(cls, command: Sequence[str], env: Mapping[str, str], output: IO[bytes]) -> ChildProcess:
        """Start a program that outlives this process and does not hear of Ctrl-C at its terminal.

        Raises:
            OSError: if it cannot be started, or not be looked after; it does not run then.
        """
        child = subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return cls(psutil.Process(child.pid), child)
        except BaseException:
            # As without a file descriptor to read /proc by. It would be lost sight of, and keep the ports.
            child.kill()
            child.wait()
            raise

    @classmethod
    def find(cls, identity: Identity) -> ChildProcess:
        """A process that is no child of this one.

        Raises:
            TraefikError: if it has ended.
        """
        try:
            found = cls(psutil.Process(identity.pid))
        except psutil.Error:
            raise TraefikError(f"The process {identity.pid} has ended.") from None
        if not found.identity.is_same(identity):
            raise TraefikError(f"The process {identity.pid} has ended.")
        return found

    @property
    def alive(self) -> bool:
        """True if it runs. A zombie does not run."""
        if self._child is not None:
            return self._child.poll() is None
        try:
            return self._process.is_running() and not _has_ended(self._process)
        except psutil.NoSuchProcess:
            return False

    @property
    def ending(self) -> str:
        """The way it has ended, to be read after its name."""
        if self._child is None:
            return "ended (how is known only to the earlier hub that had started it)"
        code = self._child.returncode
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def stop(self, grace: float) -> bool:
        """Ask it to stop, and kill it if it has not after ``grace`` seconds.

        Returns:
            True if that was enough, without a kill.

        Raises:
            TraefikError: if it cannot be stopped.
        """
        if not self.alive:
            return True
        try:
            self._process.terminate()
            if self._ends_within(grace):
                return True
            self._process.kill()
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            raise TraefikError(
                f"Traefik (process {self.identity.pid}) belongs to another user and cannot be stopped; stop it first."
            ) from None
        if not self._ends_within(grace):
            raise TraefikError(f"Traefik (process {self.identity.pid}) does not end, although it was killed.")
        return False

    def _ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK)
        return True


def _has_ended(process: psutil.Process) -> bool:
    """True if it is a zombie, whose exit status has not been fetched.

    Linux says "zombie" as soon as the first thread has ended. Its ports are free when the last one has, which takes a
    moment in a process with many.
    """
    return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1


def this_process() -> Identity:
    """The process that asks."""
    return _identity(psutil.Process())


def running(pids: Iterable[int]) -> dict[int, Running]:
    """The processes that run as this user, by their ids."""
    found: dict[int, Running] = {}
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if not _has_ended(process) and process.uids().effective == os.geteuid():
                found[pid] = Running(_identity(process), tuple(process.cmdline()))
        except (psutil.Error, ValueError):
            continue
    return found


def of_file(config_file: Path) -> dict[int, Running]:
    """The Traefiks of this user that have been started from a static configuration file, recorded or not."""
    found = running(psutil.pids())
    return {pid: one for pid, one in found.items() if is_of(one, str(config_file)) and _sees(pid, config_file.parent)}


def _sees(pid: int, directory: Path) -> bool:
    """True if a path means the same to a process as here, as it does not in a container of its own."""
    try:
        return not psutil.LINUX or os.path.samefile(f"/proc/{pid}/root{directory}", directory)
    except OSError:
        return False


def listener(port: int) -> str:
    """Names the program that listens on a TCP port, empty if that is not known."""
    try:
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.pid and one.laddr and one.laddr.port == port:
                return f"{psutil.Process(one.pid).name()}, process {one.pid}"
    except (psutil.Error, OSError):
        pass
    return ""


def _identity(process: psutil.Process) -> Identity:
    if not psutil.LINUX:
        return Identity(process.pid, process.create_time())
    # Linux counts from the boot (proc(5): starttime); psutil adds the time of the boot, which moves when the clock is
    # set. It is taken off again, and the boot is named instead.
    return Identity(process.pid, process.create_time() - psutil.boot_time(), _BOOT_ID.read_text().strip())
