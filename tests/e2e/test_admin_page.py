"""The page for administrators as a service of a real hub, set up as docs/how-to/admin-page.md says."""

from __future__ import annotations

import asyncio
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from kvproxy.cli.hub.config import load_hub
from kvproxy.cli.routes.observe import opened
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.route import make_route
from kvproxy.service.source import HubApi, Source
from kvproxy.service.view import Asked, page
from kvproxy.store.base import Operation, Space, Transaction
from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.hub.browser import open_browser
from kvproxy.testing.hub.process import USER_PASSWORD
from kvproxy.testing.servers import RedisServer, free_port

from .command import write_config
from .proxies import until_true

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
    async with open_browser(tmp_path / "browser", artefacts) as tab:
        violations: list[str] = []
        tab.on("console", lambda said: violations.append(said.text) if said.type == "error" else None)
        answer = await tab.goto(page_url)
        await tab.locator("#username_input").fill(hub.admin)
        await tab.locator("#password_input").fill(USER_PASSWORD)
        await tab.locator("#login_submit").click()
        rows = tab.locator("#routes tbody tr")
        await expect(rows).to_have_count(3, timeout=PATIENCE)
        violations.clear()  # of the hub's own pages
        await expect(tab.locator("main")).to_contain_text("3 routes in the store. All are served.", timeout=PATIENCE)
        await expect(tab.locator("main")).to_contain_text("0 errors", timeout=PATIENCE)
        await expect(tab.locator("main")).to_contain_text("edits waiting for the store", timeout=PATIENCE)
        assert (await rows.first.locator("td").all_inner_texts())[:4] == ["/", "hub", rows_target(hub), "served"]
        await tab.screenshot(path=artefacts / "admin-page.png", animations="disabled")
        # Live: a server that is started appears by itself.
        async with HubClient(hub, "bob") as bob:
            await bob.spawn()
            await expect(rows).to_have_count(4, timeout=PATIENCE)
            await expect(tab.locator("#routes")).to_contain_text("/user/bob/")
        # By the keyboard alone.
        await tab.locator("body").press("Tab")
        await tab.keyboard.press("Enter")
        await tab.keyboard.press("Tab")
        await tab.keyboard.type("/user/bob")
        await tab.keyboard.press("Enter")
        await expect(rows).to_have_count(1, timeout=PATIENCE)
        assert violations == []
        source = await tab.request.get(page_url)
        assert "default-src 'none'" in source.headers["content-security-policy"]
        assert "unsafe" not in source.headers["content-security-policy"]
    strange = await asyncio.to_thread(hub.log.read_text, errors="replace")
    assert "Traceback" not in strange


async def test_it_asks_the_hub_over_tls_with_internal_ssl(tmp_path: Path, redis_server: RedisServer) -> None:
    """With the certificate that the hub gives it; the documented lines need no change."""
    settings = {
        "TraefikRedisProxy.redis_url": redis_server.url,
        "JupyterHub.internal_ssl": True,
        "JupyterHub.internal_certs_location": str(tmp_path / "internal-ssl"),
    }
    with HubProcess(tmp_path, settings, config=documented(tmp_path / "jupyterhub_config.py")) as hub:
        async with HubClient(hub, hub.admin) as admin:
            await admin.log_in()

            async def complete() -> bool:
                answer = await admin.browse("/services/routes/")
                return answer.status == 200 and "edits waiting for the store" in answer.text

            await until_true(complete, 30)
        assert "Traceback" not in hub.log_text


@pytest.mark.endurance
async def test_five_thousand_routes_open_in_under_a_second(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first request to the page with routes, with a real Redis; the best of three, as machines are busy."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, {"JupyterHub.proxy_class": "traefik_redis", "TraefikRedisProxy.redis_url": redis_server.url})
    hub = load_hub("jupyterhub_config.py")
    routes = [make_route(f"/user/u{n}/", f"http://127.0.0.1:{4000 + n}", {"user": f"u{n}"}) for n in range(5000)]
    entries = [encode_route(route, Layout()) for route in routes]
    async with opened(hub.proxy) as store:
        await store.snapshot()
        for entry in (entries[start : start + 1000] for start in range(0, 5000, 1000)):
            keys = [
                Operation(space, key, value)
                for one in entry
                for space, found in ((Space.CONFIG, one.config), (Space.RECORDS, one.records))
                for key, value in found.items()
            ]
            await store.apply(Transaction(tuple(keys)))
    times = []
    for _ in range(3):
        source = Source(hub, HubApi("http://127.0.0.1:1/hub/api", ""))
        start = time.monotonic()
        html = page(await source.observation(), Asked(), await source.findings(), "/services/routes/", "ada")
        times.append(time.monotonic() - start)
        await source.aclose()
        assert "<strong>5000 routes</strong> in the store" in html
    with capsys.disabled():
        print(f"\n5,000 routes in Redis: the page opens in {', '.join(f'{one:.2f}' for one in times)} s")
    assert min(times) < 1


def rows_target(hub: HubProcess) -> str:
    found = re.search(r"c\.JupyterHub\.hub_bind_url = '([^']+)'", (hub.directory / "jupyterhub_config.py").read_text())
    assert found is not None
    return found[1]


def test_the_picture_is_small_and_says_what_it_shows() -> None:
    """`test_administrators_see_the_routes_and_nobody_else_does` makes it."""
    data = (HOW_TO / "admin-page.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert (width <= 1280, height <= 800, len(data) < 150_000) == (True, True, True)
