"""The only subprocess of kvproxy: take over, start, watch over and stop Traefik."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from .._tasks import begin
from .._types import Log
from ..errors import TraefikError
from .adoption import Adopt, Decision, Launch, Record, Replace, Start, command, decide
from .child import ChildProcess, of_file, running, this_process
from .launch import environment_for_traefik, read_own, remove, write_private
from .log_file import TraefikLog
from .restart_policy import Restarts, Standstill

#: Seconds between two looks at the process and its log.
_LOOK: Final = 0.2
#: Seconds that Traefik gets to close its connections when it is asked to stop.
_GRACE: Final = 10.0
#: The same where it is restarted, as no user is served meanwhile.
_GRACE_ANEW: Final = 2.0

T = TypeVar("T")


class TraefikSupervisor:
    """A Traefik that is taken over from an earlier hub or started, kept alive, and stopped.

    Its output goes to a file beside the configuration and from there to the hub's log, not through a pipe, so that
    Traefik goes on when the hub ends. Beside them a third file, the record, tells the next hub which process it is.

    Args:
        config_file: where the static configuration stands.
        launch: what Traefik is started with.
        log: the hub's logger.
        secrets: strings redacted from Traefik's log.
        provider: name of the provider by which it reads the store.
        stuck_timeout: seconds for which it may hang before it is restarted; 0 for no limit.
        outlives: True if Traefik is to keep running when the hub stops.
    """

    def __init__(
        self,
        config_file: Path,
        launch: Launch,
        log: Log,
        *,
        secrets: Sequence[str] = (),
        provider: str = "",
        stuck_timeout: float = 0.0,
        outlives: bool = False,
    ) -> None:
        self._config_file = file = config_file.absolute()
        self._log_path = file.with_name(file.name + ".log")
        self._record_path = file.with_name(file.name + ".pid")
        self._launch = launch
        self._log = log
        self._output = TraefikLog(self._log_path, log, secrets, provider=provider)
        self._outlives = outlives
        # True if it is left alone if the hub ends at this moment: one that has not worked for this hub yet is not.
        self._stays = False
        self._traefik: ChildProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._me = this_process()
        self._restarts = Restarts()
        self._launched = 0.0
        # The loop's time when the start had waited for it with success.
        self._ready = float("-inf")
        self._works: Callable[[float], bool] = lambda moment: False
        self._stuck: Callable[[], str] = str
        self._standstill = Standstill(stuck_timeout)
        self._failing: set[str] = set()

    @property
    def pid(self) -> int | None:
        """Process id of the running Traefik, None if none runs."""
        return self._traefik.identity.pid if self._traefik is not None and self._traefik.alive else None

    def decide(self) -> Decision:
        """Decide about a Traefik that an earlier hub has left; nothing is done yet.

        Raises:
            ConfigurationError: if another hub looks after it at this moment.
        """
        record = Record.parse(read_own(self._record_path) or "")
        pids = {record.traefik.pid, record.hub.pid} if record is not None else set()
        found = running(pids) | of_file(self._config_file)
        return decide(record, found, self._me, self._launch, str(self._config_file))

    async def start(
        self,
        decision: Decision,
        check_ports: Callable[[], None],
        ready: Callable[[], Awaitable[None]],
        works: Callable[[float], bool],
        stuck: Callable[[], str] = str,
    ) -> None:
        """Do what was decided, and look after Traefik from now on.

        One that was taken over and does not work is replaced.

        Args:
            decision: of :meth:`decide`.
            check_ports: raises if another program listens where Traefik is to.
            ready: returns when Traefik works.
            works: tells whether Traefik was seen to work after a moment of the loop's time.
            stuck: says what keeps it from working and may end with a restart; empty if there is nothing.

        Raises:
            TraefikError: if it cannot be started, or does not work.
        """
        atexit.register(self._at_exit)
        _exit_on_sigterm()
        self._works = works
        if self._standstill.patience:
            self._stuck = stuck
        if isinstance(decision, Adopt):
            problem = await self._adopt(decision, ready)
            if problem is None:
                return
            decision = Replace(decision.traefik, f"it does not work. {problem}")
        if isinstance(decision, Replace):
            await self._stop_earlier(decision)
            check_ports()
        _write(self._log_path, "")
        self._launch_traefik()
        self._task = begin(self._look_after(), "The task that looks after Traefik", self._log)
        await ready()
        self._ready = self._now()
        self._stays = self._outlives

    def provider_error(self, since: float = 0.0) -> str:
        """Say why Traefik could not read the store last; empty if it told no error since a moment of the loop's time.

        An error of an earlier Traefik does not count.
        """
        return self._output.provider_error(max(since, self._launched))

    def check_alive(self) -> None:
        """Raise :class:`TraefikError` with Traefik's last words if it has ended."""
        if self._traefik is not None and not self._traefik.alive:
            self._output.pass_on()
            raise TraefikError(f"Traefik {self._traefik.ending}. {self._output.last_words}")

    async def stop(self) -> None:
        """Stop Traefik, at first politely, and remove all that was written for it."""
        await self._look_away()
        self._output.pass_on()
        await asyncio.get_running_loop().run_in_executor(None, self._terminate)
        self._output.pass_on(ending=True)
        atexit.unregister(self._at_exit)
        self._clean_up()
        self._traefik = None
        self._output.close()

    async def release(self) -> None:
        """Look after Traefik no longer, and leave it and its files as they are."""
        await self._look_away()
        atexit.unregister(self._at_exit)
        self._output.close()

    async def give_up(self) -> None:
        """End a start that has failed: stop Traefik, unless it worked before and is to outlive hubs."""
        await (self.release() if self._stays else self.stop())

    # -- what an earlier hub has left

    async def end_earlier(self) -> None:
        """Stop a Traefik that an earlier hub has left and that is not needed, and remove what was written for it.

        Raises:
            ConfigurationError: if another hub looks after it at this moment.
        """
        loop = asyncio.get_running_loop()
        decision = await loop.run_in_executor(None, self.decide)
        if not isinstance(decision, Start):
            pid = decision.traefik.pid
            self._log.info("Stopping a Traefik that an earlier hub left running (process %d); it is not needed.", pid)
            with contextlib.suppress(TraefikError):
                self._traefik = ChildProcess.find(decision.traefik)
        await loop.run_in_executor(None, self._clean_up)
        self._traefik = None

    async def _adopt(self, decision: Adopt, ready: Callable[[], Awaitable[None]]) -> str | None:
        """Take over a Traefik that runs; return why that is no good, if it is not."""
        self._stays = self._outlives
        pid = decision.traefik.pid
        self._log.info("Taking over the Traefik that an earlier hub left running (process %d); it goes on.", pid)
        try:
            self._traefik = ChildProcess.find(decision.traefik)
            self._launched = asyncio.get_running_loop().time()
            self._keep_record(self._traefik)
            self._output.follow_from_end()
            self._task = begin(self._look_after(), "The task that looks after Traefik", self._log)
            await ready()
            self._ready = self._now()
        except (TraefikError, OSError) as error:
            return str(error)
        return None

    async def _stop_earlier(self, decision: Replace) -> None:
        self._stays = False
        await self._look_away()
        pid = decision.traefik.pid
        self._log.warning("Replacing the Traefik that an earlier hub left running (process %d): %s", pid, decision.why)
        try:
            self._traefik = ChildProcess.find(decision.traefik)
        except TraefikError:
            return
        await asyncio.get_running_loop().run_in_executor(None, self._traefik.stop, _GRACE)

    # -- one that runs

    def _launch_traefik(self) -> None:
        launch, self._launched = self._launch, asyncio.get_running_loop().time()
        # While it ran, the files that it was started from may have been removed or changed.
        if not _holds(self._config_file, launch.configuration):
            _write(self._config_file, launch.configuration)
        try:
            with self._output.open_for_traefik() as output:
                self._traefik = ChildProcess.start(
                    command(launch.binary, str(self._config_file)),
                    environment_for_traefik(os.environ, launch.environment),
                    output,
                )
        except OSError as error:
            raise TraefikError(f"Traefik cannot be started: {error}.") from None
        self._keep_record(self._traefik)

    def _keep_record(self, traefik: ChildProcess) -> None:
        """Tell the next hub which Traefik is ours; also if the file was removed, or could not be written before."""
        record = Record(traefik.identity, self._me, self._launch.digests()).text()

        def keep() -> None:
            if not _holds(self._record_path, record):
                _write(self._record_path, record)

        self._try(f"Telling the next hub which Traefik is its own (process {traefik.identity.pid})", keep)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self._try("Passing on Traefik's log", self._output.pass_on)
            if self._traefik is not None:
                await self._look(self._traefik)

    async def _look(self, traefik: ChildProcess) -> None:
        # An error is no answer: a Traefik of which nothing is known just now may serve all users.
        if self._try("The check that Traefik runs", lambda: traefik.alive) is False:
            await self._start_again(traefik)
            return
        self._keep_record(traefik)
        problem = self._try("The check that Traefik works", self._stuck) or ""
        # One that has never worked is not helped by another start.
        if self._standstill.over(self._now(), problem) and self._worked:
            await self._replace(traefik, problem)

    async def _replace(self, traefik: ChildProcess, problem: str) -> None:
        """Restart Traefik, which closes the connections that it still serves."""
        self._log.error("Restarting Traefik (process %d). %s", traefik.identity.pid, problem)
        try:
            await asyncio.get_running_loop().run_in_executor(None, traefik.stop, _GRACE_ANEW)
        except TraefikError as error:
            self._log.error("%s", error)
            return
        self._output.pass_on()
        self._try("Starting Traefik again", self._launch_traefik)

    async def _start_again(self, ended: ChildProcess) -> None:
        lived = self._now() - self._launched
        pause = self._restarts.pause(worked=self._worked, lived=lived)
        self._log.error("Traefik %s; starting it again in %g s. %s", ended.ending, pause, self._output.last_words)
        await asyncio.sleep(pause)
        self._try("Starting Traefik again", self._launch_traefik)

    @property
    def _worked(self) -> bool:
        """True if the Traefik that runs, or ran last, has ever worked.

        One that hangs as soon as the start has seen it work may not have been asked again in between.
        """
        return self._ready >= self._launched or self._works(self._launched)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _try(self, what: str, action: Callable[[], T]) -> T | None:
        """Do something that must not end the task, whatever goes wrong; each kind of trouble is logged once."""
        try:
            result = action()
        except Exception as error:
            if what not in self._failing:
                self._failing.add(what)
                said = str(error) if isinstance(error, TraefikError) else f"{type(error).__name__}: {error}"
                self._log.error("%s fails. %s Trying again.", what, said)
            return None
        if what in self._failing:
            self._failing.discard(what)
            self._log.info("%s works again.", what)
        return result

    async def _look_away(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    # -- the end

    def _at_exit(self) -> None:
        if not self._stays:
            self._clean_up()
        elif self.pid is not None:
            self._log.info(
                "Traefik is left running (process %d), as c.JupyterHub.cleanup_proxy is False; the next hub with "
                "static_config_file = %s takes it over.",
                self.pid,
                self._config_file,
            )

    def _clean_up(self) -> None:
        if self._terminate():
            for path in (self._config_file, self._log_path, self._record_path):
                remove(path)

    def _terminate(self) -> bool:
        try:
            if self._traefik is not None and not self._traefik.stop(_GRACE):
                self._log.warning("Traefik did not stop within %g s and was killed.", _GRACE)
        except TraefikError as error:
            self._log.error("%s", error)
            return False
        return True


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _write(path: Path, text: str) -> None:
    try:
        write_private(path, text)
    except OSError as error:
        raise TraefikError(
            f"{path} cannot be written ({error.strerror}); c.TraefikProxy.static_config_file says where it is."
        ) from None


def _exit_on_sigterm() -> None:
    """Make SIGTERM an ordinary exit, which cleans up, until JupyterHub installs a handler of its own.

    It does so at the very end of its start; until then SIGTERM would end the hub and leave Traefik on the ports.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
