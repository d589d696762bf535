"""The process that forks hubs: what it forks is as if its command had been started."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from kvproxy.testing.hub.fork_server import ForkServer
from kvproxy.testing.servers import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="hubs are forked on Linux only")
MODULE = """
import atexit, os, sys, time
atexit.register(print, "the end")
print(sys.argv[1:], __name__, os.getcwd(), os.environ["KVPROXY_TEST_HUB"], os.getpid() == os.getsid(0))
if sys.argv[1] == "fail":
    sys.exit("It fails.")
sys.stdout.flush()
time.sleep(60)
"""


@pytest.fixture(scope="module")
def fork_server() -> ForkServer:
    return ForkServer()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a module that is in the same folder."""
    (tmp_path / "example.py").write_text(MODULE)
    return tmp_path / "log"


def test_arguments_folder_environment_output_and_exit_status(fork_server: ForkServer, log: Path) -> None:
    """Handlers at exit run, too."""
    forked = fork_server.start([sys.executable, "-m", "example", "fail"], {**os.environ, "KVPROXY_TEST_HUB": "x"}, log)
    assert forked is not None
    assert forked.wait(10) == forked.poll() == 1
    assert set(log.read_text().splitlines()) == {"It fails.", f"['fail'] __main__ {log.parent} x True", "the end"}


def test_signals_reach_it(fork_server: ForkServer, log: Path) -> None:
    """Also those that it cannot handle; and no process is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        forked = fork_server.start([sys.executable, "-m", "example", ""], {**os.environ, "KVPROXY_TEST_HUB": "x"}, log)
        assert forked is not None
        wait_until(lambda: log.exists() and "True" in log.read_text(), "it runs")
        assert forked.poll() is None
        forked.send_signal(number)
        assert forked.wait(10) == -number
        assert not Path(f"/proc/{forked.pid}").exists()
        log.unlink()


@pytest.mark.parametrize("command", [["traefik"], [sys.executable, "-c", ""]])
def test_a_command_that_is_no_module_is_not_forked(fork_server: ForkServer, log: Path, command: list[str]) -> None:
    """It is started as it is."""
    assert fork_server.start(command, os.environ, log) is None


def test_another_environment_than_the_tests_is_not_forked(fork_server: ForkServer, log: Path) -> None:
    """Imports may depend on it."""
    command = [sys.executable, "-m", "jupyterhub"]
    assert fork_server.start(command, {**os.environ, "PYTHONPATH": "elsewhere"}, log) is None
