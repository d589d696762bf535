"""The page for administrators as a service of a real hub, set up as docs/how-to/admin-page.md says."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.hub.browser import open_browser
from kvproxy.testing.hub.process import USER_PASSWORD
from kvproxy.testing.servers import RedisServer, free_port

pytestmark = [pytest.mark.hub, pytest.mark.timeout(600)]

HOW_TO = Path(__file__).parents[2] / "docs/how-to"
PATIENCE = 60_000


def documented(config_file: Path) -> str:
    """The block of the page, with this hub's configuration file and a free port."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", (HOW_TO / "admin-page.md").read_text(), re.MULTILINE | re.DOTALL)
    block = block.replace("/srv/jupyterhub/jupyterhub_config.py", str(config_file))
    return block.replace("10101", str(free_port()))


@pytest.fixture
def hub(tmp_path: Path, redis_server: RedisServer) -> Iterator[HubProcess]:
    """A hub with the page, on a Redis with a password, as it should be."""
    settings = {"TraefikRedisProxy.redis_url": redis_server.url}
    with HubProcess(tmp_path, settings, config=documented(tmp_path / "jupyterhub_config.py")) as running:
        yield running


async def test_administrators_see_the_routes_and_nobody_else_does(
    hub: HubProcess, tmp_path: Path, artefacts: Path
) -> None:
    """By the hub's login, in a browser, with the keyboard; live; and not even the menu names it to others."""
    page_url = f"{hub.url}/services/routes/"
    async with HubClient(hub, "ada") as ada:
        await ada.log_in()
        await ada.spawn()
        answer = await ada.session.get(page_url)
        assert (answer.status, "/user/" in await answer.text()) == (403, False)
    async with open_browser(tmp_path / "browser", artefacts) as page:
        violations: list[str] = []
        page.on("console", lambda said: violations.append(said.text) if said.type == "error" else None)
        answer = await page.goto(page_url)
        await page.locator("#username_input").fill(hub.admin)
        await page.locator("#password_input").fill(USER_PASSWORD)
        await page.locator("#login_submit").click()
        rows = page.locator("#routes tbody tr")
        await expect(rows).to_have_count(3, timeout=PATIENCE)
        violations.clear()  # of the hub's own pages
        await expect(page.locator("main")).to_contain_text("3 routes in the store. All are served.", timeout=PATIENCE)
        await expect(page.locator("main")).to_contain_text("0 errors", timeout=PATIENCE)
        await expect(page.locator("main")).to_contain_text("edits waiting for the store", timeout=PATIENCE)
        assert (await rows.first.locator("td").all_inner_texts())[:4] == ["/", "hub", rows_target(hub), "served"]
        await page.screenshot(path=artefacts / "admin-page.png", animations="disabled")
        # Live: a server that is started appears by itself.
        async with HubClient(hub, "bob") as bob:
            await bob.spawn()
            await expect(rows).to_have_count(4, timeout=PATIENCE)
            await expect(page.locator("#routes")).to_contain_text("/user/bob/")
        # By the keyboard alone.
        await page.locator("body").press("Tab")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.type("/user/bob")
        await page.keyboard.press("Enter")
        await expect(rows).to_have_count(1, timeout=PATIENCE)
        assert violations == []
        source = await page.request.get(page_url)
        assert "default-src 'none'" in source.headers["content-security-policy"]
        assert "unsafe" not in source.headers["content-security-policy"]
    strange = await asyncio.to_thread(hub.log.read_text, errors="replace")
    assert "Traceback" not in strange


def rows_target(hub: HubProcess) -> str:
    found = re.search(r"c\.JupyterHub\.hub_bind_url = '([^']+)'", (hub.directory / "jupyterhub_config.py").read_text())
    assert found is not None
    return found[1]


def test_the_picture_is_small_and_says_what_it_shows() -> None:
    """`test_administrators_see_the_routes_and_nobody_else_does` makes it."""
    data = (HOW_TO / "admin-page.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert (width <= 1280, height <= 800, len(data) < 150_000) == (True, True, True)
