"""Results by version: kept as JSON, and a table of them for the documentation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "reference" / "versions.md"
_BEGIN, _END = "<!-- versions -->", "<!-- /versions -->"


@dataclass(frozen=True)
class Result:
    """The outcome of a version's tests.

    Args:
        part: such as ``Traefik``.
        version: as the program names it.
        source: the package that it is from.
        passed: number of tests.
        expected: number of tests that are marked as expected to fail, and did.
        failed: names of tests.
        day: of the run.
    """

    part: str
    version: str
    source: str
    passed: int
    expected: int = 0
    failed: list[str] = field(default_factory=list)
    day: str = ""

    def __str__(self) -> str:
        return f"{self.version}, {self.passed} passed, {len(self.failed)} failed {' '.join(self.failed)}".strip()


def load(file: Path = RESULTS) -> dict[str, Result]:
    """The results on disk, by the catalogue's names."""
    if not file.exists():
        return {}
    return {key: Result(**kept) for key, kept in json.loads(file.read_text(encoding="utf-8")).items()}


def save(results: Mapping[str, Result], file: Path = RESULTS) -> None:
    """Write the results."""
    kept = {key: asdict(result) for key, result in results.items()}
    file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(results: Iterable[Result]) -> str:
    """The results as a table in Markdown, in the order of parts and versions."""
    lines = ["| part | version | package | tests passed | tests failed | day |", "|---|---|---|---|---|---|"]
    before = ""
    for one in sorted(results, key=lambda one: (one.part.lower(), [*map(int, one.version.split("."))], one.source)):
        failed = "<br>".join(dict.fromkeys(f"`{name.partition('[')[0]}`" for name in one.failed)) or "none"
        part = "" if one.part == before else one.part
        before = one.part
        lines.append(
            f"| {part} | {one.version} | {one.source} | {one.passed} | {failed} | {one.day} |".replace("|  |", "| |")
        )
    return "\n".join(lines)


def put_into(page: str, text: str) -> str:
    """A page with the table between its two comments."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{text}\n\n{_END}{rest.partition(_END)[2]}"


def write_page(results: Mapping[str, Result]) -> None:
    """Put the table into the page of versions."""
    PAGE.write_text(put_into(PAGE.read_text(encoding="utf-8"), table(results.values())), encoding="utf-8")
