"""The hub's own ``/hub/metrics`` tells of the proxy."""

from __future__ import annotations

import re

import pytest
import requests

from kvproxy.testing.hub import HubProcess
from kvproxy.testing.servers import RedisServer, wait_until

pytestmark = [pytest.mark.hub, pytest.mark.timeout(180)]


@pytest.fixture
def running(hub_factory, redis_server: RedisServer) -> HubProcess:
    """A hub whose metrics are public."""
    hub = hub_factory({"TraefikRedisProxy.redis_url": redis_server.url, "JupyterHub.authenticate_prometheus": False})
    hub.start()
    return hub


def metrics(hub: HubProcess) -> dict[str, float]:
    """All that have a value, by name and labels."""
    text = requests.get(f"{hub.url}/hub/metrics", timeout=10).text
    found = re.findall(r"^(jupyterhub_(?:kvproxy|proxy_poll)\S*) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_the_hubs_metrics_tell_of_the_proxy(running: HubProcess, redis_server: RedisServer) -> None:
    """Commits, routes, Traefik's replicas, the hub's own poll; and that a store was emptied and put right."""
    before = metrics(running)
    assert before["jupyterhub_kvproxy_routes"] >= 1
    assert before["jupyterhub_kvproxy_commit_duration_seconds_count"] >= 1
    assert before["jupyterhub_kvproxy_route_ready_seconds_count"] >= 1
    assert before["jupyterhub_kvproxy_operations_total"] > before["jupyterhub_kvproxy_commit_duration_seconds_count"]
    assert before["jupyterhub_proxy_poll_duration_seconds_count"] >= 1
    assert before["jupyterhub_kvproxy_edits_waiting"] == 0
    assert [value for name, value in before.items() if "replica_up" in name] == [1]
    assert before["jupyterhub_kvproxy_repairs_total"] == 0
    redis_server.command("FLUSHALL")
    wait_until(lambda: metrics(running)["jupyterhub_kvproxy_repairs_total"] > 0, "the repair", 15)
    wait_until(lambda: not any(v for n, v in metrics(running).items() if "replica_lag" in n), "Traefik", 15)
