"""The page about security promises nothing that no test shows, and its files have the modes that it says."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from traitlets.config import Config

from kvproxy.testing.servers import free_port
from kvproxy_file import TraefikFileProviderProxy

from .blocks import ROOT

PAGE = ROOT / "docs" / "explanation" / "security.md"
LINK = re.compile(r'\[(?:test|\d)\]\((\S+) "(\w+)"\)')
#: Files that kvproxy writes, as the page names them.
FILE = re.compile(r"`(\.?(?:traefik|rules)\.toml[.\w]*)`")


def test_each_link_leads_to_the_test_that_shows_it() -> None:
    """So that no test is renamed, or removed, alone."""
    links = LINK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(links) > 10
    for path, name in links:
        source = (PAGE.parent / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *(?:async )?(?:def|class) {name}\b", source, re.MULTILINE), f"{path} has no {name}"


async def test_the_files_of_a_running_hub_have_the_documented_modes(tmp_path: Path) -> None:
    """Each is private, each is on the page, and there is no other."""
    proxy = TraefikFileProviderProxy(
        config=Config(),
        public_url=f"http://127.0.0.1:{free_port()}/",
        traefik_api_url=f"http://127.0.0.1:{free_port()}",
        static_config_file=str(tmp_path / "traefik.toml"),
        dynamic_config_file=str(tmp_path / "rules.toml"),
    )
    await proxy.start()
    try:
        await proxy.add_route("/user/ada/", "http://127.0.0.1:1", {"user": "ada"})
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        await proxy.stop()
    assert set(modes.values()) == {0o600}
    documented = {
        name for line in PAGE.read_text().splitlines() if line.startswith("| `") for name in FILE.findall(line)
    }
    assert set(modes) == documented


def test_the_policy_makes_up_no_address() -> None:
    """Reports go through the repository's host; an unread address would swallow them."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "private report function" in text
    assert not re.search(r"[\w.]+@[\w.]+|mailto:|https?://", text)
    assert "SECURITY.md" in (ROOT / "README.md").read_text(encoding="utf-8")
