"""Real processes, looked after as children or as other processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kvproxy.errors import TraefikError
from kvproxy.process.adoption import Identity
from kvproxy.process.child import ChildProcess, of_file, running, this_process
from kvproxy.testing.servers.programs import wait_until

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]

#: Its first thread ends at once, another holds on until it is killed.
HEADLESS = [
    sys.executable,
    "-c",
    "import ctypes, threading, time; threading.Thread(target=lambda: time.sleep(600)).start(); print('up', flush=True);"
    "ctypes.CDLL(None).pthread_exit(None)",
]

Begin = Callable[[list[str]], ChildProcess]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts a program and waits until it is up."""
    begun: list[ChildProcess] = []

    def begin(arguments: list[str]) -> ChildProcess:
        file = tmp_path / f"output{len(begun)}"
        with file.open("wb") as output:
            begun.append(ChildProcess.start(arguments, {**os.environ, "MARK": "1"}, output))
        wait_until(lambda: "up" in file.read_text(), "the program runs")
        return begun[-1]

    yield begin
    for process in begun:
        process.stop(10)


def test_a_child_tells_how_it_has_ended(begin: Begin) -> None:
    """By a signal, or by itself."""
    killed = begin(SLEEP)
    assert killed.alive
    assert killed.stop(10)
    assert not killed.alive
    assert killed.ending == "was killed by signal 15"
    assert killed.stop(10)
    ended = begin([sys.executable, "-c", "print('up', flush=True); raise SystemExit(3)"])
    wait_until(lambda: not ended.alive, "it has ended")
    assert ended.ending == "ended with exit status 3"


def test_one_that_does_not_listen_is_killed(begin: Begin) -> None:
    """Once its time is over."""
    process = begin(STUBBORN)
    assert not process.stop(0.2)
    assert not process.alive
    assert process.ending == "was killed by signal 9"


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere a process ends as a whole")
def test_one_whose_first_thread_has_ended_still_runs(begin: Begin) -> None:
    """It holds its ports, although Linux calls it a zombie already."""
    child = begin(HEADLESS)
    there = psutil.Process(child.identity.pid)
    wait_until(lambda: there.status() == psutil.STATUS_ZOMBIE, "its first thread has ended")
    other = ChildProcess.find(child.identity)
    assert other.alive
    there.kill()
    wait_until(lambda: not other.alive, "its end is seen")
    assert there.is_running()  # its exit status has not been fetched


def test_somebody_elses_process_is_seen_to_end(begin: Begin) -> None:
    """Also if its exit status is not fetched, as in a container without an init."""
    child = begin(SLEEP)
    other = ChildProcess.find(child.identity)
    assert other.alive
    os.kill(child.identity.pid, signal.SIGKILL)
    wait_until(lambda: not other.alive, "its end is seen")
    assert "earlier hub" in other.ending
    assert running([child.identity.pid]) == {}  # although it is there, as a zombie
    assert not child.alive
    with pytest.raises(TraefikError, match="has ended"):
        ChildProcess.find(child.identity)


def test_somebody_elses_process_is_stopped(begin: Begin) -> None:
    """Politely or not."""
    for arguments, politely in [(SLEEP, True), (STUBBORN, False)]:
        child = begin(arguments)
        assert ChildProcess.find(child.identity).stop(0.5 if not politely else 10) is politely
        assert not child.alive


def test_a_process_of_another_user_is_none_of_ours(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any command line and any record."""
    child = begin(SLEEP)
    pid = child.identity.pid
    assert pid in running([pid])
    monkeypatch.setattr(os, "geteuid", lambda: psutil.Process(pid).uids().effective + 1)
    assert running([pid]) == {}


def test_a_traefik_is_found_by_its_configuration_file(begin: Begin, tmp_path: Path) -> None:
    """Its path must mean the same file to it; others on the same machine may have one of the same name."""
    file = tmp_path / "traefik.toml"
    child = begin([*SLEEP, "--configfile", str(file)])
    assert [*of_file(file)] == [child.identity.pid]
    assert of_file(tmp_path / "other" / "traefik.toml") == {}


def test_a_process_is_known_by_more_than_its_id(begin: Begin) -> None:
    """From another process as well, which is what the next hub is."""
    child = begin(SLEEP)
    script = (
        "import dataclasses, json; from kvproxy.process.child import running; "
        f"print(json.dumps(dataclasses.asdict(running([{child.identity.pid}])[{child.identity.pid}].identity)))"
    )
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert Identity(**json.loads(seen)).is_same(child.identity)
    assert running([child.identity.pid])[child.identity.pid].identity.is_same(child.identity)
    with pytest.raises(TraefikError, match="has ended"):
        ChildProcess.find(replace(child.identity, started=child.identity.started - 5))
    assert not this_process().is_same(child.identity)
    assert this_process().is_same(this_process())
