"""The newcomer's first command: a complete hub, which leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
import requests
from bs4 import BeautifulSoup
from redis import Redis

from kvproxy.demo.site import main
from kvproxy.testing.servers import accepts, free_port, wait_until

START_SECONDS = 150
STOP_SECONDS = 60
SPAWN_SECONDS = 100

pytestmark = [pytest.mark.hub, pytest.mark.timeout(START_SECONDS + STOP_SECONDS + SPAWN_SECONDS)]


def _as_on_a_terminal() -> None:
    """A job of a shell that is not interactive has SIGINT ignored, one below nohup SIGHUP."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class RunningDemo:
    """``python -m kvproxy.demo`` with a temporary directory of its own, so that leftovers can be seen."""

    def __init__(self, directory: Path, *arguments: str, module: Sequence[str] = ("kvproxy.demo",)):
        self.temporary = directory / "t"
        self.temporary.mkdir()
        self.output_path = directory / "output"
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module, *arguments],
                env={**os.environ, "TMPDIR": str(self.temporary)},
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_as_on_a_terminal,
            )

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def printed(self, name: str) -> str:
        """The value printed after that name; waits for it."""
        find = re.compile(rf"^ *{name}: +(\S+)", re.MULTILINE).search
        match = wait_until(lambda: find(self.output) or self._ended(), f"{name} is printed", START_SECONDS)
        return match[1]

    def _ended(self) -> None:
        assert self.process.poll() is None, self.output

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@pytest.fixture
def demo(tmp_path):
    started = []

    def start(*arguments: str, **options: Sequence[str]) -> RunningDemo:
        started.append(RunningDemo(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGTERM)


def log_in(browser: requests.Session, url: str, name: str, password: str) -> requests.Response:
    page = browser.get(f"{url}/hub/login")
    token = BeautifulSoup(page.text, "html.parser").find("input", {"name": "_xsrf"})["value"]
    form = {"username": name, "password": password, "_xsrf": token}
    return browser.post(f"{url}/hub/login", data=form)


def open_lab(browser: requests.Session, url: str, name: str) -> requests.Response:
    """The user's JupyterLab page, once the server runs."""

    def get() -> requests.Response | None:
        page = browser.get(f"{url}/user/{name}/lab")
        # While the server starts, the hub's own pages answer.
        return page if page.status_code == 200 and "jupyter-config-data" in page.text else None

    return wait_until(get, f"JupyterLab of {name} answers", SPAWN_SECONDS)


def listening_to_redis(directory: Path) -> set[str]:
    """The Redis users who listen to keys; notifications are off all the same."""
    (redis,) = directory.glob("kvproxy-demo-*/redis")
    settings = (redis / "redis.conf").read_text()
    (port,) = re.findall(r"^port (\d+)$", settings, re.MULTILINE)
    (quoted,) = re.findall(r'^requirepass "(.*)"$', settings, re.MULTILINE)
    password = quoted.encode().decode("unicode_escape")
    with Redis(port=int(port), password=password, decode_responses=True) as client:
        assert client.config_get("notify-keyspace-events") == {"notify-keyspace-events": ""}
        return {listener["user"] for listener in client.client_list(_type="pubsub")}


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    sockets = [c for p in processes for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    return {(c.laddr.ip, c.laddr.port) for c in sockets}


def test_demo_serves_jupyterlab_and_leaves_nothing(demo):
    port = free_port()
    running = demo("--port", str(port))
    url, name, password = (running.printed(word) for word in ("Open", "User name", "Password"))
    assert url == f"http://127.0.0.1:{port}"
    with requests.Session() as browser:
        assert log_in(browser, url, name, "wrong").status_code == 403
        log_in(browser, url, name, password).raise_for_status()
        browser.get(f"{url}/hub/spawn").raise_for_status()
        open_lab(browser, url, name)
    assert listening_to_redis(running.temporary) == {"traefik"}
    processes = running.family()
    assert any("singleuser" in " ".join(p.cmdline()) for p in processes)
    assert not any(password in " ".join(p.cmdline()) for p in processes)
    sockets = listening(processes)
    assert {ip for ip, _ in sockets} <= {"127.0.0.1", "::1"}

    assert running.end(signal.SIGINT) == 0, running.output
    assert [p for p in processes if p.is_running()] == []
    assert [port for _, port in sockets if accepts(port)] == []
    assert list(running.temporary.iterdir()) == []


def test_demo_takes_another_port_when_its_own_is_taken(demo):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = demo("--port", str(port))
        url = running.printed("Open")
    assert f"Port {port} cannot be used here" in running.output
    assert requests.get(f"{url}/hub/login").status_code == 200
    assert running.end(signal.SIGTERM) == 0
    assert list(running.temporary.iterdir()) == []


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_demo_refuses_what_is_no_port(capsys, port):
    with pytest.raises(SystemExit) as ended:
        main([f"--port={port}"])
    assert ended.value.code == 2
    assert f"{port} is not a port; ports go from 1 to 65535" in capsys.readouterr().err


def test_demo_stops_while_it_starts(demo):
    running = demo("--port", str(free_port()), module=("kvproxy", "demo"))
    wait_until(lambda: "Starting" in running.output, "the demo starts", 30)
    processes = running.family()
    assert running.end(signal.SIGHUP) == 0, running.output
    assert [p for p in processes if p.is_running()] == []
    assert list(running.temporary.iterdir()) == []


def test_demo_says_why_the_hub_ended(demo):
    running = demo("--port", str(free_port()))
    running.printed("Open")
    (hub,) = (p for p in running.family() if p.cmdline()[1:3] == ["-m", "jupyterhub"])
    processes = running.family()
    hub.kill()
    assert running.process.wait(STOP_SECONDS) == 1
    assert "JupyterHub ended by itself. Its last log lines:" in running.output
    assert [p for p in processes if p.is_running()] == []
    assert list(running.temporary.iterdir()) == []
