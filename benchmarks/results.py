"""Results of a run: every measured value, a summary of them, and what the machine was.

Documents are made from the summary, which is kept in the repository. The raw values lie beside it until the next run,
for a closer look; a release carries them.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

import psutil

RAW = "raw.csv"
SUMMARY = "summary.jsonl"
MACHINE = "machine.json"

#: Contestant, number of routes, operation.
Subject: TypeAlias = tuple[str, int, str]


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

    @property
    def subject(self) -> Subject:
        """Contestant, routes and operation, without the round."""
        return self.contestant, self.routes, self.operation


@dataclass(frozen=True)
class Series:
    """All values of one kind in short, in the order in which they came; ``p90``: nine of ten do not exceed it."""

    count: int
    first: float
    last: float
    least: float
    most: float
    median: float
    mean: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Series:
        """In short."""
        ordered = sorted(values)
        return cls(
            count=len(values),
            first=values[0],
            last=values[-1],
            least=ordered[0],
            most=ordered[-1],
            median=statistics.median(values),
            mean=statistics.fmean(values),
            p90=ordered[-(-len(values) * 9 // 10) - 1],
        )

    def dump(self) -> Any:
        """As JSON: a number if there is one value only; else what differs from the median."""
        numbers = {name: _digits(value) for name, value in asdict(self).items()}
        count, median = numbers.pop("count"), numbers.pop("median")
        if self.count == 1:
            return median
        return {"count": count, "median": median} | {name: n for name, n in numbers.items() if n != median}

    @classmethod
    def parse(cls, data: Any) -> Series:
        """Read what :meth:`dump` gave."""
        if not isinstance(data, Mapping):
            return cls.of([data])
        return cls(**{field.name: data.get(field.name, data["median"]) for field in fields(cls)})


class Results:
    """The measurements of a run, and questions to them.

    Args:
        rows: every value.
        machine: what :func:`describe_machine` gave.
    """

    def __init__(self, rows: Iterable[Row] = (), machine: dict[str, Any] | None = None):
        self.rows = list(rows)
        self.machine = machine or {}
        #: Of earlier runs: their values are not in ``rows``.
        self.kept: dict[Subject, dict[str, Series | str]] = {}

    def summary(self) -> dict[Subject, dict[str, Series | str]]:
        """Everything, by what was measured and by metric; for the metric ``error``, why there is no value."""
        found: dict[Subject, dict[str, Any]] = {subject: dict(metrics) for subject, metrics in self.kept.items()}
        values: dict[tuple[Subject, str], list[float]] = {}
        for row in self.rows:
            metrics = found.setdefault(row.subject, {})
            if row.metric == "error":
                metrics.setdefault("error", row.note)
            else:
                values.setdefault((row.subject, row.metric), []).append(row.value)
        for (subject, metric), series in values.items():
            found[subject][metric] = Series.of(series)
        return found

    def series(self, contestant: str, routes: int, operation: str, metric: str) -> Series | None:
        """All values of one kind, None if there is none."""
        wanted = (contestant, routes, operation)
        values = [row.value for row in self.rows if row.subject == wanted and row.metric == metric]
        if values:
            return Series.of(values)
        kept = self.kept.get(wanted, {}).get(metric)
        return kept if isinstance(kept, Series) else None

    def median(self, contestant: str, routes: int, operation: str, metric: str) -> float | None:
        """The median, None if there is no value."""
        series = self.series(contestant, routes, operation, metric)
        return series and series.median

    def mean(self, contestant: str, routes: int, operation: str, metric: str) -> float | None:
        """The mean, None if there is no value."""
        series = self.series(contestant, routes, operation, metric)
        return series and series.mean

    def p90(self, contestant: str, routes: int, operation: str, metric: str) -> float | None:
        """A bound that nine of ten values do not exceed, None if there is no value."""
        series = self.series(contestant, routes, operation, metric)
        return series and series.p90

    def error(self, contestant: str, routes: int, operation: str) -> str:
        """Why an operation has not come to its end, empty if it has, or was not tried."""
        wanted = (contestant, routes, operation)
        notes = [row.note for row in self.rows if row.subject == wanted and row.metric == "error"]
        return notes[0] if notes else str(self.kept.get(wanted, {}).get("error", ""))

    def _subjects(self) -> dict[Subject, None]:
        return dict.fromkeys([*self.kept, *(row.subject for row in self.rows)])

    def contestants(self) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(contestant for contestant, _, _ in self._subjects()))

    def sizes(self, operation: str = "") -> list[int]:
        """Numbers of routes at which something, or this operation, was measured."""
        return sorted({routes for _, routes, one in self._subjects() if operation in {"", one}})

    def save(self, directory: Path) -> None:
        """Write all files."""
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / RAW).open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows({**asdict(row), "value": f"{row.value:.6g}"} for row in self.rows)
        lines = [
            {"contestant": contestant, "routes": routes, "operation": operation}
            | {metric: one if isinstance(one, str) else one.dump() for metric, one in metrics.items()}
            for (contestant, routes, operation), metrics in self.summary().items()
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (directory / SUMMARY).write_text(text, encoding="utf-8")
        (directory / MACHINE).write_text(json.dumps(self.machine, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Results:
        """Read the summary that :meth:`save` wrote."""
        results = cls(machine=json.loads((directory / MACHINE).read_text()))
        for text in (directory / SUMMARY).read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            subject = (line.pop("contestant"), line.pop("routes"), line.pop("operation"))
            results.kept[subject] = {
                metric: one if metric == "error" else Series.parse(one) for metric, one in line.items()
            }
        return results


def _digits(value: float) -> float:
    """Six significant digits, as anything beyond is noise; whole numbers without a point."""
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() else short


def describe_machine(versions: dict[str, str]) -> dict[str, Any]:
    """The machine that the results depend on; load is the mean number of running processes in the minute before."""
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
