"""The code of docs/how-to/write-a-backend.md, as a reader would put it into files, passes the conformance kit."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-backend.md"


def files() -> dict[str, str]:
    """The files of the guide: each block of code that begins with a file's name."""
    blocks = re.findall(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(blocks)


def install(folder: Path, project: dict) -> None:
    """Files that pip would leave behind: the distribution's name, version and entry points."""
    about = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(groups))


def test_the_guide_leads_to_a_green_run_of_the_kit(pytester: pytest.Pytester) -> None:
    """From nothing but its text."""
    made = files()
    for name, text in made.items():
        file = pytester.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    install(pytester.path, tomllib.loads(made["pyproject.toml"])["project"])
    pytester.syspathinsert(pytester.path)
    ran = pytester.runpytest_subprocess("-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider")
    outcome = ran.parseoutcomes()
    assert ran.ret == 0, ran.stdout.str()
    assert outcome["passed"] >= 20
    assert set(outcome) == {"passed"}


def test_the_guide_names_every_method_of_a_store() -> None:
    """It would be outdated otherwise."""
    from kvproxy.store import Store

    assert all(f"async def {name}(" in files()["kvproxy_json/store.py"] for name in Store.__abstractmethods__)
