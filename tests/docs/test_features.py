"""The table of features promises nothing that no test shows; the reference leaves nothing out."""

from __future__ import annotations

import re
from importlib.metadata import entry_points

import pytest
from jupyterhub.proxy import Proxy

import kvproxy
from kvproxy.hookspecs import PROJECT
from kvproxy.testing.servers import ServerError

from .blocks import ROOT

PAGE = ROOT / "docs" / "reference" / "features.md"
LINK = re.compile(r'\[(?:yes|\d)\]\((\S+) "(\w+)"\)')


def rows() -> list[list[str]]:
    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    return [row for row in cells if "jupyterhub-traefik-proxy 2.1" not in row]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_yes_leads_to_the_test_that_shows_it(row: list[str]) -> None:
    """And each row says something of all three."""
    assert len(row) == 4
    assert all(row)
    links = LINK.findall(row[3])
    assert links or row[3].startswith(("no", "not yet"))
    for path, name in links:
        source = (PAGE.parent / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *(?:async )?(?:def|class) {name}\b", source, re.MULTILINE), f"{path} has no {name}"


def reference() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))


def test_every_proxy_class_and_public_name_is_in_the_reference() -> None:
    """The classes that users name, and what `import kvproxy` gives, by the module that it is from."""
    text = reference()
    for entry in entry_points(group="jupyterhub.proxies"):
        if entry.value.startswith("kvproxy"):
            assert f"`{entry.name}`" in text
            assert f".. autoconfigurable:: {entry.load().__module__}.{entry.load().__name__}\n" in text
    for name in kvproxy.__all__:
        public = getattr(kvproxy, name)
        module = public.__module__ if isinstance(public, type) else "kvproxy.hookspecs"
        assert f".. automodule:: {module}\n" in text or f".. autoclass:: {module}.{name}\n" in text, name
    assert PROJECT in text
    assert f".. automodule:: {ServerError.__module__}\n" in text


def test_every_setting_is_found_by_what_it_is_for() -> None:
    """In the tables that begin the reference of settings, but for former names; and each name there is one."""
    text = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    tables = text[text.index("## By what you want to do") : text.index("## Traefik\n")]
    named = set(re.findall(r"`(\w+)`", tables))
    own = {"traefik_kv"}
    for entry in entry_points(group="jupyterhub.proxies"):
        if entry.value.startswith("kvproxy"):
            traits = entry.load().class_traits(config=True).items()
            own |= {name for name, trait in traits if not trait.help.startswith("Deprecated")}
    jupyterhubs = set(Proxy.class_traits(config=True))
    assert named - own == set()
    assert own - named - jupyterhubs == set()
