"""Raw results: one CSV line a measured value, and what the machine was."""

from __future__ import annotations

import csv
import json
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

RAW = "raw.csv"
MACHINE = "machine.json"


@dataclass(frozen=True)
class Row:
    """One measured value, or one operation that did not come to its end.

    contestant, routes, operation, round: what was measured. sample: number of the call in its round.
    metric: its name ends in the unit: ``_s`` seconds, ``_b`` bytes; ``error`` if there is no value but ``note``.
    """

    contestant: str
    routes: int
    operation: str
    round: int
    sample: int
    metric: str
    value: float
    note: str = ""


class Results:
    """All rows of a run, and questions to them."""

    def __init__(self, rows: Iterable[Row] = (), machine: dict[str, Any] | None = None):
        self.rows = list(rows)
        self.machine = machine or {}

    def values(self, contestant: str, routes: int, operation: str, metric: str) -> list[float]:
        """All values of one kind."""
        wanted = (contestant, routes, operation, metric)
        return [row.value for row in self.rows if (row.contestant, row.routes, row.operation, row.metric) == wanted]

    def median(self, contestant: str, routes: int, operation: str, metric: str) -> float | None:
        """The median, None if there is no value."""
        values = self.values(contestant, routes, operation, metric)
        return statistics.median(values) if values else None

    def mean(self, contestant: str, routes: int, operation: str, metric: str) -> float | None:
        """The mean, None if there is no value."""
        values = self.values(contestant, routes, operation, metric)
        return statistics.fmean(values) if values else None

    def p90(self, contestant: str, routes: int, operation: str, metric: str) -> float | None:
        """What nine of ten values do not exceed, None if there is no value."""
        values = sorted(self.values(contestant, routes, operation, metric))
        return values[-(-len(values) * 9 // 10) - 1] if values else None

    def error(self, contestant: str, routes: int, operation: str) -> str:
        """Why an operation has not come to its end, empty if it has, or was not tried."""
        wanted = (contestant, routes, operation, "error")
        notes = [r.note for r in self.rows if (r.contestant, r.routes, r.operation, r.metric) == wanted]
        return notes[0] if notes else ""

    def contestants(self) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(row.contestant for row in self.rows))

    def sizes(self, operation: str = "") -> list[int]:
        """Numbers of routes at which something, or this operation, was measured."""
        return sorted({row.routes for row in self.rows if operation in {"", row.operation}})

    def save(self, directory: Path) -> None:
        """Write both files."""
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / RAW).open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows({**asdict(row), "value": f"{row.value:.6g}"} for row in self.rows)
        (directory / MACHINE).write_text(json.dumps(self.machine, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Results:
        """Read what :meth:`save` wrote."""
        with (directory / RAW).open(newline="") as file:
            rows = [Row(**{**line, **_numbers(line)}) for line in csv.DictReader(file)]
        return cls(rows, json.loads((directory / MACHINE).read_text()))


def _numbers(line: dict[str, str]) -> dict[str, Any]:
    return {name: int(line[name]) for name in ("routes", "round", "sample")} | {"value": float(line["value"])}


def describe_machine(versions: dict[str, str]) -> dict[str, Any]:
    """What the results depend on; load is the mean number of running processes in the minute before."""
    return {
        "started": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_when_started": round(psutil.getloadavg()[0], 2),
        "versions": versions,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
