"""Ports for servers of tests."""

from __future__ import annotations

import subprocess
import sys

from kvproxy.testing.servers import free_port

COUNT = 100
GIVE = f"from kvproxy.testing.servers import free_port; print(*(free_port() for _ in range({COUNT}))); input()"


def test_processes_are_given_different_ports() -> None:
    """For as long as they run, though nothing listens there yet."""
    children = [
        subprocess.Popen([sys.executable, "-c", GIVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    given = [[*map(int, str(child.stdout and child.stdout.readline()).split())] for child in children]
    given.append([free_port() for _ in range(COUNT)])
    for child in children:
        child.communicate("\n")
    assert [len(ports) for ports in given] == [COUNT] * 4
    assert len({port for ports in given for port in ports}) == 4 * COUNT


def test_a_process_is_given_no_port_twice() -> None:
    """A test may have noted it for a server that does not listen yet."""
    given = [free_port() for _ in range(10 * COUNT)]
    assert len(set(given)) == len(given)
