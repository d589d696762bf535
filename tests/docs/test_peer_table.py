"""The page on jupyterhub-traefik-proxy claims nothing that no test shows, and leaves no set-up out."""

from __future__ import annotations

import re

import pytest

from kvproxy.proxy.traits import TraefikProxy
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_redis import TraefikRedisProxy

from .blocks import ROOT

PAGE = ROOT / "docs" / "how-to" / "from-jupyterhub-traefik-proxy.md"
LINK = re.compile(r'\[(?:yes|\d)\]\((\S+) "(\w+)"\)')
CLASSES = [TraefikConsulProxy, TraefikEtcdProxy, TraefikFileProviderProxy, TraefikProxy, TraefikRedisProxy]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table][1:]


@pytest.mark.parametrize("row", rows("Documented set-ups"), ids=lambda row: row[0])
def test_each_set_up_has_its_test_or_the_line_to_change(row: list[str]) -> None:
    """The test exists; it says itself that it runs exactly the set-ups whose rows lead to it."""
    _, unchanged, line = row
    links = LINK.findall(unchanged)
    assert links or (unchanged == "no" and line != "–")
    for path, test in links:
        source = (PAGE.parent / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *(?:async )?def {test}\b", source, re.MULTILINE), f"{path} has no {test}"


def test_the_former_names_are_those_that_the_classes_take() -> None:
    """No more and no fewer."""
    former = {name for cls in CLASSES for name in cls.class_trait_names(former_name_of=lambda new: new is not None)}
    former |= {f"c.{cls.former_section}" for cls in CLASSES if getattr(cls, "former_section", "")}
    listed = {name for row in rows("Settings and classes") for name in re.findall(r"`([\w.]+)`", row[0])}
    assert listed == former
