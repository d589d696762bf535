"""A reader who does what a page says, in a folder of their own, with a Redis but nothing else.

The packages that pip is asked for are those of the tests, and nothing is fetched; or, with the variable KVPROXY_WHEEL,
they are that wheel and what it needs, in a home that is empty, without anything of the checkout.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import kvproxy
import kvproxy_redis
from kvproxy.testing.servers.programs import Program, accepts, find_redis, find_traefik, wait_until

from .blocks import ROOT, Block, blocks_of, commands

WHEEL = os.environ.get("KVPROXY_WHEEL", "")


@dataclass
class Reader:
    """A reader with a folder and terminals.

    Args:
        page: the page, relative to the checkout.
        folder: the present folder.
        replaced: texts of the page -> those for this machine, such as free ports.
        environment: the variables of each terminal.
        programs: what runs in the terminals.
    """

    page: str
    folder: Path
    replaced: Mapping[str, str]
    environment: dict[str, str]
    programs: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        text = (ROOT / self.page).read_text(encoding="utf-8")
        for on_the_page, here in self.replaced.items():
            text = text.replace(on_the_page, here)
        if WHEEL:
            text = text.replace("'kvproxy[", f"'{WHEEL}[")
        self.blocks = list(blocks_of(text, self.page))

    def block(self, beginning: str) -> Block:
        """The first block with a line that begins so."""
        begins = re.compile(rf"^(?:\$ )?{re.escape(beginning)}", re.MULTILINE)
        return next(block for block in self.blocks if begins.search(block.text))

    def run(self, block: Block) -> str:
        """Return the output of a block's commands; the lines that the page shows must be among it."""
        ran = subprocess.run(
            ["bash", "-euc", commands(block)], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        shown = [line for line in block.text.splitlines() if line.strip("…") and not line.startswith("$ ")]
        for line in shown if block.language == "console" else ():
            pattern = "^" + re.escape(line).replace("…", ".*") + "$"
            assert re.search(pattern, ran.stdout, re.MULTILINE), f"{line}\n{ran.stdout}"
        return ran.stdout

    def type(self, text: str) -> str:
        """Return the output of commands that a page has in words, or in a part of a block."""
        return self.run(Block(self.page, 0, "bash", text))

    def open_terminal(self, text: str, name: str) -> Program:
        """Type commands, the last of which goes on."""
        *before, last = text.splitlines()
        program = Program(["bash", "-euc", "\n".join([*before, f"exec {last}"])], self.log(name), self.environment)
        program.start()
        self.programs.append(program)
        return program

    def activate(self, venv: Path) -> None:
        """Have each terminal find an environment's programs first."""
        self.environment["PATH"] = os.pathsep.join([str(venv / "bin"), self.environment["PATH"]])

    @asynccontextmanager
    async def hub(self, text: str, name: str, port: int) -> AsyncIterator[Program]:
        """Type commands, the last of which starts the hub; Ctrl-C ends it."""
        hub = self.open_terminal(text, name)

        def answers() -> bool:
            return "JupyterHub is now running" in hub.log.read_text(errors="replace") and accepts(port)

        await asyncio.to_thread(hub.wait_ready, answers, 90)
        yield hub
        os.kill(hub.pid, signal.SIGINT)
        await asyncio.to_thread(wait_until, lambda: not hub.running, "the hub ends after Ctrl-C", 60)

    def log(self, name: str) -> Path:
        """The file with what a terminal shows."""
        return self.folder / f"{name}.log"

    def close(self) -> None:
        """End what still runs in the terminals, and all that it has started."""
        for program in reversed(self.programs):
            family = psutil.Process(program.pid).children(recursive=True) if program.running else []
            program.stop(30)
            for process in family:
                if process.is_running():
                    process.kill()


@contextmanager
def reading(page: str, folder: Path, replaced: Mapping[str, str]) -> Iterator[Reader]:
    """A reader of a page on whose machine Redis is installed; whatever runs in the terminals is ended."""
    programs, redis = folder / "programs", find_redis()
    programs.mkdir(exist_ok=True)
    links = {f"redis-{name}": redis.with_name(redis.name.replace("server", name)) for name in ("server", "cli")}
    for name, target in (links if WHEEL else {**links, "traefik": find_traefik()}).items():
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to(target)
    beside = str(Path(sys.executable).parent)
    others = [entry for entry in os.environ["PATH"].split(os.pathsep) if entry != beside]
    path = [str(programs), *([] if WHEEL else [beside]), *others]
    environment = {**os.environ, "PATH": os.pathsep.join(path), "VIRTUAL_ENV": ""}
    if WHEEL:
        environment.pop("PYTHONPATH", None)
        environment["HOME"] = str(folder / "home")
        (folder / "home").mkdir(exist_ok=True)
    reader = Reader(page, folder, replaced, environment)
    try:
        yield reader
    finally:
        reader.close()


def give_packages(venv: Path) -> None:
    """The environment of the test, so that pip finds all that it is asked for, and nothing is fetched."""
    (site,) = venv.glob("lib/python*/site-packages")
    # Packages that are installed as a checkout are not below site-packages themselves.
    checkouts = {str(Path(module.__file__).parents[1]) for module in (kvproxy, kvproxy_redis)}
    folders = [folder for folder in sys.path if folder.endswith("-packages")]
    (site / "packages-of-the-test.pth").write_text("\n".join([*folders, *sorted(checkouts)]) + "\n")
