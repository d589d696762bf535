"""Hypothesis strategies for routes as strangers may choose them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from hypothesis import strategies as st

from kvproxy.routing.entry import Entry
from kvproxy.routing.route import Route, make_route
from kvproxy.store import Operation, Space

#: Characters that mean something to URLs, regular expressions, Go strings or Traefik's rules.
HOSTILE = "`\"'\\()[]{}|&^$*+?.,;:=!@#%/~<> -_"
names = st.one_of(
    st.text(st.sampled_from("ab" + HOSTILE), min_size=1, max_size=6),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=6),
    st.sampled_from(
        ["ada", "ad", "ada1", "a.b", "x`) || HostRegexp(`.*", 'x") || Host("y', "naïve", "50%", "a%2Fb", "a+b"]
    ),
).filter(lambda name: name not in {".", ".."})
hosts = st.sampled_from(["", "", "ada.example.org", "example.org"])
targets = st.builds("http://127.0.0.1:{}".format, st.integers(1, 65535))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)
data = st.dictionaries(st.text(max_size=8), json_values, max_size=4)


def spell(name: str) -> str:
    """A name in a routespec, as JupyterHub writes it."""
    return quote(name, safe="@~")


@st.composite
def routes(draw: st.DrawFn, max_depth: int = 3) -> Route:
    """A route of up to ``max_depth`` segments."""
    path = "".join(spell(name) + "/" for name in draw(st.lists(names, max_size=max_depth)))
    return make_route(f"{draw(hosts)}/{path}", draw(targets), draw(data))


@st.composite
def spellings(draw: st.DrawFn, name: str) -> str:
    """One of the ways in which a client may write a name in a path."""
    return "".join(draw(st.sampled_from(_ways(character))) for character in name)


def _ways(character: str) -> list[str]:
    encoded = "".join(f"%{byte:02X}" for byte in character.encode())
    ways = [encoded, encoded.lower()]
    return ways if character in "/?#%" else [*ways, character]


def applied(entry: Entry, operations: Iterable[Operation]) -> Entry:
    """An entry after some operations."""
    spaces = {Space.CONFIG: dict(entry.config), Space.RECORDS: dict(entry.records)}
    for operation in operations:
        if operation.value is None:
            spaces[operation.space].pop(operation.key, None)
        else:
            spaces[operation.space][operation.key] = operation.value
    return Entry(entry.name, spaces[Space.CONFIG], spaces[Space.RECORDS])
