"""Runs contestants in turn: each has its own server and worker, and all of them live through the same minutes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import redis

from benchmarks.results import Results, Row
from benchmarks.workload import Place, Sample
from kvproxy.testing.servers import EchoServer, RedisServer, find_traefik, free_port

ROOT = Path(__file__).resolve().parent.parent
#: What a Traefik needs that must not switch on keyspace notifications.
QUIET_RIGHTS = "~* &* +@read +@pubsub +@connection"
_GRACE = 30  # seconds beyond its limit after which a worker is taken to hang


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    sizes: numbers of routes. adds: calls of one kind at a size of up to 100, 1,000 and beyond; in ``rounds`` rounds.
    storm: routes added at once, at ``storm_sizes``. lookups: calls of get_route a round. limit: seconds that one
    contestant may take for one operation in one round.
    """

    sizes: tuple[int, ...] = (10, 100, 1000, 5000)
    adds: tuple[int, int, int] = (24, 12, 8)
    rounds: int = 4
    storm: int = 50
    storm_sizes: tuple[int, ...] = (100,)
    lookups: int = 10
    limit: float = 180.0

    def operations(self, size: int) -> list[dict[str, Any]]:
        """One round, as requests for a worker. What was added is removed again, so that the size stays."""
        adds = max(1, self.adds[0 if size <= 100 else 1 if size <= 1000 else 2] // self.rounds)
        storm: list[dict[str, Any]] = [{"op": "storm", "count": self.storm}, {"op": "clear"}]
        return [
            {"op": "add", "count": adds},
            {"op": "delete"},
            {"op": "add_polled", "count": adds},
            {"op": "delete"},
            {"op": "get", "count": self.lookups, "among": size},
            {"op": "get_all"},
            *(storm if size in self.storm_sizes else []),
        ]


@dataclass(frozen=True)
class Tools:
    """Programs of the contestants: the peer's Python, and configurable-http-proxy; empty to leave them out."""

    peer_python: str = ""
    chp: str = ""

    def python(self, contestant: str) -> str:
        """The interpreter whose environment holds the contestant."""
        return self.peer_python if contestant == "peer" else sys.executable


class Worker:
    """A contestant's process, its Redis server, and what it has failed at."""

    def __init__(self, name: str, place: Place, python: str):
        self.name = name
        self.failed: dict[str, str] = {}
        environment = {**os.environ, "PATH": f"{find_traefik().parent}{os.pathsep}{os.environ['PATH']}"}
        self._log = open(Path(place.directory, "worker.log"), "wb")  # noqa: SIM115 - closed by close()
        # A session of its own: the driver decides what Ctrl-C ends, and in which order.
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", name, place.to_json()],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )

    def ask(self, request: dict[str, Any], limit: float) -> tuple[list[Sample], str]:
        """Have an operation done; give back its samples and what kept it from its end, if anything did."""
        operation = request["op"]
        if why := self.failed.get(operation) or self.failed.get("start") or self.failed.get("worker"):
            return [], why
        samples, error = self._exchange({**request, "limit": limit}, limit + _GRACE)
        if error:
            self.failed[operation] = error
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
        """Let it stop its proxy and end; kill it and what it started if it does not."""
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


@dataclass
class Driver:
    """One run of a plan.

    contestants: their names. directory: for logs and configuration files. say: told of progress.
    """

    plan: Plan
    contestants: list[str]
    tools: Tools
    directory: Path
    results: Results = field(default_factory=Results)

    def run(self) -> Results:
        """Measure everything at one size after the other."""
        with EchoServer("hub") as hub, EchoServer("user") as user:
            for size in self.plan.sizes:
                with contextlib.ExitStack() as stack:
                    enter = stack.enter_context
                    self._run_size(size, [enter(self._worker(name, size, hub, user)) for name in self.contestants])
        return self.results

    def _run_size(self, size: int, workers: list[Worker]) -> None:
        for worker in workers:
            self._do(worker, size, 0, {"op": "start", "count": size})
            self._do(worker, size, 0, {"op": "settle"})
        for number in range(self.plan.rounds):
            # Nobody is always first, or always behind the same neighbour.
            turn = number % len(workers)
            for request in self.plan.operations(size):
                for worker in workers[turn:] + workers[:turn]:
                    self._do(worker, size, number, request)
        for worker in workers:
            self._do(worker, size, 0, {"op": "memory"})

    def _do(self, worker: Worker, size: int, number: int, request: dict[str, Any]) -> None:
        known = request["op"] in worker.failed
        samples, error = worker.ask(request, self.plan.limit)
        place = (worker.name, size, request["op"], number)
        self.results.rows += [
            Row(*place, index, metric, value)
            for index, sample in enumerate(samples)
            for metric, value in sample.items()
        ]
        if error and not known:
            self.results.rows.append(Row(*place, 0, "error", 0.0, error))
        times = [sample["returned_s"] for sample in samples if "returned_s" in sample]
        shown = f"{1000 * statistics.median(times):10.2f} ms " if times else ""
        print(f"{size:6} routes  round {number + 1}  {worker.name:14}{request['op']:11}{shown}{error}", flush=True)

    @contextlib.contextmanager
    def _worker(self, name: str, size: int, hub: EchoServer, user: EchoServer) -> Iterator[Worker]:
        directory = self.directory / f"{name}-{size}"
        directory.mkdir(parents=True)
        password = secrets.token_hex(16)
        # The same settings for all, whoever logs in with the lesser rights.
        with RedisServer(acl=[f"traefik on >{password} {QUIET_RIGHTS}"]) as server:
            public, api = free_port(), free_port()
            place = Place(
                directory=str(directory),
                redis_url=server.url,
                redis_pid=server.pid,
                traefik_username="traefik" if name.endswith("-quiet") else "",
                traefik_password=password,
                public_url=f"http://127.0.0.1:{public}",
                api_url=f"http://127.0.0.1:{api}",
                hub_url=hub.url,
                user_url=user.url,
                chp=self.tools.chp,
            )
            worker = Worker(name, place, self.tools.python(name))
            try:
                self._do(worker, size, 0, {"op": "fill", "count": size})
                self._weigh(name, size, server)
                yield worker
            finally:
                worker.close()

    def _weigh(self, name: str, size: int, server: RedisServer) -> None:
        """What the store holds a route, before anything but routes is in it."""
        with redis.Redis.from_url(server.url) as client:
            keys, payload = footprint(client)
        weights = {"keys": keys / (size + 1), "payload_b": payload / (size + 1)}
        self.results.rows += [Row(name, size, "store", 0, 0, metric, value) for metric, value in weights.items()]


def footprint(client: Any) -> tuple[int, int]:
    """How many keys (and fields of hashes) a Redis holds, and the bytes of their names and values."""
    keys = payload = 0
    for key in client.scan_iter(count=1000):
        if client.type(key) == b"hash":
            fields = client.hgetall(key)
            keys += len(fields)
            payload += sum(len(name) + len(value) for name, value in fields.items())
        else:
            keys += 1
            payload += len(key) + client.strlen(key)
    return keys, payload


def versions(tools: Tools, contestants: list[str]) -> dict[str, str]:
    """Versions of everything that is measured."""
    names = ["kvproxy", "jupyterhub", "redis", "aiohttp"]
    found = {"python": sys.version.split()[0], **_packages(sys.executable, names)}
    found["traefik"] = _words([str(find_traefik()), "version"], 1)
    with RedisServer() as server:
        info = str(server.command("INFO", "server"))
    told = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    found[told.get("server_name", "redis") + "-server"] = told.get("valkey_version") or told["redis_version"]
    if "peer" in contestants:
        found |= _packages(tools.peer_python, ["jupyterhub-traefik-proxy"])
    if "chp" in contestants:
        found["configurable-http-proxy"] = _words([tools.chp, "--version"], 0)
        found["node"] = _words(["node", "--version"], 0)
    return found


def _packages(python: str, names: list[str]) -> dict[str, str]:
    code = "import json, sys; from importlib import metadata as m; "
    code += "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    return dict(json.loads(subprocess.check_output([python, "-c", code, *names], text=True)))


def _words(command: list[str], index: int) -> str:
    return subprocess.check_output(command, text=True).split()[index]
