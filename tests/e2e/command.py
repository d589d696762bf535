"""The command ``kvproxy``: in this process, which is quick, and as one of its own, without a terminal and on one."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from click.testing import CliRunner

from kvproxy.cli.main import group
from kvproxy.testing.hub.fork_server import FORK_SERVER
from kvproxy.testing.servers import wait_until

COMMAND = [sys.executable, "-m", "kvproxy"]
_SECONDS = 60


@dataclass(frozen=True)
class Done:
    """A command's output, and its exit status."""

    status: int
    out: str
    err: str


def kvproxy(directory: Path, *arguments: str, **environment: str) -> Done:
    """Run a command in the hub's directory, in this process: JupyterHub need not be imported each time."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        done = CliRunner(env=environment).invoke(group, arguments)
    finally:
        os.chdir(before)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def process(directory: Path, *arguments: str) -> Done:
    """Run a command in the hub's directory as a process of its own, without a terminal."""
    with open(os.devnull) as nothing, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        files = [file.fileno() for file in (nothing, out, err)]
        status = FORK_SERVER.start([*COMMAND, *arguments], os.environ, directory, files).wait(_SECONDS)
        done = Done(status, *(file.seek(0) or file.read() for file in (out, err)))
    assert "Traceback" not in done.err
    return done


def on_terminal(directory: Path, *arguments: str, width: int = 120) -> str:
    """Return a command's output on a terminal, colours and all; it must end by itself."""
    with _terminal(directory, arguments, width) as (process, read):
        printed = ""
        deadline = time.monotonic() + _SECONDS
        while (more := read()) or process.poll() is None:
            printed += more
            assert time.monotonic() < deadline, printed
    return printed


@contextlib.contextmanager
def watching(directory: Path, *arguments: str, width: int = 120) -> Iterator[Any]:
    """A command on a terminal that goes on; gives back a function that tells what it has printed so far.

    It is ended by Ctrl-C, and must end well.
    """
    printed: list[str] = []
    with _terminal(directory, arguments, width) as (process, read):

        def so_far() -> str:
            printed.append(read())
            return "".join(printed)

        yield so_far
        process.send_signal(signal.SIGINT)
        # Output that is not read would keep it from ending.
        wait_until(lambda: (so_far(), process.poll() is not None)[1], "it ends", _SECONDS)
        assert process.wait() == 0, so_far()


@contextlib.contextmanager
def _terminal(directory: Path, arguments: tuple[str, ...], width: int) -> Iterator[Any]:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(width), "LINES": "40", "PAGER": "cat"}
    environment.pop("NO_COLOR", None)
    process = FORK_SERVER.start([*COMMAND, *arguments], environment, directory, [theirs] * 3)
    os.close(theirs)

    def read() -> str:
        """Return the output within a moment; empty also if the command has ended."""
        ready, _, _ = select.select([ours], [], [], 0.1)
        try:
            return os.read(ours, 65536).decode(errors="replace") if ready else ""
        except OSError:
            return ""

    try:
        yield process, read
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(ours)


def documented(page: str) -> list[list[str]]:
    """The arguments of all commands of ``kvproxy`` that a page of the documentation shows."""
    text = (Path(__file__).parents[2] / "docs/how-to" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines() if line.startswith("kvproxy ")]


def plain(text: str) -> str:
    """The printed text, without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def write_config(directory: Path, settings: Mapping[str, Any]) -> None:
    """A hub's configuration file, private as it should be."""
    file = directory / "jupyterhub_config.py"
    file.touch(0o600)
    file.write_text("".join(f"c.{name} = {value!r}\n" for name, value in settings.items()))
