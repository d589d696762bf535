"""From results to the document: what is required, ratios first, absolute times as context."""

from __future__ import annotations

from pathlib import Path

from benchmarks.document import write_places
from benchmarks.requirements import checks
from benchmarks.results import Results
from benchmarks.tables import TABLES, markdown
from benchmarks.workload import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"


def sections(results: Results) -> dict[str, str]:
    """Everything that is made from the results, by the names of the places in the document."""
    required = markdown(["", "what", "measured", "required"], [check.cells() for check in checks(results)])
    tables = {name: table.text(results) for name, table in TABLES.items()}
    return {"requirements": required, **tables, "machine": machine(results)}


def machine(results: Results) -> str:
    """Machine and versions, on which the results depend."""
    about = dict(results.machine)
    versions = ", ".join(f"{name} {version}" for name, version in about.pop("versions", {}).items())
    rows = [[name.replace("_", " "), str(value)] for name, value in about.items()]
    return markdown(["", ""], [*rows, ["versions", versions]])


def print_report(results: Results) -> None:
    """All tables, the requirements last."""
    made = sections(results)
    for name, table in TABLES.items():
        print(f"\n{table.heading}\n\n{made[name]}")
    print(f"\n{made['machine']}\n\n{made['requirements']}\n")


def write_document(results: Results, document: Path = DOCUMENT) -> None:
    """Put everything that is made from the results into its places in the document."""
    write_places(document, sections(results))
