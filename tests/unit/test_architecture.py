"""Imports run one way; pure packages do no I/O; modules stay short."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import kvproxy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "kvproxy").rglob("*.py"))
CORE = [file for file in MODULES if "testing" not in file.parts and "demo" not in file.parts]
#: Packages and modules that decide and do not act: functions over values.
PURE = (
    "errors",
    "_text",
    "routing",
    "store/base",
    "traefik/entry_point",
    "traefik/key_check",
    "traefik/readiness",
    "traefik/request_counts",
    "traefik/schema",
    "traefik/static_config",
    "traefik/validation",
    "traefik/setup/certificate",
    "traefik/setup/credentials",
    "traefik/setup/error_pages",
    "traefik/setup/extra_config",
    "process/adoption",
    "process/half_read",
    "process/log_limit",
    "process/provider_errors",
    "process/redaction",
    "process/restart_policy",
    "reconcile/lease",
    "reconcile/observed",
    "reconcile/plan",
    "reconcile/pace",
    "reconcile/resync",
    "reconcile/reasons",
    "reconcile/unwritten",
    "reconcile/view",
    "hooks/customize",
    "proxy/setting_checks",
    "proxy/setting_names",
    "cli/check/certificates",
    "cli/check/findings",
    "cli/migrate/plan",
    "cli/routes/compare",
    "cli/static_config/render",
)
IO = {"asyncio", "traitlets", "jupyterhub", "subprocess", "socket", "aiohttp", "tornado", "redis", "psutil"}
#: Packages that may know JupyterHub.
HUBS_OWN = {"proxy", "cli", "service", "testing", "demo"}
#: Counts under the prefix that the hub gives to its own metrics.
HUBS_FRIENDS = {"metrics.py"}


@functools.cache
def imports(file: Path) -> frozenset[str]:
    """The modules that a file imports, absolute."""
    package, found = list(file.relative_to(ROOT).with_suffix("").parts[:-1]), set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # A module out of a package.
            found |= {module, *(name for alias in node.names if is_module(name := f"{module}.{alias.name}"))}
    return frozenset(found)


def is_module(name: str) -> bool:
    """Tell if a dotted name is a module of this project."""
    return (ROOT / name.replace(".", "/")).with_suffix(".py").exists()


def is_pure(module: str) -> bool:
    """Tell if a module is in the list above, or in a package that is."""
    below = module.replace(".", "/").removeprefix("kvproxy/")
    return any(below == one or below.startswith(f"{one}/") for one in PURE)


def test_imports_run_down() -> None:
    """Through the layers that pyproject.toml names, and in no circle."""
    # In a process of its own: it configures logging, which switches off all loggers that there are.
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def findings(files: Iterable[Path], wrong: Callable[[Path], Iterable[str]]) -> dict[str, list[str]]:
    """Everything that is wrong with files, by their paths."""
    found = {str(file.relative_to(ROOT)): sorted(wrong(file)) for file in files}
    assert found
    return {path: words for path, words in found.items() if words}


def test_the_core_knows_no_backend_by_name() -> None:
    """Backends import kvproxy, never the other way round."""
    assert findings(CORE, lambda file: {name for name in imports(file) if re.match(r"kvproxy_|redis\b", name)}) == {}


def test_pure_modules_do_no_io() -> None:
    """They import neither the event loop nor anything that talks to the outside, and nothing of ours that does."""

    def impure(file: Path) -> set[str]:
        refused = IO | ({"click", "rich"} if "cli" in file.parts else set())
        ours = {name for name in imports(file) if name.startswith("kvproxy") and is_module(name)}
        return {name for name in imports(file) if name.split(".")[0] in refused} | {
            name for name in ours if not is_pure(name)
        }

    assert findings((file for file in MODULES if is_pure(str(file.relative_to(ROOT).with_suffix("")))), impure) == {}


def test_pure_modules_exist() -> None:
    """A name that leads nowhere would test nothing."""
    places = {name: ROOT / "kvproxy" / name for name in PURE}
    assert [name for name, place in places.items() if not (place.is_dir() or place.with_suffix(".py").exists())] == []


def test_only_the_proxies_know_the_hub_and_traitlets() -> None:
    """The rest can be tested without a hub."""
    others = [
        file for file in MODULES if file.relative_to(ROOT).parts[1] not in HUBS_OWN and file.name not in HUBS_FRIENDS
    ]
    known = {"traitlets", "jupyterhub"}
    assert findings(others, lambda file: {name for name in imports(file) if name.split(".")[0] in known}) == {}


def test_modules_are_short() -> None:
    """A longer one has several reasons to change, and is cut at its joints."""
    lengths = {file: len(file.read_text().splitlines()) for file in [*CORE, *(ROOT / "backends").rglob("*.py")]}
    assert {str(file.relative_to(ROOT)): length for file, length in lengths.items() if length > 400} == {}


def test_only_the_proxies_use_their_private_names() -> None:
    """Commands, the page for administrators and the kit use what a plugin's author may use, too."""
    others = [file for file in MODULES if file.relative_to(ROOT).parts[1] in HUBS_OWN - {"proxy"}]
    assert findings(others, lambda file: re.findall(r"\bproxy\._\w+", file.read_text())) == {}


def test_the_facade_is_sorted_and_complete() -> None:
    """All that is public is in ``__all__``."""
    assert kvproxy.__all__ == sorted(kvproxy.__all__)
    assert all(hasattr(kvproxy, name) for name in kvproxy.__all__)


def test_the_page_names_the_layers() -> None:
    """In their order."""
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    rows = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in page.splitlines() if row.startswith("| `")]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = [[name.removeprefix("kvproxy.") for name in re.findall(r"[\w.]+", layer)] for layer in layers]
    assert rows == [layer for layer in named if layer != ["__main__"]]


def test_the_places_that_a_newcomer_is_told_of_are_there() -> None:
    """The table in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where is what?")[2].partition("\n## ")[0]
    places = re.findall(r"`([\w/]+\.py)`", text)
    assert len(places) == 5
    assert all((ROOT / place).exists() for place in places)
