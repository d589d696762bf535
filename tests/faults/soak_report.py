"""From a soak's results to its table, and to what is not as it should be."""

from __future__ import annotations

from pathlib import Path

from benchmarks.document import machine_line, write_places
from benchmarks.results import Results, Series
from benchmarks.tables import markdown
from benchmarks.workload import ROOT
from tests.faults.report import DOCUMENT, PROGRAMS

RESULTS = ROOT / "tests" / "faults" / "results" / "soak"
#: Part and what is counted of it -> its name, what one of its units is, and by how much it may have grown: a part of
#: what there was after the warm-up, and some more. An allocator rounds up, and Traefik keeps connections to users'
#: servers open for a while, a hundred servers at most.
COUNTED = {
    ("hub", "rss_b"): ("hub: memory, MiB", 2**20, 0.10, 12 * 2**20),
    ("hub", "files"): ("hub: file descriptors", 1, 0.0, 6),
    ("Traefik", "rss_b"): ("Traefik: memory, MiB", 2**20, 0.25, 32 * 2**20),
    ("Traefik", "files"): ("Traefik: file descriptors", 1, 0.0, 100),
    ("store", "keys"): ("store: keys", 1, 0.0, 0),
}


def series(results: Results, part: str, metric: str) -> Series:
    """All that was counted, the first after the warm-up, the last at the end."""
    found = results.series(part, results.sizes()[0], "soak", metric)
    if found is None:
        raise LookupError(f"{metric} of {part} was not counted.")
    return found


def count(results: Results, name: str) -> int:
    """How often something happened."""
    found = results.series("all", results.sizes()[0], "soak", name)
    return round(found.count * found.mean) if found else 0


def problems(results: Results) -> list[str]:
    """Everything that is not flat, or not right, in sentences."""
    found = []
    for (part, metric), (name, unit, share, more) in COUNTED.items():
        counted = series(results, part, metric)
        if counted.last > counted.first * (1 + share) + more:
            found.append(f"{name}: {counted.last / unit:.0f} at the end, {counted.first / unit:.0f} after the warm-up.")
    wanted = {
        "wrong": "routes do not lead where they should at the end",
        "failed": "requests on routes of users who were there all the time failed while Traefik and store were there",
        "refused": "users who logged in were refused",
    }
    return [*found, *(f"{number} {what}." for name, what in wanted.items() if (number := count(results, name)))]


def table(results: Results) -> str:
    """The counts, by part."""
    rows = []
    for (part, metric), (name, unit, share, more) in COUNTED.items():
        counted = series(results, part, metric)
        allowed = f"{share:.0%} + {more / unit:.0f}" if share else f"{more / unit:.0f}"
        rows.append([name, *(f"{value / unit:,.0f}" for value in (counted.first, counted.most, counted.last)), allowed])
    return markdown(["", "after the warm-up", "most", "at the end", "may grow by"], rows)


def story(results: Results) -> str:
    """The events, in a few sentences."""
    minutes = results.mean("all", results.sizes()[0], "soak", "minutes") or 0.0

    def of(name: str) -> str:
        return f"{count(results, name):,}"

    residents, store = f"{results.sizes()[0]:,}", results.machine.get("store", "")
    network = (
        f"The network was slow {of('slow')} times, silent {of('silent')} times, refusing {of('refusing')} times, lost "
        f"answers {of('answers_lost')} times, and forgot Traefik's connection {of('forgotten')} times. "
    )
    return (
        f"In {minutes:.3g} minutes {of('logins')} users logged in and out beside {residents} who were there all the "
        f"time. The store ({store}) crashed {of('store_restarts')} times, stood still {of('store_stops')} times, lost "
        f"everything {of('store_losses')} times and some records {of('deletions')} times; Traefik was killed "
        f"{of('traefik_restarts')} times, the hub restarted or killed {of('hub_restarts')} times. "
        f"{network if count(results, 'slow') else ''}Of {of('sent')} requests of those who were there all the time "
        f"{of('failed')} failed, and {of('excused')} more while Traefik was being restarted. {of('refused')} logins "
        f"were refused, and {of('wrong')} routes were wrong at the end."
    )


def place_of(store: str) -> str:
    """The name of the table of a store, and of its results: two tiers have their own."""
    return "soak-tiers" if "tiers" in store else "soak"


def sections(results: Results) -> dict[str, str]:
    """Everything that is made from the results, by the names of its places in the document."""
    place = place_of(str(results.machine.get("store", "")))
    machine = machine_line(results, PROGRAMS)
    return {place: table(results), place.replace("soak", "story"): story(results), f"{place}-machine": machine}


def write_document(results: Results, document: Path = DOCUMENT) -> None:
    """Put all of it into its places."""
    write_places(document, sections(results))
