"""JupyterHub's own test suite on this proxy: routing by path, by host name, and with internal_ssl.

Each module is run by a pytest of its own, with the settings beside this file. HUBSUITE_MODULES names further modules.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvproxy.testing.servers import free_port

HERE = Path(__file__).parent
TESTS = "jupyterhub.tests.test"
FURTHER = os.environ.get("HUBSUITE_MODULES", "").split()
#: The longest first.
PATH_MODULES = [*(f"{TESTS}_{name}" for name in ("named_servers", "spawner", "proxy", "services")), *FURTHER]
#: The other tests of spawners and named servers ask for no routes, or for the same whatever the host.
HOST_PARTS = ["named_servers::test_create_or_start_named_server", "spawner::test_spawner_routing", "proxy", "services"]
HOST_MODULES = [*(f"{TESTS}_{name}" for name in HOST_PARTS), *FURTHER]
SSL_MODULES = [
    *(f"{TESTS}_{name}" for name in ("proxy", "services")),
    f"{TESTS}_internal_ssl_connections",
    f"{TESTS}_internal_ssl_connections_external_authorities",
    *FURTHER,
]

# A module takes up to three minutes if the machine is busy.
pytestmark = pytest.mark.timeout(600)


def run(module: str, **environment: str) -> None:
    """Run the tests of a module."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    settings = ["-c", str(HERE / "pytest.ini"), "-p", "kvproxy.testing.hubsuite"]
    command = [sys.executable, "-m", "pytest", *settings, "--pyargs", module]
    done = subprocess.run(command, env={**own, **environment}, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class TestByPath:
    @pytest.mark.parametrize("module", PATH_MODULES)
    def test_module(self, module: str) -> None:
        """The path tells the server."""
        run(module)


class TestByHostName:
    @pytest.mark.parametrize("module", HOST_MODULES)
    def test_module(self, module: str) -> None:
        """The host name tells the user."""
        # The name is the one that JupyterHub's own builds use; the plugin resolves it, so that no DNS is needed.
        run(module, JUPYTERHUB_TEST_SUBDOMAIN_HOST=f"http://localhost.jovyan.org:{free_port()}")


class TestInternalSsl:
    @pytest.mark.parametrize("module", SSL_MODULES)
    def test_module(self, module: str) -> None:
        """JupyterHub's own builds switch internal_ssl on for all hubs in the same way."""
        run(module, SSL_ENABLED="1")
