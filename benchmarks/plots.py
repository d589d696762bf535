"""Plots of the results, as SVG files that are the same whenever they are made from the same results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.results import Results
from benchmarks.roster import ROSTER

#: A label, numbers of routes, and the values there.
Line: TypeAlias = tuple[str, list[int], list[float]]


@dataclass(frozen=True)
class Plot:
    """A quantity over the number of routes, both axes logarithmic.

    file: its name. title, unit: what the vertical axis shows. operation, metric: in the results; the median of the
    values, times ``scale``.
    """

    file: str
    title: str
    unit: str
    operation: str
    metric: str
    scale: float = 1.0


PLOTS = (
    Plot("cpu-a-request", "CPU of the proxy a request", "µs", "small-16", "cpu_s", 1e6),
    Plot("requests-a-second", "Requests a second, small answers, 16 connections", "1/s", "small-16", "rate"),
    Plot("added-route", "Until the URL of an added route is served", "ms", "add_polled", "served_s", 1e3),
    Plot("cpu-an-add", "CPU of the proxy an added route", "ms", "add", "proxy_cpu_s", 1e3),
)
_MARKERS = "osv^DPX<>"
_SETTINGS = {
    "svg.hashsalt": "kvproxy",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.fontsize": 8,
}


def write_plots(results: Results, directory: Path) -> None:
    """Draw all plots for which there are results."""
    directory.mkdir(parents=True, exist_ok=True)
    for plot in PLOTS:
        draw(directory / f"{plot.file}.svg", plot.title, plot.unit, lines(plot, results), results.sizes())


def draw(file: Path, title: str, unit: str, drawn: Iterable[Line], sizes: Sequence[int]) -> None:
    """Draw lines over numbers of routes, of which ``sizes`` are marked on the axis."""
    # Only the environment of the benchmark's session has it.
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    with matplotlib.rc_context({**_SETTINGS, "backend": "svg"}):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        for index, (label, routes, values) in enumerate(drawn):
            marker = _MARKERS[index % len(_MARKERS)]
            axes.loglog(routes, values, label=label, color=f"C{index}", marker=marker, markersize=5)
        axes.set(title=title, xlabel="routes", ylabel=unit)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_formatter(ScalarFormatter())
        # Less than a decade would otherwise be labelled with powers of ten.
        axes.yaxis.set_minor_formatter(LogFormatter())
        if axes.lines:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def lines(plot: Plot, results: Results) -> Iterator[Line]:
    """One line a contestant: its label, numbers of routes, and values there."""
    for name, entrant in ROSTER.items():
        found = {size: results.median(name, size, plot.operation, plot.metric) for size in results.sizes()}
        known = {size: value * plot.scale for size, value in found.items() if value}
        if known:
            yield entrant.label, list(known), list(known.values())
