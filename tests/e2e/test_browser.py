"""A person in front of a real browser: from logging in to logging out, through Traefik, over HTTPS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Error

from kvproxy.testing.hub import USER_PASSWORD, HubClient, HubProcess
from kvproxy.testing.hub.browser import open_browser
from kvproxy.testing.hub.browser_user import HubBrowser, quiet_lab
from kvproxy.testing.servers import Certificates, RedisServer

# The first time a browser may have to be fetched.
pytestmark = [pytest.mark.hub, pytest.mark.timeout(900)]

#: Not ASCII, and a character that browsers write in two ways.
USER = "zoë@example.org"
PATH = "/user/zo%C3%AB@example.org/"


@pytest.fixture(scope="module")
def secure_hub(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[HubProcess]:
    """A running hub with `ssl_key` and `ssl_cert`, its routes in Redis."""
    folder = tmp_path_factory.mktemp("hub")
    quiet = f"c.Spawner.environment.update({quiet_lab(folder / 'lab')!r})"
    with RedisServer() as redis:
        settings = {"TraefikRedisProxy.redis_url": redis.url}
        with HubProcess(folder, settings, config=quiet, certificates=certificates) as running:
            yield running


async def test_a_person_logs_in_runs_a_cell_stops_the_server_and_logs_out(
    secure_hub: HubProcess, certificates: Certificates, tmp_path: Path, artefacts: Path
) -> None:
    """With a name that is written differently in an address."""
    async with (
        open_browser(tmp_path / "home", artefacts, authority=certificates.ca) as page,
        HubClient(secure_hub, USER) as outside,
    ):
        zoe = HubBrowser(page, secure_hub.url, artefacts)
        await zoe.log_in(USER, USER_PASSWORD)
        assert page.url.startswith(f"https://127.0.0.1:{secure_hub.port}{PATH}lab")
        assert PATH in await outside.routes()

        await zoe.open_notebook()
        await zoe.run("x = 41\nprint(x + 1)", "42")
        await zoe.run("import os\nprint(os.environ['JUPYTERHUB_USER'])", USER)
        channels = [url for url in zoe.websockets if url.partition("?")[0].endswith("/channels")]
        assert channels
        below = f"wss://127.0.0.1:{secure_hub.port}{PATH}api/kernels/"
        assert [url for url in channels if not url.startswith(below)] == []
        assert zoe.failures == []

        await zoe.stop_server()
        assert PATH not in await outside.routes()
        await zoe.log_out()
        await zoe.page.goto(f"{secure_hub.url}/hub/home")
        assert "/hub/login" in zoe.page.url
    kept = {picture.name for picture in artefacts.iterdir()}
    assert {"log-in.png", "launcher.png", "cell-1.png", "control-panel.png"} <= kept


async def test_a_browser_that_does_not_know_the_authority_refuses_the_page(
    secure_hub: HubProcess, tmp_path: Path, artefacts: Path
) -> None:
    """So the browser of the other test has checked the certificate that Traefik serves."""
    async with open_browser(tmp_path / "home", artefacts) as page:
        with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
            await page.goto(secure_hub.url)
