"""The process that forks hubs: what it forks is as if its command had been started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvproxy.testing.hub.fork_server import FORK_SERVER
from kvproxy.testing.servers.programs import Process, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="hubs are forked on Linux only")
COMMAND = [sys.executable, "-m", "example"]
MODULE = """
import atexit, os, sys, time
atexit.register(print, "the end")
print(sys.argv[1:], __name__, os.getcwd(), os.environ["KVPROXY_TEST_HUB"], os.getpid() == os.getsid(0))
if sys.argv[1] == "fail":
    sys.exit("It fails.")
sys.stdout.flush()
time.sleep(60)
"""


ENVIRONMENT = {**os.environ, "KVPROXY_TEST_HUB": "x"}


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """Starts the module with an argument, in its folder."""
    (tmp_path / "example.py").write_text(MODULE)
    with (tmp_path / "log").open("ab") as log, open(os.devnull, "rb") as nothing:
        files = [file.fileno() for file in (nothing, log, log)]
        yield lambda how: FORK_SERVER.start([*COMMAND, how], ENVIRONMENT, tmp_path, files)


def test_arguments_folder_environment_output_and_exit_status(example: Callable[[str], Process], tmp_path: Path) -> None:
    """Handlers at exit run, too."""
    forked = example("fail")
    assert forked.wait(10) == forked.poll() == 1
    printed = {"It fails.", f"['fail'] __main__ {tmp_path} x True", "the end"}
    assert set((tmp_path / "log").read_text().splitlines()) == printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_it(example: Callable[[str], Process], tmp_path: Path, number: int) -> None:
    """Also one that it cannot handle; and no process is left."""
    forked = example("wait")
    wait_until(lambda: "True" in (tmp_path / "log").read_text(), "it runs")
    assert forked.poll() is None
    forked.send_signal(number)
    assert forked.wait(10) == -number
    assert not Path(f"/proc/{forked.pid}").exists()


def test_only_modules_in_the_environment_of_the_tests_are_forked() -> None:
    """Anything else is started as it is: imports may depend on it."""
    assert FORK_SERVER.forks(COMMAND, ENVIRONMENT)
    assert not FORK_SERVER.forks(COMMAND, {**ENVIRONMENT, "PYTHONPATH": "elsewhere"})
    assert not FORK_SERVER.forks(["traefik"], ENVIRONMENT)
    assert not FORK_SERVER.forks([sys.executable, "-c", ""], ENVIRONMENT)
