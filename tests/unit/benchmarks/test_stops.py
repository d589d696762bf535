"""The table of what stopped servers cost."""

from __future__ import annotations

from benchmarks.stops import Cost, Plan, table


def test_costs_are_ratios_to_the_first_value() -> None:
    """A server each, with the time in brackets."""
    shown = table(Plan(5000, 10, 0.5, "two"), {0.0: Cost(1.0, 5.0, 10), 5.0: Cost(1.0, 1.0, 1)})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines()[2:]]
    assert rows == [["0 s", "1 x (100 ms)", "1 x (500 ms)", "10"], ["5 s", "1 x (100 ms)", "0.2 x (100 ms)", "1"]]
