"""The names that authors of plugins import from ``kvproxy``."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kvproxy

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
#: Everything that is to be an example of how to do it.
SOURCES = [*(ROOT / "backends").rglob("*.py"), *(ROOT / "examples" / "kvproxy-zookeeper").rglob("*.py")]
GUIDES = [ROOT / "docs" / "how-to" / name for name in ("write-a-backend.md", "write-a-hook.md")]


def imports_past_the_face(text: str) -> list[str]:
    """Imports of a name from the module where it is made, although ``kvproxy`` itself has it."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("kvproxy."):
            module = importlib.import_module(node.module) if node.level == 0 else None
            found += [
                f"{node.module}.{alias.name}"
                for alias in node.names
                if alias.name in kvproxy.__all__ and getattr(module, alias.name, None) is getattr(kvproxy, alias.name)
            ]
    return found


def test_it_is_imported_fast() -> None:
    """Without JupyterHub, traitlets, an event loop or anything else that takes time, but for pluggy."""
    program = "import sys; before = set(sys.modules); import kvproxy; print(*sorted(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in ran.stdout.split()}
    assert packages - sys.stdlib_module_names == {"kvproxy", "pluggy"}
    assert not packages & {"asyncio", "ssl", "socket", "subprocess"}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_backends_import_from_it(file: Path) -> None:
    """As their authors' readers are told to."""
    assert imports_past_the_face(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_guides_import_from_it(page: Path) -> None:
    """Each block that is Python."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found = [line for block in blocks for line in re.findall(r"^from kvproxy[\w.]* import .+$", block, re.MULTILINE)]
    assert found
    assert imports_past_the_face("\n".join(found)) == []


def test_an_import_past_it_is_found() -> None:
    """Or the tests above would show nothing."""
    assert imports_past_the_face("from kvproxy.store.base import Store, make_roots") == ["kvproxy.store.base.Store"]


def test_the_page_of_stable_names_has_all_of_them() -> None:
    """And nothing that is not there."""
    named = set(re.findall(r"`kvproxy\.([\w.]+)`", PAGE.partition("Not stable:")[0]))
    assert set(kvproxy.__all__) <= named
    for name in named:
        owner, _, last = f"kvproxy.{name}".rpartition(".")
        assert hasattr(importlib.import_module(owner), last) or importlib.import_module(f"{owner}.{last}")
