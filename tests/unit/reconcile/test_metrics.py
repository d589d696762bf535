"""The dashboard and the documentation name metrics that there are, and all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from prometheus_client import REGISTRY

# It registers the metrics.
import kvproxy.proxy  # noqa: F401

ROOT = Path(__file__).parents[3]
NAME = re.compile(r"jupyterhub_(?:kvproxy|proxy)_[a-z_]+")
#: Of a histogram or a counter, what a query may name.
ENDS = re.compile("_(?:bucket|count|sum)$")


def there() -> set[str]:
    """Names of all that the registry has of the proxy, as queries name them."""
    names = {sample.name for metric in REGISTRY.collect() for sample in metric.samples} | {
        metric.name for metric in REGISTRY.collect() if metric.type == "gauge"
    }
    return {ENDS.sub("", name) for name in names if NAME.fullmatch(name) and not name.endswith("_created")}


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    """A misspelled name would show nothing, for ever."""
    board = json.loads((ROOT / "examples" / "grafana" / "kvproxy.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = {ENDS.sub("", name) for query in queries for name in NAME.findall(query)}
    assert asked <= there()
    assert {name for name in there() if "kvproxy" in name} <= asked


def test_the_alerts_ask_for_metrics_that_there_are() -> None:
    """A misspelled name would never raise one."""
    groups = yaml.safe_load((ROOT / "examples" / "prometheus" / "kvproxy.rules.yaml").read_text())["groups"]
    queries = [rule["expr"] for group in groups for rule in group["rules"]]
    assert all(NAME.search(query) for query in queries)
    assert {ENDS.sub("", name) for query in queries for name in NAME.findall(query)} <= there()


def test_the_documentation_names_each_alert() -> None:
    """And none that there is not."""
    text = (ROOT / "docs" / "how-to" / "metrics.md").read_text()
    groups = yaml.safe_load((ROOT / "examples" / "prometheus" / "kvproxy.rules.yaml").read_text())["groups"]
    assert set(re.findall(r"`(Kvproxy\w+)`", text)) == {rule["alert"] for group in groups for rule in group["rules"]}


def test_the_documentation_tells_of_each() -> None:
    """By its name."""
    text = (ROOT / "docs" / "how-to" / "metrics.md").read_text()
    told = set(NAME.findall("\n".join(line for line in text.splitlines() if line.startswith("|"))))
    assert {name for name in there() if "kvproxy" in name} == {name for name in told if "kvproxy" in name}
