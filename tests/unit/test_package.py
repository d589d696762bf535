"""The package's metadata, and the files that come with it."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import kvproxy
import kvproxy.testing.conformance

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "kvproxy", *sorted((ROOT / "backends").glob("kvproxy_*"))]
KIT = sorted(Path(kvproxy.testing.conformance.__file__).parent.glob("[!_]*.py"))


def test_it_knows_its_version() -> None:
    """The one that is installed."""
    assert kvproxy.__version__ == version("kvproxy")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_package_says_that_it_has_types(package: Path) -> None:
    """Else type checkers take all that comes from it for Any."""
    assert (package / "py.typed").is_file()


@pytest.mark.parametrize("module", KIT, ids=lambda module: module.stem)
def test_a_failing_assertion_of_the_kit_shows_its_values(module: Path) -> None:
    """As those in tests do, which pytest rewrites by itself."""
    name = f"kvproxy.testing.conformance.{module.stem}"
    __import__(name)
    assert type(sys.modules[name].__loader__).__name__ == "AssertionRewritingHook"
