"""From results to the tables of docs/faults.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.document import machine_line, write_places
from benchmarks.results import Results
from benchmarks.tables import markdown
from benchmarks.workload import ROOT
from tests.faults.catalogue import FAULTS
from tests.faults.cell import applies
from tests.faults.stores import STORES

DOCUMENT = ROOT / "docs" / "faults.md"
RESULTS = ROOT / "tests" / "faults" / "results" / "matrix"
#: Programs whose versions are told.
PROGRAMS = ("traefik", "redis-server", "valkey-server", "etcd", "consul")


class Cells:
    """Questions to the results of one run."""

    def __init__(self, results: Results):
        self.results = results
        self.stores = [name for name in STORES if name in results.contestants()]
        (self.routes,) = results.sizes() or [0]

    def value(self, store: str, fault: str, metric: str) -> float | None:
        """The measured value, None if there is none."""
        return self.results.mean(store, self.routes, fault, metric)

    def problem(self, store: str, fault: str) -> str:
        """The problem of a cell."""
        return self.results.error(store, self.routes, fault)

    def seconds(self, store: str, fault: str, metric: str) -> str:
        """With one digit behind the point, as anything beyond is chance."""
        value = self.value(store, fault, metric)
        return "never" if value is None else f"{value:.1f} s"

    def matrix(self, store: str, fault: str) -> str:
        """Routes before and after, requests that failed of those sent, and seconds until a new route."""
        before, after, failed, sent = (self.value(store, fault, m) for m in ("before", "after", "failed", "sent"))
        if before is None or after is None:
            return self._nothing(store, fault)
        requests = f"{failed:,.0f} / {sent:,.0f}" if sent else "-"
        shown = f"{before:.0f} → {after:.0f}; {requests}; {self.seconds(store, fault, 'add_s')}"
        return f"**{shown}**" if self.problem(store, fault) else shown

    def hit(self, store: str, fault: str) -> str:
        """Seconds for which the routes that are hit fail, and until all is right."""
        if not self.value(store, fault, "before"):
            return self._nothing(store, fault)
        noticed = self.seconds(store, fault, "noticed_s") if self.value(store, fault, "hit") else "-"
        return f"{noticed}; {self.seconds(store, fault, 'healed_s')}"

    def _nothing(self, store: str, fault: str) -> str:
        return self.problem(store, fault) if applies(store, fault) else "-"

    def table(self, kind: str) -> str:
        """A row a fault, a column a store; kind: ``matrix`` or ``hit``."""
        cell = getattr(self, kind)
        head = ["", *(STORES[store][0] for store in self.stores)]
        return markdown(head, [[what.title, *(cell(s, name) for s in self.stores)] for name, what in FAULTS.items()])


def sections(results: Results) -> dict[str, str]:
    """Everything that is made from the results of the matrix, by the names of its places in the document."""
    cells = Cells(results)
    problems = [
        f"- {STORES[store][0]}, {what.title}: {cells.problem(store, name)}"
        for name, what in FAULTS.items()
        for store in cells.stores
        if cells.problem(store, name)
    ]
    return {
        "matrix": cells.table("matrix"),
        "hit": cells.table("hit"),
        "problems": "\n".join(problems) or "Every cell is as it should be.",
        "machine": f"{cells.routes} routes; {machine_line(results, PROGRAMS)}",
    }


def write_document(results: Results, document: Path = DOCUMENT) -> None:
    """Put all of it into its places."""
    write_places(document, sections(results))
