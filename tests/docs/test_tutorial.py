"""The tutorial, step by step as it is written, by a reader with a Redis but nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import kvproxy
import kvproxy_redis
from kvproxy.testing.hub.browser import open_browser
from kvproxy.testing.hub.browser_user import HubBrowser, quiet_lab
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, accepts, find_redis, find_traefik, wait_until

from .blocks import ROOT, Block, blocks_of, commands

# The first time a browser may have to be fetched.
pytestmark = [pytest.mark.hub, pytest.mark.timeout(900)]

PAGE = "docs/tutorial/index.md"
SHOWN = re.compile(r"^!\[([^\]]*)\]\(([^)]*)\)$", re.MULTILINE)
#: Settings that a reader does not need: other ports, leave to be root, and no question about news.
MORE = """
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.TraefikProxy.traefik_api_url = "http://127.0.0.1:{api}"
c.Spawner.args = {arguments}
c.Spawner.environment = {environment}
"""


@dataclass
class Reader:
    """A reader with a folder and terminals, where 8000 is a free port of this machine."""

    folder: Path
    path: str
    port: int

    def __post_init__(self) -> None:
        self.programs: list[Program] = []
        text = (ROOT / PAGE).read_text(encoding="utf-8").replace("8000", str(self.port))
        self.blocks = list(blocks_of(text, PAGE))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def block(self, beginning: str) -> Block:
        """The first block with a line that begins so."""
        begins = re.compile(rf"^(?:\$ )?{re.escape(beginning)}", re.MULTILINE)
        return next(block for block in self.blocks if begins.search(block.text))

    def _environment(self) -> dict[str, str]:
        # Nothing of the test's own virtual environment but its programs.
        return {**os.environ, "PATH": self.path, "VIRTUAL_ENV": ""}

    def run(self, block: Block) -> str:
        """Return the output of a block's commands; the lines that the page shows must be among it."""
        ran = subprocess.run(
            ["bash", "-euc", commands(block)], cwd=self.folder, env=self._environment(), capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        shown = [line for line in block.text.splitlines() if line.strip("…") and not line.startswith("$ ")]
        for line in shown if block.language == "console" else ():
            pattern = "^" + re.escape(line).replace("…", ".*") + "$"
            assert re.search(pattern, ran.stdout, re.MULTILINE), f"{line}\n{ran.stdout}"
        return ran.stdout

    def open_terminal(self, block: Block, name: str) -> Program:
        """Type what is in a block, whose last program goes on."""
        lines = commands(block).splitlines()
        script = "\n".join([*lines[:-1], f"exec {lines[-1]}"])
        program = Program(["bash", "-euc", script], self.folder / f"{name}.log", self._environment())
        program.start()
        self.programs.append(program)
        return program


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader on whose machine Redis is installed, and the packages that pip would have to fetch."""
    programs = tmp_path / "programs"
    programs.mkdir()
    redis = find_redis()
    for name in ("server", "cli"):
        (programs / f"redis-{name}").symlink_to(redis.with_name(redis.name.replace("server", name)))
    (programs / "traefik").symlink_to(find_traefik())
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([str(programs), beside, os.environ["PATH"]])
    one = Reader(tmp_path, path, free_port())
    yield one
    for program in reversed(one.programs):
        family = psutil.Process(program.pid).children(recursive=True) if program.running else []
        program.stop(30)
        for process in family:
            if process.is_running():
                process.kill()


def give_packages(venv: Path) -> None:
    """The environment of the test, so that pip finds all that it is asked for, and nothing is fetched."""
    (site,) = venv.glob("lib/python*/site-packages")
    # Packages that are installed as a checkout are not below site-packages themselves.
    checkouts = {str(Path(module.__file__).parents[1]) for module in (kvproxy, kvproxy_redis)}
    folders = [folder for folder in sys.path if folder.endswith("-packages")]
    (site / "packages-of-the-test.pth").write_text("\n".join([*folders, *sorted(checkouts)]) + "\n")


def answers(reader: Reader, hub: Program) -> bool:
    return "JupyterHub is now running" in hub.log.read_text(errors="replace") and accepts(reader.port)


@asynccontextmanager
async def started(reader: Reader, block: Block, name: str) -> AsyncIterator[Program]:
    hub = reader.open_terminal(block, name)
    await asyncio.to_thread(hub.wait_ready, lambda: answers(reader, hub), 90)
    yield hub
    os.kill(hub.pid, signal.SIGINT)
    await asyncio.to_thread(wait_until, lambda: not hub.running, "the hub ends after Ctrl-C", 60)


async def test_every_step_works_as_it_is_written(reader: Reader, tmp_path: Path, artefacts: Path) -> None:
    """With the ports of this test, and in a browser what the text says in words."""
    reader.run(reader.block("redis-server --version"))

    install = reader.block("mkdir hub")
    lines = install.text.splitlines()
    assert lines[3:] == [". venv/bin/activate", "pip install 'kvproxy[redis,traefik]' jupyterlab"]
    reader.run(Block(PAGE, 0, "bash", "\n".join(lines[:3])))
    give_packages(reader.folder / "hub" / "venv")
    reader.folder /= "hub"
    assert "Successfully installed" not in reader.run(Block(PAGE, 0, "bash", "\n".join(lines[3:])))

    redis = reader.open_terminal(reader.block("redis-server --port"), "redis")
    socket = reader.folder / "redis.sock"
    # Redis makes it before it takes the rights of others away.
    redis.wait_ready(lambda: socket.exists() and not socket.stat().st_mode & 0o077, 15)
    more = MORE.format(
        hub=free_port(),
        api=free_port(),
        arguments=["--allow-root"] if os.geteuid() == 0 else [],
        environment=quiet_lab(tmp_path / "lab"),
    )
    (reader.folder / "jupyterhub_config.py").write_text(reader.block("import os").text + more)

    start, first, second = reader.block("cd hub\n. venv"), reader.block("x = 41"), reader.block("print(x + 2)")
    again = next(block for block in reader.blocks if block.text == "jupyterhub\n")
    running, stopped = (block for block in reader.blocks if block.text.startswith("$ kvproxy routes"))
    assert start.text.splitlines()[0] == "cd hub"
    in_the_folder = Block(PAGE, 0, "bash", start.text.partition("\n")[2])
    async with open_browser(tmp_path / "home", artefacts) as page:
        ada = HubBrowser(page, reader.url, artefacts)
        async with started(reader, in_the_folder, "hub") as hub:
            assert "Traefik 3." in hub.log.read_text()
            await ada.log_in("ada", "tutorial")
            await ada.open_notebook()
            await ada.run(first.text, "42")
            await ada.save()
            reader.run(reader.block("kvproxy check"))
            reader.run(running)
            # The set-up of the tutorial causes no alarm.
            assert "answers without a login" not in hub.log.read_text()
        assert re.search(r"Leaving 2 routes in the store", hub.log.read_text())
        assert not accepts(reader.port)
        reader.run(stopped)

        environment = Block(PAGE, 0, "bash", ". venv/bin/activate\n" + again.text)
        async with started(reader, environment, "again"):
            await ada.come_back()
            await ada.run(second.text, "43")
            await ada.stop_server()
    assert {name for _, name in shown()} <= {picture.name for picture in artefacts.iterdir()}


def shown() -> list[tuple[str, str]]:
    """The alternative text and the file of each picture in the tutorial."""
    return SHOWN.findall((ROOT / PAGE).read_text(encoding="utf-8"))


def test_pictures_are_small_and_say_what_they_show() -> None:
    """`nox -s screenshots` makes them; none is left that the page does not show."""
    folder = (ROOT / PAGE).parent
    assert sorted(name for _, name in shown()) == sorted(picture.name for picture in folder.glob("*.png"))
    for text, name in shown():
        data = (folder / name).read_bytes()
        width, height = struct.unpack(">II", data[16:24])  # of the header that every PNG begins with
        assert (width <= 1280, height <= 800, len(data) < 150_000) == (True, True, True), name
        assert len(text.split()) >= 5, f"{name} needs a text for those who cannot see it"
