"""Results as they stand in the cells of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from benchmarks.results import Results

#: Given results, a contestant and a number of routes, the text of a cell; empty if there is nothing to say.
Cell: TypeAlias = Callable[[Results, str, int], str]


def figure(value: float) -> str:
    """Three significant digits, as anything beyond is noise."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def beside(value: float | None, other: float | None, scale: float, unit: str) -> str:
    """``2.1 x (25 ms)``: how many times another value, and in brackets what it is; empty if there is not both."""
    return f"{figure(value / other)} x ({figure(scale * value)} {unit})" if value and other else ""


def faster(operation: str) -> Cell:
    """A cell that says how many times faster than the peer, until the call returned; median of each."""

    def cell(results: Results, contestant: str, size: int) -> str:
        peer, ours = (results.median(name, size, operation, "returned_s") for name in ("peer", contestant))
        if peer and ours:
            return f"{figure(peer / ours)} x"
        if why := results.error("peer", size, operation):
            return f"(peer: {why})"
        return results.error(contestant, size, operation)

    return cell


def time(operation: str, metric: str = "returned_s", *, p90: bool = True) -> Cell:
    """A cell with a median and, behind it, what nine of ten calls do not exceed, in milliseconds."""

    def cell(results: Results, contestant: str, size: int) -> str:
        median, most = (f(contestant, size, operation, metric) for f in (results.median, results.p90))
        why = results.error(contestant, size, operation)
        if median is None or most is None:
            return why
        shown = figure(1000 * median) + (f" / {figure(1000 * most)}" if p90 else "")
        return f"{shown} (then {why})" if why else shown

    return cell


def pair(operation: str, first: str, second: str) -> Cell:
    """A cell with the medians of two metrics in milliseconds."""

    def cell(results: Results, contestant: str, size: int) -> str:
        values = [results.median(contestant, size, operation, metric) for metric in (first, second)]
        return " / ".join(figure(1000 * value) for value in values if value is not None)

    return cell


def mean(operation: str, metric: str, scale: float = 1.0, *, why: bool = False) -> Cell:
    """A cell with a mean; if there is none, empty, or if ``why`` with what kept the operation from its end."""

    def cell(results: Results, contestant: str, size: int) -> str:
        value = results.mean(contestant, size, operation, metric)
        if value is None:
            return results.error(contestant, size, operation) if why else ""
        return figure(scale * value)

    return cell


def at_return(operation: str) -> Cell:
    """A cell that says how many of the new servers were reached when the calls had returned."""

    def cell(results: Results, contestant: str, size: int) -> str:
        value = results.mean(contestant, size, operation, "served_at_return")
        return "" if value is None else f"{100 * value:.3g} %"

    return cell


def yes_or_no(operation: str, metric: str) -> Cell:
    """A cell that says whether something happened at all."""

    def cell(results: Results, contestant: str, size: int) -> str:
        value = results.mean(contestant, size, operation, metric)
        return "" if value is None else "yes" if value else "no"

    return cell


def failures(operation: str) -> Cell:
    """A cell with the number of failed requests of all, empty if there was none."""

    def cell(results: Results, contestant: str, size: int) -> str:
        failed, all_of_them = (results.mean(contestant, size, operation, m) for m in ("failed", "requests"))
        return f"{failed:,.0f} of {all_of_them:,.0f}" if failed and all_of_them else ""

    return cell
