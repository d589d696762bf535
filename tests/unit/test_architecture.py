"""Arrows run one way; pure modules do no I/O; modules stay short."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import kvproxy

ROOT = Path(__file__).parents[2]
CORE = sorted([*(ROOT / "kvproxy").glob("*.py"), *(ROOT / "kvproxy" / "cli").glob("*.py")])
PURE = {
    "activity",
    "belief",
    "diagnosis",
    "adoption",
    "blotting",
    "half_read",
    "printable",
    "repetition",
    "restarts",
    "flat",
    "grouping",
    "guard",
    "hooking",
    "manifest",
    "names",
    "ownership",
    "peer",
    "repair",
    "places",
    "table",
    "tree",
    "entry_point",
    "error_pages",
    "entry",
    "errors",
    "root_routers",
    "routes",
    "rules",
    "translate",
    "plan",
    "readiness",
    "provider_errors",
    "reasons",
    "setting_names",
    "static",
    "store",
    "credentials",
    "certificate",
    "vocabulary",
    "checking",
    "dynamic_config",
}
#: Those of the command line.
PURE_CLI = {"certificates", "comparison", "external", "findings", "migration"}
IO = {"asyncio", "traitlets", "jupyterhub", "subprocess", "socket", "aiohttp", "tornado", "redis", "psutil"}


def imports(file: Path) -> set[str]:
    """The modules that a file imports, relative ones with a leading dot."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


@pytest.mark.parametrize("file", CORE, ids=lambda file: file.stem)
def test_the_core_knows_no_backend_by_name(file: Path) -> None:
    """Backends import kvproxy, never the other way round."""
    assert not [module for module in imports(file) if module.startswith("kvproxy_") or module.startswith("redis")]


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_do_no_io(name: str) -> None:
    """They import neither the event loop nor anything that talks to the outside, and nothing of ours that does."""
    found = imports(ROOT / "kvproxy" / f"{name}.py")
    assert not {module.split(".")[0] for module in found} & IO
    assert {module.lstrip(".") for module in found if module.startswith(".")} <= PURE


@pytest.mark.parametrize("name", sorted(PURE_CLI))
def test_what_the_commands_decide_is_pure_too(name: str) -> None:
    """Asking and printing is for others; nor do they know what a terminal is."""
    found = imports(ROOT / "kvproxy" / "cli" / f"{name}.py")
    assert not {module.split(".")[0] for module in found} & (IO | {"click", "rich"})
    assert {module.lstrip(".") for module in found if module.startswith("..")} <= PURE
    assert {module.lstrip(".") for module in found if re.match(r"\.\w", module)} <= PURE_CLI


@pytest.mark.parametrize(
    "name",
    [
        "first_routes",
        "fleet",
        "loop_stalls",
        "notices",
        "observing",
        "reconciler",
        "replicas",
        "startup",
        "sync",
        "watch",
    ],
)
def test_the_loops_know_neither_the_hub_nor_traitlets(name: str) -> None:
    """So that they can be tested without a hub."""
    assert not {module.split(".")[0] for module in imports(ROOT / "kvproxy" / f"{name}.py")} & {
        "traitlets",
        "jupyterhub",
    }


@pytest.mark.parametrize("file", [*CORE, *sorted((ROOT / "backends").rglob("*.py"))], ids=lambda file: file.stem)
def test_modules_are_short(file: Path) -> None:
    """A module is cut at its joints; one that is longer has several reasons to change."""
    assert len(file.read_text().splitlines()) <= 400


def test_the_facade_is_sorted_and_complete() -> None:
    """What is public is in ``__all__``."""
    assert kvproxy.__all__ == sorted(kvproxy.__all__)
    assert all(hasattr(kvproxy, name) for name in kvproxy.__all__)
