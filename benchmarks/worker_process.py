"""The driver's end of a worker: its process, what it is asked, and what it has failed at."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
from pathlib import Path
from typing import IO, Any

import psutil

from benchmarks.worker import cpu_seconds
from benchmarks.workload import ROOT, Place, Sample
from kvproxy.testing.servers.programs import find_traefik

_GRACE = 30  # seconds beyond its limit after which a worker is taken to hang
#: Operations without which there is nothing to measure any more; "worker" stands for the process itself.
_VITAL = ("fill", "start", "restart", "worker")


class Worker:
    """A contestant's process.

    name: of the contestant. root: checkout with the kvproxy that it runs; what it is asked is this checkout's in any
    case. failed: label of an operation -> why it did not come to its end; not tried again.
    """

    def __init__(self, name: str, place: Place, python: str, root: Path = ROOT):
        self.name = name
        self.failed: dict[str, str] = {}
        # Before the environment's own kvproxy, which is this checkout, and before the other checkout's benchmarks.
        Path(place.directory, "benchmarks").symlink_to(ROOT / "benchmarks")
        path = os.pathsep.join(map(str, (place.directory, root, root / "backends")))
        environment = {
            **os.environ,
            "PYTHONPATH": path,
            "PATH": f"{find_traefik().parent}{os.pathsep}{os.environ['PATH']}",
        }
        self._log = open(Path(place.directory, "worker.log"), "wb")  # noqa: SIM115 - closed by close()
        # A session of its own: the driver decides what Ctrl-C ends, and in which order.
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", name, place.to_json()],
            cwd=place.directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )

    def cpu(self) -> float:
        """CPU seconds that the processes which it has started have used."""
        return sum(cpu_seconds(child.pid) for child in psutil.Process(self._process.pid).children())

    def ask(self, label: str, request: dict[str, Any], limit: float) -> tuple[list[Sample], str]:
        """Have an operation done; give back its samples and what kept it from its end, if anything did."""
        if why := next((self.failed[name] for name in (label, *_VITAL) if name in self.failed), ""):
            return [], why
        samples, error = self._exchange({**request, "limit": limit}, limit + _GRACE)
        if error:
            self.failed[label] = error
        return samples, error

    def _exchange(self, request: dict[str, Any], seconds: float) -> tuple[list[Sample], str]:
        line = ""
        with contextlib.suppress(BrokenPipeError):
            to, answers = self._pipes()
            print(json.dumps(request), file=to, flush=True)
            if select.select([answers], [], [], seconds)[0]:
                line = answers.readline()
        if not line:
            self.failed["worker"] = f"its process gave no answer: {self._last_words()}"
            return [], self.failed["worker"]
        answer = json.loads(line)
        return answer["samples"], answer["error"]

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _last_words(self) -> str:
        lines = Path(self._log.name).read_text(errors="replace").splitlines()
        return lines[-1][:200] if lines else "it said nothing"

    def close(self) -> None:
        """Let it stop its proxy and end; kill it and what it started if it does not. A second time, nothing happens."""
        with contextlib.suppress(psutil.Error):
            started = psutil.Process(self._process.pid).children(recursive=True)
            for pipe in self._pipes()[:1]:
                pipe.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
            for process in [*started, psutil.Process(self._process.pid)]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self._process.wait()
        self._log.close()
