"""The page of the documentation, as text: made from the recording of configurable-http-proxy and the expectations.

Observations behind kvproxy need no recording: a run fails unless it is what configurable-http-proxy shows, but for the
differences that are expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .case import Case, Expected, Facts
from .cases import SUBJECTS
from .expected import of
from .running import Views

_ORDER = ["worse", "different", "better", "same"]
_HEAD = """\
# On the wire

<!-- Written by `nox -s wire` from tests/wire; change nothing here. -->

The same bytes were sent through configurable-http-proxy {chp} and through kvproxy with Traefik {traefik}, both set up
as JupyterHub sets them up. A server behind them recorded what arrives, a client before them the answers.

| cases | worse | different | better | same |
|---|---|---|---|---|
{counts}
*Worse* and *better* are said of kvproxy. *Different* means that neither is, or that it depends on the server. Each case
is a test: `nox -s wire` runs all of them through both proxies, writes this page, and fails if anything differs in
another way than it says. Every run of the tests repeats the quick ones.

In the tables, *arrives* is the request as the server receives it, a number in a column is the status of the answer, and
the route is always `/user/x/`.
"""
#: The beginnings of names of facts that are bytes as they were seen, and no words about them.
_SENT = ("arrives", "header", "body", "trailer", "answer header", "answer body", "answer trailer", "reason", "X-")
_TABLE = """
| what | configurable-http-proxy | kvproxy | verdict | why, and the setting that helps |
|---|---|---|---|---|
"""


def page(there: Views, versions: dict[str, str]) -> str:
    """The text of the page."""
    rows = [(f"[{subject}](#{_anchor(subject)})", cases) for subject, cases in SUBJECTS.items()]
    everything = [case for cases in SUBJECTS.values() for case in cases]
    counts = "".join(_counts(name, cases) for name, cases in [*rows, ("all", everything)])
    text = _HEAD.format(
        chp=versions["configurable-http-proxy"], traefik=versions["traefik"].rpartition(".")[0], counts=counts
    )
    return text + "".join(_section(subject, cases, there) for subject, cases in SUBJECTS.items())


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def _counts(name: str, cases: Iterable[Case]) -> str:
    verdicts = [of(case.name).verdict for case in cases]
    return f"| {name} | {' | '.join(str(verdicts.count(verdict)) for verdict in _ORDER)} |\n"


def _section(subject: str, cases: Iterable[Case], there: Views) -> str:
    rows = sorted(cases, key=lambda case: _ORDER.index(of(case.name).verdict))
    return f"\n## {subject}\n{_TABLE}" + "".join(_row(case, of(case.name), _facts(case, there)) for case in rows)


def _facts(case: Case, there: Views) -> Facts:
    return there.get(case.setups[0].name, {}).get(case.name, {})


def _row(case: Case, expected: Expected, there: Facts) -> str:
    here = {name: fact for name, fact in {**there, **expected.here}.items() if fact is not None}
    names = list(expected.here) or [name for name in case.show if name in there]
    why = " ".join(text for text in (expected.why, expected.setting) if text)
    left = _cell(names, there)
    right = _cell(names, here) if expected.here else "the same"
    verdict = expected.verdict if expected.verdict in {"same", "different"} else f"**{expected.verdict}**"
    return f"| {case.what.replace('|', chr(92) + '|')} | {left} | {right} | {verdict} | {why} |\n"


def _cell(names: list[str], facts: Facts) -> str:
    return "<br>".join(filter(None, (_fact(name, facts.get(name)) for name in names)))


def _fact(name: str, fact: str | None) -> str:
    if name == "status":
        return {None: "no answer", "closed": "connection closed"}.get(fact) or f"`{fact}`"
    sent = name.startswith(_SENT)
    if fact is None:
        return f"no {name}" if sent else ""
    if (name, fact) == ("arrives", "nothing"):
        return "nothing arrives"
    return f"{name} {_code(fact) if sent else fact}"


def _code(text: str) -> str:
    """A text as code in a table's cell."""
    text = text.replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"
