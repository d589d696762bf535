"""Groups of routes: which there are to be, and the Traefik rule and priority of a group.

Traefik looks at its routers one after another, so a group, a parent router in front of the routes whose names begin
alike, spares a request the look at all the others. Where a route belongs follows from its *stem* and the groups that
there are, never from its neighbours: it is in the innermost group that reaches it.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from .route import RouteSpec
from .rule import HOST_PRIORITY, TWO_SPELLINGS, escaped_path, plain_rule, quote_argument, regexp_text

#: A rule that no request fits: that of a group which is there, but not in use.
NO_REQUEST: Final = '!PathPrefix("/")'
#: A rule that every request in a group of paths fits. It is shorter than all other rules of kvproxy's, so that without
#: a priority of its own it comes last: in its group, and where a reader does not see yet that it is in one.
ANY_REQUEST: Final = '!Path("/")'
#: The same for a group of hosts, in which there may be requests for ``/``. No path holds a question mark.
ANY_IN_GROUP: Final = '!Path("/?")'
#: Groups by a part of a host come after all routes with a host and before all without.
_HOST_GROUP_PRIORITY: Final = HOST_PRIORITY // 2
#: Characters of a group's prefix and symbols: of a host, those of host names.
_PREFIX: Final = re.compile(r"[a-z0-9_.-]*(?:/[^\ud800-\udfff]*)?")
_SYMBOL: Final = re.compile(r"%[0-9A-F]{2}|[^%\ud800-\udfff]", re.DOTALL)


@dataclass(frozen=True)
class Limits:
    """Sizes at which groups are made and given up.

    Args:
        most: children of one parent above which it is divided, if their names allow.
        least: children that a group needs in order to be made; one with less than half of them is given up.
    """

    most: int = 32
    least: int = 8


def stem(spec: RouteSpec) -> str:
    """Host and decoded path of a route without a last slash; reserved characters that need escapes stay escaped.

    >>> stem(RouteSpec("", ("user", "a@b", "50%"))), stem(RouteSpec("example.org", ()))
    ('/user/a@b/50%25', 'example.org/')
    """
    return spec.host + (escaped_path(spec) or "/")


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
    def proper(self) -> bool:
        """True if kvproxy could have made it; a store may hold anything."""
        ordered = sorted({symbol for symbol in self.symbols if _SYMBOL.fullmatch(symbol)}) == list(self.symbols)
        return ordered and bool(self.prefix or self.symbols) and _PREFIX.fullmatch(self.prefix) is not None

    @property
    def reaches(self) -> tuple[str, ...]:
        """The common prefix of the group's stems."""
        return tuple(self.prefix + symbol for symbol in self.symbols) if self.symbols else (self.prefix,)

    def covers(self, stem: str) -> bool:
        """True if a stem, or the prefix of another group, is in the group."""
        return stem.startswith(self.reaches)

    @property
    def above(self) -> Iterator[str]:
        """Stems of the routes that requests lead to which fit the group and no route in it, the longest first."""
        return above_stem(self.reaches[0])

    @property
    def rule(self) -> str:
        """The rule that just the requests for routes of the group fit, and those for routes that could be in it."""
        return " || ".join(map(_reach_rule, self.reaches))

    @property
    def last_rule(self) -> str:
        """A rule for what no route in the group fits, which comes last everywhere without a priority of its own."""
        return self.rule if not self.prefix.startswith("/") else ANY_REQUEST

    @property
    def priority(self) -> int:
        """The priority that puts the group behind all routes in it, and before all routes that these are under.

        So a route leads to the same place from in the group as from beside it.
        """
        host, slash, path = self.prefix.partition("/")
        inner = 1 if self.symbols else 0
        if not slash:
            return _HOST_GROUP_PRIORITY + 2 * len(host) + inner
        return len(plain_rule("/" + path)) - 1 + inner + (HOST_PRIORITY if host else 0)


def _reach_rule(reach: str) -> str:
    host, slash, path = reach.partition("/")
    if not slash:
        return f"HostRegexp({quote_argument('^' + host.replace('.', chr(92) + '.'))})"
    if TWO_SPELLINGS.isdisjoint(path):
        rule = f"PathPrefix({quote_argument('/' + path)})"
    else:
        rule = f"PathRegexp({quote_argument('^/' + regexp_text(path))})"
    return f"Host({quote_argument(host)}) && {rule}" if host else rule


def above_stem(stem: str) -> Iterator[str]:
    """Stems of the routes that a request for one leads to if it is not there, the longest first.

    >>> list(above_stem("/user/ada/x")), list(above_stem("h.org/user"))
    (['/user/ada', '/user', '/'], ['h.org/', '/'])
    """
    host, slash, path = stem.partition("/")
    end = path.rfind("/")
    while end >= 0:
        yield f"{host}/{path[:end]}"
        end = path.rfind("/", 0, end)
    if slash and path and host:
        yield f"{host}/"
    if stem != "/":
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
    if parent.symbols:
        return left + count + sum(map(len, small.values()))
    return left + count + _pack(parent.prefix, small, limits, made)


def _part(part: list[str], limits: Limits, present: Container[str], made: list[Group], alone: bool) -> int:
    """A group of its own for what goes on with the same symbol, if that is of any use."""
    shared = _shared(part)
    inside = _divide(Group(shared), part, limits, present, made)
    # A group of all children there are, or of all routes of a host, would change nothing.
    whole_host = "/" in shared and not shared.partition("/")[2]
    if alone or whole_host or shared in present or len(part) < limits.least:
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
    """Return the common prefix of all, without a part of an escape at its end."""
    common = os.path.commonprefix(part)  # noqa: RUF071 - of characters is what is wanted; no files are concerned
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


@dataclass
class Lookup:
    """Finds the innermost group that reaches a stem, in as many steps as groups reach stems of different lengths."""

    #: By all that a group reaches: groups without symbols, and those with some, which are outside of them.
    single: dict[str, Group] = field(default_factory=dict)
    several: dict[str, Group] = field(default_factory=dict)
    #: The lengths of all that was ever reached, the longest first.
    lengths: list[int] = field(default_factory=list)

    def __contains__(self, group: object) -> bool:
        table = self._table(group) if isinstance(group, Group) else {}
        return isinstance(group, Group) and table.get(group.reaches[0]) == group

    def _table(self, group: Group) -> dict[str, Group]:
        return self.several if group.symbols else self.single

    def add(self, group: Group) -> None:
        """Let a group be found."""
        self._table(group).update(dict.fromkeys(group.reaches, group))
        self.lengths = sorted({*self.lengths, *map(len, group.reaches)}, reverse=True)

    def remove(self, group: Group) -> None:
        """Let a group be found no more."""
        table = self._table(group)
        for reach in group.reaches:
            if table.get(reach) == group:
                del table[reach]

    def inner(self, stem: str, besides: Group | None = None) -> Group | None:
        """The innermost group that reaches a stem, but for one; None if none does."""
        for length in self.lengths:
            if 0 < length <= len(stem):
                for table in (self.single, self.several):
                    if (group := table.get(stem[:length])) is not None and group != besides:
                        return group
        return None


def depth(group: Group | None) -> tuple[int, int]:
    """Tells which of two groups that reach the same stem is in the other: the one with the greater depth."""
    return (0, 0) if group is None else (len(group.prefix) + 1, len(group.symbols))
