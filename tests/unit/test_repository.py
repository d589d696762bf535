"""Files that other services read: workflows, the README on a package index, releases."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import kvproxy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
OTHERS = [
    *sorted((ROOT / ".github").glob("ISSUE_TEMPLATE/*.yml")),
    *(ROOT / name for name in (".github/dependabot.yml", ".pre-commit-config.yaml", ".readthedocs.yaml")),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def parsed(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def sessions() -> set[str]:
    """Names of nox's sessions."""
    functions = [
        node
        for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    return {node.name for node in functions if any("nox.session" in ast.unparse(one) for one in node.decorator_list)}


def matrices(job: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Values that a step's ``${{ matrix.… }}`` can have, each with its name."""
    matrix = job.get("strategy", {}).get("matrix", {})
    lists = {name: values for name, values in matrix.items() if name not in {"include", "exclude"}}
    yield from ({name: value} for name, values in lists.items() for value in values)
    yield from matrix.get("include", [])


def commands(job: dict[str, Any]) -> Iterator[str]:
    """Commands of a job, one for each value that is filled in."""
    for step in job["steps"]:
        text = step.get("run", "")
        names = re.findall(r"\$\{\{ matrix\.(\w+) \}\}", text)
        for values in matrices(job) if names else [{}]:
            if set(names) <= set(values):
                yield re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda found, values=values: values[found[1]], text)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_call_commands_that_exist(workflow: Path) -> None:
    """Sessions of nox, and programs of this repository that can be run."""
    jobs = parsed(workflow)["jobs"].values()
    lines = [line for job in jobs for command in commands(job) for line in command.splitlines()]
    called = [name for line in lines for name in re.findall(r"nox -s (\w+)", line)]
    programs = [line.split()[0] for line in lines if line.startswith(".")]
    others = [line for line in lines if "nox -s" not in line and not line.startswith(".")]
    assert called or programs
    assert set(called) <= sessions()
    assert all(os.access(ROOT / program, os.X_OK) for program in programs)
    assert set(others) <= {"python -m pip install nox"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_have_no_more_rights_than_they_need(workflow: Path) -> None:
    """The default is to read the source; a job that hangs ends."""
    content = parsed(workflow)
    assert content["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in content["jobs"].values())


def test_the_matrix_has_all_supported_pythons_and_hubs() -> None:
    """Those of the classifiers, and the major versions that the requirement allows."""
    matrix = parsed(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["matrix"]["strategy"]["matrix"]
    classifiers = "\n".join(PROJECT["classifiers"])
    assert matrix["python"] == re.findall(r"Python :: (3\.\d+)", classifiers)
    (hub,) = (one for one in PROJECT["dependencies"] if one.startswith("jupyterhub"))
    assert hub == "jupyterhub>=5,<7"
    assert matrix["hub"] == ["5", "6"]


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: file.name)
def test_other_services_files_can_be_read(file: Path) -> None:
    """As YAML with something in it."""
    assert parsed(file)


def test_the_documentations_host_installs_what_the_session_installs() -> None:
    """A page that builds here builds there."""
    (install,) = parsed(ROOT / ".readthedocs.yaml")["python"]["install"]
    assert f'"-e", ".[{",".join(install["extra_requirements"])}]"' in (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert set(install["extra_requirements"]) <= set(PROJECT["optional-dependencies"])


def test_the_readme_has_no_link_that_is_dead_on_a_package_index() -> None:
    """An index shows it alone, without the files around it, and shows no diagrams of Mermaid's."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)", text)
    assert targets
    assert all(target.startswith("https://") for target in targets)
    assert "```mermaid" not in text


def test_the_readme_names_files_that_are_there() -> None:
    """Paths stand in it where links would be dead."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`([\w./-]+(?:\.md|/))`", text))
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_changelog_has_the_version() -> None:
    """With a date, below the section for changes that are not released yet."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(kvproxy.__version__)} - \d{{4}}-\d\d-\d\d", headings[1])
