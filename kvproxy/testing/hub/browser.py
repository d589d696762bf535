"""Chromium without a window, driven by Playwright, for pages that are served on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from playwright.async_api import BrowserContext, Page, async_playwright

from kvproxy.testing.servers.debian import debian_installation
from kvproxy.testing.servers.programs import ServerError

CHROMIUM_VARIABLE: Final = "KVPROXY_CHROMIUM"
_NAMES: Final = ("chromium", "google-chrome-stable", "google-chrome")

#: Width and height of the page in pixels, and so of its pictures.
SIZE: Final = (1200, 750)
#: The time that anything on a page may take to appear.
PATIENCE_SECONDS: Final = 90

_ARGUMENTS: Final = (
    # The machine's web proxy has no business with a loopback address, and no other address is asked for anything.
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
)


def find_chromium() -> tuple[Path, dict[str, str]]:
    """The program of Chromium, and environment variables that it needs.

    Looks at the variable KVPROXY_CHROMIUM, then for chromium and google-chrome on PATH, and unpacks Debian's package at
    last. Raises ServerError saying how to get one.
    """
    if named := os.environ.get(CHROMIUM_VARIABLE):
        if path := shutil.which(named):
            return Path(path), {}
        raise ServerError(f"The variable {CHROMIUM_VARIABLE} names {named}, which is not a program.")
    for name in _NAMES:
        if path := shutil.which(name):
            return Path(path), {}
    try:
        return debian_installation("chromium", "usr/lib/chromium/chromium")
    except ServerError as error:
        raise ServerError(
            f"No Chromium was found. Install it or Chrome, or name one in the variable {CHROMIUM_VARIABLE}. {error}"
        ) from None


@contextlib.asynccontextmanager
async def open_browser(home: Path, pictures: Path, *, authority: Path | None = None) -> AsyncIterator[Page]:
    """An empty page of a browser of its own, which is closed in the end.

    If what is done with it fails, a picture of what the page showed then is kept as ``failed.png``.

    home: the browser's home directory, which is for it alone.
    pictures: where pictures are kept.
    authority: certificate of an authority (PEM) that the browser trusts, beside those that every Chromium does.

    Raises ServerError if a program is missing.
    """
    program, environment = await asyncio.to_thread(find_chromium)
    await asyncio.to_thread(_move_in, home, authority)
    variables: dict[str, str | float | bool] = {**_without_desktop(os.environ), **environment, "HOME": str(home)}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=list(_ARGUMENTS), env=variables, chromium_sandbox=_sandbox_works()
        )
        width, height = SIZE
        context = await browser.new_context(
            viewport={"width": width, "height": height}, locale="en-US", reduced_motion="reduce"
        )
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        try:
            yield await context.new_page()
        except BaseException:
            await _picture_of_failure(context, pictures)
            raise
        finally:
            await browser.close()


async def _picture_of_failure(context: BrowserContext, pictures: Path) -> None:
    # The failure matters, not the missing picture of it.
    with contextlib.suppress(Exception):
        await context.pages[-1].screenshot(path=pictures / "failed.png", timeout=5000)


def _without_desktop(environment: os._Environ[str]) -> dict[str, str]:
    """Without what would lead the browser to another home than its own, or to another user's session."""
    return {name: value for name, value in environment.items() if not name.startswith(("XDG_", "DBUS_"))}


def _sandbox_works() -> bool:
    """True if Chromium can confine itself: it refuses to do so as root, and needs user namespaces on Linux."""
    if os.geteuid() == 0:
        return False
    if sys.platform != "linux":
        return True
    with contextlib.suppress(OSError):
        return subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode == 0
    return False


def _move_in(home: Path, authority: Path | None) -> None:
    home.mkdir(parents=True, exist_ok=True)
    if authority is not None:
        _trust(home, authority)


def _trust(home: Path, authority: Path) -> None:
    """Note an authority where Chromium on Linux looks for those that its user trusts.

    So the browser checks certificates as it does for all users, while a switch that has it ignore errors would let a
    certificate for another host pass as well. Chromium (up to 156) reads this directory if it is there, and since 146
    another one otherwise, according to docs/linux/cert_management.md in its source.
    """
    program, environment = _find_certutil()
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    add = ["-A", "-n", "authority of the test", "-t", "C,,", "-i", str(authority)]
    for arguments in (["-N", "--empty-password"], add):
        command = [str(program), "-d", f"sql:{database}", *arguments]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
        if done.returncode:
            raise ServerError(f"Chromium cannot be told to trust {authority}: certutil says: {done.stderr.strip()}")


def _find_certutil() -> tuple[Path, dict[str, str]]:
    if path := shutil.which("certutil"):
        return Path(path), {}
    try:
        return debian_installation("libnss3-tools", "usr/bin/certutil")
    except ServerError as error:
        raise ServerError(f"No certutil of NSS was found; install it (libnss3-tools, nss-tools). {error}") from None
