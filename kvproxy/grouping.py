"""Groups of routes: which there are to be, and the Traefik rule and priority that a group comes to.

Traefik looks at its routers one after another, so a group, a parent router in front of the routes whose names begin
alike, spares a request the look at all the others. Where a route belongs follows from its *stem* and the groups that
there are, never from its neighbours: it is in the innermost group that reaches it.
"""

from __future__ import annotations

import os.path
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from .routes import RouteSpec
from .rules import ENCODED_ONLY, HOST_PRIORITY, TWO_SPELLINGS, percent, plain_priority, quote_argument, regexp_text

#: A rule that no request fits: that of a group which is there, but not in use.
NO_REQUEST: Final = '!PathPrefix("/")'
#: A rule that every request in a group fits. It is shorter than any other rule of kvproxy's, so that without a
#: priority of its own it comes last, in the group as well as anywhere else.
ANY_REQUEST: Final = '!Path("/")'
#: Groups by a part of a host come after all routes with a host and before all without.
_HOST_GROUP_PRIORITY: Final = HOST_PRIORITY // 2


@dataclass(frozen=True)
class Limits:
    """When groups are made and given up.

    Args:
        most: children of one parent above which it is divided, if their names allow.
        least: children that a group needs in order to be made; one with less than half of them is given up.
    """

    most: int = 64
    least: int = 8


def stem(spec: RouteSpec) -> str:
    """Host and decoded path of a route without a last slash; reserved characters that need escapes stay escaped.

    >>> stem(RouteSpec("", ("user", "a@b", "50%"))), stem(RouteSpec("example.org", ()))
    ('/user/a@b/50%25', 'example.org/')
    """
    path = "/".join("".join(percent(c) if c in ENCODED_ONLY else c for c in segment) for segment in spec.segments)
    return f"{spec.host}/{path}"


@dataclass(frozen=True, order=True)
class Group:
    """A set of stems: all that begin with ``prefix`` and, if there are ``symbols``, go on with one of them.

    Args:
        prefix: beginning of a stem.
        symbols: characters or percent-escapes.
    """

    prefix: str
    symbols: tuple[str, ...] = ()

    @property
    def reaches(self) -> tuple[str, ...]:
        """What the stems of the group begin with."""
        return tuple(self.prefix + symbol for symbol in self.symbols) if self.symbols else (self.prefix,)

    @property
    def rule(self) -> str:
        """The rule that just the requests for routes of the group fit, and those for routes that could be in it."""
        return " || ".join(map(_reach_rule, self.reaches))

    @property
    def priority(self) -> int:
        """The priority that puts the group behind all routes in it, and before all routes that these are under.

        So a route leads to the same place from in the group as from beside it.
        """
        host, slash, path = self.prefix.partition("/")
        inner = 1 if self.symbols else 0
        if not slash:
            return _HOST_GROUP_PRIORITY + 2 * len(host) + inner
        return plain_priority("/" + path) - 1 + inner + (HOST_PRIORITY if host else 0)


def _reach_rule(reach: str) -> str:
    host, slash, path = reach.partition("/")
    if not slash:
        return f"HostRegexp({quote_argument('^' + host.replace('.', chr(92) + '.'))})"
    if TWO_SPELLINGS.isdisjoint(path):
        rule = f"PathPrefix({quote_argument('/' + path)})"
    else:
        rule = f"PathRegexp({quote_argument('^/' + regexp_text(path))})"
    return f"Host({quote_argument(host)}) && {rule}" if host else rule


def prefixes(stem: str) -> Iterator[str]:
    """All beginnings of a stem, the longest first, the stem itself being one of them."""
    return (stem[:end] for end in range(len(stem), 0, -1))


def ancestors(group: Group) -> Iterator[str]:
    """Stems of the routes that a request in a group may lead to if none in the group fits, the longest first.

    >>> list(ancestors(Group("/user/ada/x"))), list(ancestors(Group("h.org/user/", ("a", "b"))))
    (['/user/ada', '/user', '/'], ['h.org/user', 'h.org/', '/'])
    """
    host, slash, path = group.prefix.partition("/")
    end = path.rfind("/")
    while end >= 0:
        yield f"{host}/{path[:end]}"
        end = path.rfind("/", 0, end)
    if slash and host:
        yield f"{host}/"
    yield "/"


def divide(parent: Group | None, children: Sequence[str], limits: Limits, present: Container[str] = ()) -> list[Group]:
    """New groups in a parent, at all depths, such that none has too many children, as far as names allow.

    Args:
        parent: None for the root.
        children: stems of its routes and prefixes of its groups.
        limits: how many are too many.
        present: prefixes of groups that there are already.
    """
    made: list[Group] = []
    _divide(parent or Group(""), list(children), limits, present, made)
    return made


def _divide(parent: Group, children: list[str], limits: Limits, present: Container[str], made: list[Group]) -> int:
    """Add new groups to ``made``; give back how many children the parent has then."""
    if len(children) <= limits.most:
        return len(children)
    small: dict[str, list[str]] = {}
    count = 0
    parts = _by_next_symbol(parent.prefix, children)
    left = len(children) - sum(map(len, parts.values()))
    for symbol, part in parts.items():
        if len(part) > limits.most // 2 or symbol == "/" or (parent.symbols and len(part) >= limits.least):
            count += _part(part, limits, present, made, alone=len(parts) == 1)
        else:
            small[symbol] = part
    return left + count + (sum(map(len, small.values())) if parent.symbols else _pack(parent.prefix, small, limits, made))


def _part(part: list[str], limits: Limits, present: Container[str], made: list[Group], alone: bool) -> int:
    """A group of its own for what goes on with the same symbol, if that is of any use."""
    shared = _shared(part)
    inside = _divide(Group(shared), part, limits, present, made)
    # A group of all children there are, or of all routes of a host, would change nothing.
    if alone or shared in present or len(part) < limits.least or not shared.partition("/")[2] and "/" in shared:
        return inside
    made.append(Group(shared))
    return 1


def _pack(prefix: str, parts: dict[str, list[str]], limits: Limits, made: list[Group]) -> int:
    """Groups of several symbols for the parts that are too small to be one each, half full, so that they can grow."""
    count, symbols, size = 0, [], 0
    for symbol in [*sorted(parts), ""]:
        more = len(parts.get(symbol, ()))
        if symbol and size + more <= limits.most // 2:
            symbols.append(symbol)
            size += more
            continue
        if size >= limits.least:
            made.append(Group(prefix, tuple(symbols)))
        count += 1 if size >= limits.least else size
        symbols, size = [symbol], more
    return count


def _shared(part: Sequence[str]) -> str:
    """What all of these begin with, without a piece of an escape at its end."""
    common = os.path.commonprefix(part)
    cut = common.find("%", max(len(common) - 2, 0))
    return common if cut < 0 else common[:cut]


def _by_next_symbol(prefix: str, children: Iterable[str]) -> dict[str, list[str]]:
    """The children that go on behind the prefix, by the character or escape that comes next."""
    parts: dict[str, list[str]] = {}
    at = len(prefix)
    for child in children:
        if len(child) > at:
            parts.setdefault(child[at : at + 3] if child[at] == "%" else child[at], []).append(child)
    return parts
