"""The study of two tiers: its table, made from results that stand here; nothing is measured."""

from __future__ import annotations

import argparse

import pytest

from benchmarks import tiers
from benchmarks.results import Results, Row


def row(name: str, operation: str, metric: str, value: float, size: int = 10, note: str = "", sample: int = 0) -> Row:
    return Row(name, size, operation, 0, sample, metric, value, note)


def cells(*rows: Row) -> dict[str, list[str]]:
    """The table's rows by their titles, without the head."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tiers.table(Results(rows)).splitlines()]
    return {title: found for title, *found in lines[2:]}


def test_all_is_compared_with_one_tier() -> None:
    """Each row with the value of one tier, a hot route with a settled one."""
    found = cells(
        *(row(name, "stream", "add_s", value) for name, value in (("one", 0.01), ("two", 0.02), (tiers.CHP, 0.005))),
        *(row("one", "stream", "traefik_cpu_s", 0.008), row(tiers.CHP, "stream", "proxy_cpu_s", 0.001)),
        *(row("one", "rest", "pss_b", 50 * 2**20), row("two", "rest", "pss_b", 100 * 2**20)),
        row("two", "rest", "second_uss_b", 40 * 2**20),
        *(row("one", "settled", "request_cpu_s", value, sample=n) for n, value in enumerate((9e-5, 1e-4, 5e-4))),
        *(row("two", "settled", "request_cpu_s", 1e-4), row("two", "hot", "request_cpu_s", 2e-4)),
    )
    assert found == {
        "`one`: one route, median": ["1 x (10 ms)"],
        "`two`: one route, median": ["2 x (20 ms)"],
        "configurable-http-proxy: one route, median": ["0.5 x (5 ms)"],
        "`one`: CPU of all Traefiks a route": ["1 x (8 ms)"],
        "configurable-http-proxy: CPU a route": ["0.125 x (1 ms)"],
        "`one`: memory of all Traefiks": ["1 x (50 MiB)"],
        "`two`: memory of all Traefiks": ["2 x (100 MiB)"],
        "`two`: memory that the second Traefik adds": ["0.8 x (40 MiB)"],
        "`one`: CPU of all Traefiks a request to a settled route": ["1 x (100 µs)"],
        "`two`: CPU of all Traefiks a request to a settled route": ["1 x (100 µs)"],
        "`two`: CPU of all Traefiks a request to a hot route": ["2 x (200 µs)"],
    }


def test_the_others_are_compared_too() -> None:
    """The peer and an earlier build, which may have not come to the end."""
    found = cells(
        *(row(name, "stream", "add_s", value) for name, value in (("one", 0.01), (tiers.PEER, 0.5))),
        *(row(name, "stream", "traefik_cpu_s", value) for name, value in (("one", 0.01), (tiers.PEER, 0.2))),
        row(tiers.BEFORE, "stream", "error", 0, note="not finished in 300 s"),
    )
    assert found["jupyterhub-traefik-proxy: one route, median"] == ["50 x (500 ms)"]
    assert found["jupyterhub-traefik-proxy: CPU of its Traefik a route"] == ["20 x (200 ms)"]
    assert found["an earlier build: one route, median"] == ["not finished in 300 s"]


def test_missing_values_are_explained_or_left_out() -> None:
    """At one of two sizes the hot routes were moved; without configurable-http-proxy there are no rows of it."""
    found = cells(
        *(row("one", "settled", "request_cpu_s", 1e-4, size) for size in (10, 100)),
        row("two", "hot", "request_cpu_s", 3e-4, 10),
        row("two", "hot", "error", 0, 100, "moved meanwhile"),
    )
    assert found["`two`: CPU of all Traefiks a request to a hot route"] == ["3 x (300 µs)", "moved meanwhile"]
    assert not [title for title in found if tiers.CHP in title]


def test_the_streams_of_all_that_took_part_are_told() -> None:
    found = Results([row(name, "stream", "add_s", 1, size) for name in ("one", tiers.CHP) for size in (1000, 5000)])
    assert tiers.conditions(found).endswith("64, 16, 512, 512")
    found.machine = {"versions": {tiers.PEER: "2.1.0", tiers.BEFORE: "2b0da87"}}
    assert "jupyterhub-traefik-proxy 2.1.0; an earlier build: 2b0da87" in tiers.conditions(found)


def test_a_proxy_that_is_not_installed_is_left_out_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    """Neither in PATH nor named, or named and not there."""
    monkeypatch.setattr(tiers, "own_versions", lambda stores: {"traefik": "3.7"})
    monkeypatch.setenv("PATH", "")
    parser = argparse.ArgumentParser()
    tiers.add_options(parser)
    for arguments, why in (([], "not in PATH"), (["--chp", str(tmp_path / "missing")], "No such file")):
        assert tiers.versions(parser.parse_args(arguments)) == {"traefik": "3.7"}
        assert why in capsys.readouterr().out
