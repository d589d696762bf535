"""The command line of a study that has one table in the documentation: measure it, or take the results on disk."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.document import machine_line, write_places
from benchmarks.results import Results
from kvproxy.testing.servers import find_traefik

_PROGRAMS = ("traefik", "redis-server", "valkey-server")


@dataclass(frozen=True)
class Study:
    """name: of its module, and of the table's place. summary: for its help. document: where the table is. folder: of
    the results. measure: makes them. table: shows them, in Markdown. conditions: what they depend on beside the
    machine.
    """

    name: str
    summary: str
    document: Path
    folder: Path
    measure: Callable[[], Awaitable[Results]]
    table: Callable[[Results], str]
    conditions: Callable[[Results], str]

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
        if parser.parse_args(arguments).report:
            results = Results.load(self.folder)
        else:
            find_traefik()
            results = asyncio.run(self._measured())
            results.save(self.folder)
        print(f"{self.table(results)}\n\n{self.machine(results)}")
        self.write_document(results)
        return 0

    async def _measured(self) -> Results:
        return await self.measure()
