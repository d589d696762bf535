"""A user of a hub, in front of a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from playwright.async_api import Page, Response, WebSocket, expect

from kvproxy.testing.hub.browser import PATIENCE_SECONDS

_PATIENCE: Final = PATIENCE_SECONDS * 1000  # milliseconds
#: The time that JupyterLab may take to find its kernel again by itself.
_SOON: Final = 20_000
_SETTINGS: Final = Path("@jupyterlab", "apputils-extension", "notification.jupyterlab-settings")


def quiet_lab(settings: Path) -> dict[str, str]:
    """Variables for users' servers that keep JupyterLab from asking whether it may fetch news.

    settings: a directory for the user's settings of JupyterLab, which is made.
    """
    file = settings / _SETTINGS
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}), encoding="utf-8")
    return {"JUPYTERLAB_SETTINGS_DIR": str(settings)}


class HubBrowser:
    """A person at a hub in a browser: each step lasts until its outcome is seen, with a picture of it.

    page: of `kvproxy.testing.hub.browser.open_browser`; later the one that the person has come to.
    url: the hub's public URL.
    pictures: where the pictures are kept.

    Each method raises AssertionError, or Playwright's TimeoutError, if what it waits for does not come.
    """

    def __init__(self, page: Page, url: str, pictures: Path):
        self.page = page
        self.url = url.rstrip("/")
        self.pictures = pictures
        #: URLs of the websockets that were opened.
        self.websockets: list[str] = []
        #: Status and URL of each answer that says that the server is at fault.
        self.failures: list[str] = []
        self._runs = 0
        page.on("websocket", self._note_websocket)
        page.context.on("response", self._note_response)

    async def log_in(self, user: str, password: str) -> None:
        """Open the hub, log in (``log-in``), and wait until JupyterLab is there (``launcher``)."""
        await self.page.goto(f"{self.url}/")
        await self.page.locator("#username_input").fill(user)
        await self.page.locator("#password_input").fill(password)
        await self.picture("log-in")
        await self.page.locator("#login_submit").click()
        await self.page.locator(".jp-Launcher").first.wait_for()
        await self.picture("launcher")

    async def open_notebook(self) -> None:
        """Make a notebook for Python 3."""
        await self.page.locator('.jp-LauncherCard[data-category="Notebook"][title^="Python 3"]').click()
        await self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()

    async def run(self, code: str, prints: str) -> None:
        """Type code into the notebook's last cell, run it, and wait until it has printed that (``cell-1``, ...)."""
        cells = self.page.locator(".jp-Notebook .jp-CodeCell")
        cell = cells.nth(await cells.count() - 1)
        await cell.locator(".cm-content").click()
        for number, line in enumerate(code.strip().splitlines()):
            if number:
                await self.page.keyboard.press("Enter")
            await self.page.keyboard.type(line)
        # Before, JupyterLab forgets what is to be run.
        await expect(self.page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=_PATIENCE)
        await self.page.keyboard.press("Shift+Enter")
        await expect(cell.locator(".jp-OutputArea-output")).to_have_text(prints, timeout=_PATIENCE)
        self._runs += 1
        await self.picture(f"cell-{self._runs}")

    async def save(self) -> None:
        """Save the new notebook under the name that JupyterLab has for it."""
        await self.page.keyboard.press("Control+s")
        await self.page.get_by_role("button", name="Rename and Save").click()
        await expect(self.page.locator(".lm-TabBar-tab.jp-mod-dirty")).to_have_count(0, timeout=_PATIENCE)

    async def come_back(self) -> None:
        """Go on in a page that was open while the hub was away: dismiss what JupyterLab asks, and reload if need be."""
        idle = self.page.get_by_text("Python 3 (ipykernel) | Idle")
        question = self.page.get_by_role("button", name="Dismiss")
        try:
            await expect(idle.or_(question).first).to_be_visible(timeout=_SOON)
            if await question.is_visible():
                await question.click()
            await expect(idle).to_be_visible(timeout=_SOON)
        except AssertionError:
            # Without a question, too, the kernel may be called Unknown for good.
            await self.page.reload()
            await expect(idle).to_be_visible(timeout=_PATIENCE)

    async def stop_server(self) -> None:
        """Go to the hub by JupyterLab's menu (``control-panel``), and stop the server (``stopped``)."""
        await self.page.get_by_role("menuitem", name="File", exact=True).click()
        async with self.page.context.expect_page() as opened:
            await self.page.get_by_role("menuitem", name="Hub Control Panel").click()
        self.page = await opened.value
        await self.page.locator("#stop").wait_for()
        await self.picture("control-panel")
        await self.page.locator("#stop").click()
        await expect(self.page.locator("#start")).to_have_text("Start My Server", timeout=_PATIENCE)
        await self.picture("stopped")

    async def log_out(self) -> None:
        """Log out of the hub, whose page it is (``logged-out``)."""
        await self.page.locator("#logout").click()
        await self.page.locator("#username_input").wait_for()
        await self.picture("logged-out")

    async def picture(self, name: str) -> None:
        """Keep a picture of what the page shows, under that name."""
        await self.page.screenshot(path=self.pictures / f"{name}.png", animations="disabled")

    def _note_websocket(self, socket: WebSocket) -> None:
        self.websockets.append(socket.url)

    def _note_response(self, response: Response) -> None:
        if response.status >= 500:
            self.failures.append(f"{response.status} {response.url}")
