"""The alert rules: taken by Prometheus' own promtool, each raised by what it is for, and none by a hub that is well.

Where promtool can neither be found nor fetched, each rule is parsed as YAML and looked at for names only, and the
summary says so.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvproxy.testing.servers.debian import debian_program
from kvproxy.testing.servers.programs import ServerError

from .blocks import ROOT
from .test_examples import missing  # noqa: F401 - a fixture

pytestmark = pytest.mark.timeout(240)

RULES = ROOT / "examples/prometheus/kvproxy.rules.yaml"
PREFIX = "jupyterhub_kvproxy_"
LABELS = 'job="hub", instance="hub:8081"'
#: A hub that is well, minute by minute: some 20 routes are added a minute, each served within a second.
WELL = {
    f"{PREFIX}routes{{{LABELS}}}": "100+20x40",
    f"{PREFIX}edits_waiting{{{LABELS}}}": "0x40",
    f"{PREFIX}store_failures_total{{{LABELS}}}": "3x40",
    f"{PREFIX}repairs_total{{{LABELS}}}": "2x40",
    f"{PREFIX}traefik_renotifications_total{{{LABELS}}}": "1x40",
    f"{PREFIX}routes_not_ready_total{{{LABELS}}}": "0x40",
    f'{PREFIX}route_ready_seconds_bucket{{{LABELS}, le="1.0"}}': "0+20x40",
    f'{PREFIX}route_ready_seconds_bucket{{{LABELS}, le="10.0"}}': "0+20x40",
    f'{PREFIX}route_ready_seconds_bucket{{{LABELS}, le="+Inf"}}': "0+20x40",
    **{
        f'{PREFIX}{name}{{{LABELS}, replica="http://{replica}:8099"}}': value
        for replica in ("one", "two")
        for name, value in (("replica_up", "1x40"), ("replica_lag_seconds", "0x40"), ("traefik_memory_bytes", "2e8x40"))
    },
}
FIRST = f'{LABELS}, replica="http://one:8099"'
SECOND = f'{LABELS}, replica="http://two:8099"'
TOLD = {f"{PREFIX}traefik_renotifications_total{{{LABELS}}}": "0+1x40"}
#: Faults by name, each with the alerts that it raises.
CASES: dict[str, tuple[set[str], dict[str, str]]] = {
    "a hub that is well": (set(), {}),
    "a reload that takes a moment": (set(), {f"{PREFIX}replica_lag_seconds{{{FIRST}}}": "0 2 0 0 3 0 0x34"}),
    "a store that is away": (
        {"KvproxyStoreAway"},
        {f"{PREFIX}edits_waiting{{{LABELS}}}": "5x40", f"{PREFIX}store_failures_total{{{LABELS}}}": "0+6x40"},
    ),
    "a replica that is away": ({"KvproxyReplicaDown"}, {f"{PREFIX}replica_up{{{FIRST}}}": "0x40"}),
    "a replica behind": ({"KvproxyReplicaBehind"}, {f"{PREFIX}replica_lag_seconds{{{FIRST}}}": "4x40", **TOLD}),
    "a key that Traefik cannot decode": (
        {"KvproxyReplicaBehind", "KvproxyNoReplicaFollows"},
        {f"{PREFIX}replica_lag_seconds{{{one}}}": "4x40" for one in (FIRST, SECOND)} | TOLD,
    ),
    "failed adds": ({"KvproxyRoutesNotServed"}, {f"{PREFIX}routes_not_ready_total{{{LABELS}}}": "0+1x40"}),
    "repairs": ({"KvproxyRepairs"}, {f"{PREFIX}repairs_total{{{LABELS}}}": "0+2x40"}),
    "slow reloads": (
        {"KvproxyRoutesSlow"},
        {f'{PREFIX}route_ready_seconds_bucket{{{LABELS}, le="1.0"}}': "0x40"},
    ),
    "a Traefik that grows": ({"KvproxyTraefikGrows"}, {f"{PREFIX}traefik_memory_bytes{{{SECOND}}}": "9e8x40"}),
    "no hub": ({"KvproxyMetricsMissing"}, dict.fromkeys(WELL, "")),
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def find_promtool() -> str | None:
    """That of the machine, else Debian's."""
    if program := shutil.which("promtool"):
        return program
    try:
        return str(debian_program("prometheus", "", "usr/bin/promtool"))
    except ServerError:
        return None


def promtool(*arguments: str | Path) -> str | None:
    """The output of promtool, which must succeed; None if it is not installed."""
    if (program := find_promtool()) is None:
        return None
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_case_has_its_alert_and_each_alert_its_case() -> None:
    """And each says what it means, for how urgent it is."""
    assert {name for raised, _ in CASES.values() for name in raised} == {rule["alert"] for rule in rules()}
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_promtool_takes_the_rules(missing: Callable[[str, str], None]) -> None:  # noqa: F811
    """With nothing to say about them."""
    if (said := promtool("check", "rules", RULES)) is None:
        missing("promtool", "the rules were read as YAML only")
        return
    assert f"{len(rules())} rules found" in said


def test_promtool_takes_the_queries_of_the_dashboard(
    tmp_path: Path,
    missing: Callable[[str, str], None],  # noqa: F811
) -> None:
    """As rules, with an interval in the place of Grafana's."""
    board = json.loads((ROOT / "examples/grafana/kvproxy.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    records = [
        {"record": f"query_{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    if promtool("check", "rules", file) is None:
        missing("promtool", "the dashboard's queries were not parsed")


def test_the_alerts_are_raised_by_what_they_are_for(
    tmp_path: Path,
    missing: Callable[[str, str], None],  # noqa: F811
) -> None:
    """After half an hour of it, and no other is."""
    tests = [case(name, raised, changed) for name, (raised, changed) in CASES.items()]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    if promtool("test", "rules", file) is None:
        missing("promtool", "the alerts were not raised")


def case(name: str, raised: set[str], changed: Mapping[str, str]) -> dict[str, Any]:
    """One for promtool. Alerts that are raised are compared by their number, as labels and texts are the rules' own."""
    assert changed.keys() <= WELL.keys()
    series = {**WELL, **changed}
    counts = [
        {
            "expr": f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}}) > bool 0 or vector(0)',
            "eval_time": "30m",
            "exp_samples": [{"labels": "{}", "value": int(rule["alert"] in raised)}],
        }
        for rule in rules()
    ]
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items() if values],
        "promql_expr_test": counts,
    }


def test_legends_and_alerts_tell_hubs_apart() -> None:
    """By `instance`: Prometheus may look at several."""
    board = json.loads((ROOT / "examples/grafana/kvproxy.json").read_text())
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    assert [target["expr"] for target in targets if "{{instance}}" not in target["legendFormat"]] == []
    for query in [*(target["expr"] for target in targets), *(rule["expr"] for rule in rules())]:
        for labels in re.findall(r"\bby \(([^)]*)\)", query):
            assert "instance" in labels
