"""The command line of a study that has one table in the documentation: measure it, or take the results on disk."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.document import machine_line, write_places
from benchmarks.results import Results
from kvproxy.testing.servers import find_traefik

_LOOK = 0.5  # seconds between two looks at a process's CPU
_RESTING = 4  # looks in which it has used none to speak of
_NONE = 0.02  # seconds of CPU in a look
_PROGRAMS = ("traefik", "redis-server", "valkey-server", "configurable-http-proxy")


async def until_at_rest(cpu: Callable[[], float], longest: float) -> bool:
    """Wait until no CPU to speak of is used any more, or that many seconds; return whether it is so.

    cpu: seconds used so far.
    """
    begin, still, before = time.monotonic(), 0, cpu()
    while still < _RESTING and time.monotonic() - begin < longest:
        await asyncio.sleep(_LOOK)
        now = cpu()
        still, before = (still + 1 if now - before <= _NONE else 0), now
    return still >= _RESTING


@dataclass(frozen=True)
class Study:
    """name: of its module, and of the table's place. summary: for its help. document: where the table is. folder: of
    the results. measure: makes them, given the command line. table: shows them, in Markdown. conditions: what they
    depend on beside the machine. add_options: adds options of its own to the command line.
    """

    name: str
    summary: str
    document: Path
    folder: Path
    measure: Callable[[argparse.Namespace], Awaitable[Results]]
    table: Callable[[Results], str]
    conditions: Callable[[Results], str]
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None

    def machine(self, results: Results) -> str:
        """Conditions, machine and versions in one line."""
        return f"{self.conditions(results)}; {machine_line(results, _PROGRAMS)}"

    def write_document(self, results: Results, document: Path | None = None) -> None:
        """Put the table into its place."""
        write_places(document or self.document, {self.name: self.table(results), "machine": self.machine(results)})

    def main(self, arguments: list[str] | None = None) -> int:
        """The command line; returns the exit status."""
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{self.name}", description=self.summary)
        parser.add_argument("--report", action="store_true", help="measure nothing; report on the results on disk")
        parser.add_argument(
            "--output", type=Path, help="directory for the results; the documentation is left alone then"
        )
        self.add_options(parser)
        options = parser.parse_args(arguments)
        folder = options.output or self.folder
        if options.report:
            results = Results.load(folder)
        else:
            find_traefik()
            results = asyncio.run(self._measured(options))
            results.save(folder)
        print(f"{self.table(results)}\n\n{self.machine(results)}")
        if options.output is None:
            self.write_document(results)
        return 0

    async def _measured(self, options: argparse.Namespace) -> Results:
        return await self.measure(options)
