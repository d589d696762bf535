"""The contents of the page: observations in, HTML out. Every text is escaped by the template engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .._text import counted, printable
from ..cli.check.findings import Finding, Level
from ..cli.routes.compare import Row, StoreState, TraefikState
from ..cli.routes.output import Choice, whose
from ..routing.decode import parent_name

#: Routes on one page.
PAGE: Final = 100
_TEMPLATES: Final = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class HubSide:
    """The hub's own view, as far as its API tells.

    Args:
        routes: the routes that it wants, by routespec, as ``/hub/api/proxy`` has them; None if it does not tell.
        numbers: kvproxy's metrics without their prefix, of those without labels.
        problem: why the hub tells nothing, a sentence; empty if it does.
    """

    routes: Mapping[str, Mapping[str, Any]] | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Observation:
    """The routes at one moment.

    Args:
        place: where in the store the routes are.
        held: what the store holds.
        seen: what each Traefik says.
        rows: all routes, those first that differ.
        hub: what the hub says.
        problem: why the store could not be read, a sentence; empty if it could.
        complete: whether the Traefiks have been asked; otherwise nobody knows yet which routes differ.
    """

    place: str
    held: StoreState
    seen: Sequence[TraefikState] = ()
    rows: Sequence[Row] = ()
    hub: HubSide = field(default_factory=HubSide)
    problem: str = ""
    complete: bool = True


@dataclass(frozen=True)
class Asked:
    """The routes to show on the page.

    Args:
        prefix: beginning of routespecs; empty for all.
        differing: whether only those are shown that differ.
        page: number of the page, from 1 on.
    """

    prefix: str = ""
    differing: bool = False
    page: int = 1

    @classmethod
    def of(cls, prefix: str, differing: str, page: str) -> Asked:
        """The same, from the texts of a URL's query, whatever they hold."""
        return cls(prefix, bool(differing), int(page) if page.isascii() and page.isdigit() and len(page) < 9 else 1)

    def link(self, page: int) -> str:
        """The query of another page of the same routes."""
        given = {"prefix": self.prefix, "differing": "1" if self.differing else "", "page": str(page)}
        return "?" + urlencode({name: value for name, value in given.items() if value})


@dataclass(frozen=True)
class Line:
    """One route as the page shows it; texts are printable."""

    route: str
    whose: str
    target: str
    differs: bool
    sights: Sequence[tuple[str, str]]
    active: str
    remark: str


def page(
    observation: Observation,
    asked: Asked,
    findings: Sequence[Finding] | None,
    prefix: str,
    user: str,
    token: str = "",
) -> str:
    """The whole page.

    Args:
        observation: the routes.
        asked: which of them.
        findings: what ``kvproxy check`` found; None as long as it looks.
        prefix: path of the service, with slashes at both ends.
        user: name of whoever looks at it.
        token: what JupyterHub wants to see with a script's request (XSRF), besides the cookie.
    """
    return _ENVIRONMENT.get_template("page.html").render(
        **context(observation, asked, findings), prefix=prefix, user=printable(user), token=token
    )


def context(observation: Observation, asked: Asked, findings: Sequence[Finding] | None) -> dict[str, Any]:
    """The values that the page's template shows."""
    fitting = Choice(asked.prefix, asked.differing).of(observation.rows)
    pages = max(1, -(-len(fitting) // PAGE))
    number = min(max(asked.page, 1), pages)
    shown = fitting[(number - 1) * PAGE : number * PAGE]
    return {
        "observation": observation,
        "asked": asked,
        "lines": [_line(row, observation) for row in shown],
        "fitting": len(fitting),
        "page": number,
        "pages": pages,
        "routes": sum(row.route is not None for row in observation.rows),
        "differing": sum(row.differs for row in observation.rows),
        "replicas": [_replica(one) for one in observation.seen],
        "missing": _missing(observation),
        "groups": _groups(observation.held),
        "findings": _sorted(findings),
        "counts": Counter(one.level.value for one in findings or ()),
    }


def _line(row: Row, observation: Observation) -> Line:
    known = row.route.as_dict() if row.route is not None else {}
    told = (observation.hub.routes or {}).get(known.get("routespec", ""), {})
    said = [row.store, *(sight.why for sight in row.replicas.values())]
    return Line(
        printable(known.get("routespec") or row.name),
        printable(whose(known.get("data") or {})),
        known.get("target") or "",
        row.differs,
        [(sight.state.value, sight.state.name.lower()) for sight in row.replicas.values()],
        _moment(told.get("data", {}).get("last_activity") if isinstance(told.get("data"), Mapping) else None),
        printable(" ".join(dict.fromkeys(filter(None, said)))),
    )


def _moment(given: Any) -> str:
    """A time of the hub's (ISO 8601, UTC) to the second; empty if there is none.

    >>> _moment("2026-01-02T03:04:05.678901Z"), _moment(None)
    ('2026-01-02 03:04:05', '')
    """
    return given[:19].replace("T", " ") if isinstance(given, str) else ""


def _replica(seen: TraefikState) -> tuple[str, str, str, bool]:
    """Name, version, what is to be said, and whether all is well."""
    if seen.problem:
        return seen.name, "", printable(seen.problem), False
    latest = seen.revision == seen.stored
    said = "has loaded what the store holds" if latest else "has not loaded what the store holds"
    return seen.name, seen.version, said, latest


def _missing(observation: Observation) -> list[str]:
    """Routes that the hub wants and the store does not hold."""
    if observation.hub.routes is None or observation.problem:
        return []
    stored = {row.route.routespec for row in observation.rows if row.route is not None}
    return sorted(printable(spec) for spec in observation.hub.routes if spec not in stored)


def _groups(held: StoreState) -> tuple[int, int]:
    """The number of groups, and how many of them are within each other at most."""
    groups = held.groups
    within = {name: parent_name(held.entries[name], held.names) for name in groups}

    def depth(name: str, seen: frozenset[str] = frozenset()) -> int:
        above = within.get(name)
        return 1 if above not in within or name in seen else 1 + depth(str(above), seen | {name})

    return len(groups), max(map(depth, groups), default=0)


def _sorted(findings: Iterable[Finding] | None) -> list[Finding] | None:
    """The worst first."""
    order = {Level.ERROR: 0, Level.WARNING: 1, Level.OK: 2}
    return None if findings is None else sorted(findings, key=lambda one: order[one.level])


_ENVIRONMENT: Final = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
_ENVIRONMENT.filters["count"] = lambda number, noun: counted(int(number), noun)
