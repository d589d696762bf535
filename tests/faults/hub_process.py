"""The caller's end of `tests.faults.hub`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.workload import ROOT
from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.hub.fork_server import FORK_SERVER
from kvproxy.testing.servers.programs import Process
from tests.faults.hub import LINE

_GRACE = 30.0  # seconds to end in


class HubError(Exception):
    """A call that the proxy has refused: the class of its error, and its sentence."""


class HubGoneError(HubError):
    """The process has ended before it has answered."""


class Hub:
    """A proxy in a process of its own.

    proxy_class, traits: which, and how. log: file that it logs to.
    """

    def __init__(self, proxy_class: type[KVTraefikProxy], traits: dict[str, Any], log: Path):
        self._settings = {"class": f"{proxy_class.__module__}:{proxy_class.__name__}", "traits": traits}
        self._log = log
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._process: Process | None = None
        self._requests: asyncio.WriteTransport | None = None
        self._reading: asyncio.Task[None] | None = None
        self._listens = False

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the process and return at once; calls wait until the proxy has begun to work."""
        (theirs, requests), (answers, output) = os.pipe(), os.pipe()
        with open(theirs, "rb"), open(output, "wb"), self._log.open("ab") as log:
            command = [sys.executable, "-m", "tests.faults.hub"]
            self._process = FORK_SERVER.start(command, os.environ, ROOT, (theirs, output, log.fileno()))
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(LINE)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers, "rb"))
        self._requests, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(requests, "wb"))
        self._reading, self._listens = asyncio.create_task(self._read(reader)), True
        self._send(self._settings)

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Have something done, see `tests.faults.hub.Calls`. Raises HubError with the proxy's own sentence."""
        if not self._listens:
            raise HubGoneError(f"It does not run. {self.last_words()}")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"id": number, "op": operation, **arguments})
        return await answer

    def _send(self, message: dict[str, Any]) -> None:
        assert self._requests is not None
        self._requests.write(json.dumps(message).encode() + b"\n")

    async def _read(self, answers: asyncio.StreamReader) -> None:
        while line := await answers.readline():
            reply = json.loads(line)
            waiting = self._waiting.pop(reply["id"])
            if waiting.done():
                continue
            if "error" in reply:
                waiting.set_exception(HubError(f"{reply['error']}: {reply['text']}"))
            else:
                waiting.set_result(reply["value"])
        self._listens = False
        waiting_still, self._waiting = self._waiting, {}
        for waiting in waiting_still.values():
            if not waiting.done():
                waiting.set_exception(HubGoneError(f"It has ended. {self.last_words()}"))

    async def stop(self) -> None:
        """End it in an orderly way; kill it if that takes too long. Nothing happens if it does not run."""
        self._listens = False
        if self._process is not None:
            assert self._requests is not None
            self._requests.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, _GRACE)
        await self.kill()

    async def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._listens = False
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(self._process.wait)
            assert self._reading is not None
            await self._reading
            self._process = None

    def log_text(self) -> str:
        """All that it has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def last_words(self) -> str:
        """The end of its log."""
        return "Its log ends with:\n" + "\n".join(self.log_text().splitlines()[-8:])
