"""A model of how Traefik 3 reads a rule and matches a request, for tests that cannot ask a real Traefik each time.

It knows no more than kvproxy writes: ``Host``, ``HostRegexp``, ``Path``, ``PathPrefix``, ``PathRegexp``,
``HeaderRegexp``, ``!``, ``&&``, ``||``, brackets, strings in double quotes, and ``parentRefs`` as one value. Anything
else is a syntax error, so a routespec that breaks out of its string is seen. The tests against the real Traefik hold
the model to the truth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import unquote

_TOKEN = re.compile(r'\s*(?:(?P<word>[A-Za-z]+)|(?P<mark>&&|\|\||[()!,])|(?P<text>"(?:[^"\\]|\\.)*"))')
_LONG_ESCAPE = re.compile(r"\\U([0-9a-f]{8})")
_RESERVED = {f"%{ord(c):02X}" for c in ":/?#[]@!$&'()*+,;=%"}


@dataclass(frozen=True)
class Request:
    """The parts of a request that rules match.

    Args:
        host: without a port.
        path: see :func:`routing_path`.
        headers: by their names as a rule spells them.
    """

    host: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


Match = Callable[[Request], bool]


@dataclass
class _Parser:
    tokens: list[tuple[str, str]]

    def take(self, kind: str, value: str | None = None) -> str:
        if not self.tokens or self.tokens[0][0] != kind or value not in {None, self.tokens[0][1]}:
            raise ValueError(f"expected {value or kind} before {self.tokens[:1]}")
        return self.tokens.pop(0)[1]

    def next_is(self, mark: str) -> bool:
        return bool(self.tokens) and self.tokens[0] == ("mark", mark)

    def either(self) -> Match:
        left = self.both()
        while self.next_is("||"):
            self.take("mark")
            left = _or(left, self.both())
        return left

    def both(self) -> Match:
        left = self.one()
        while self.next_is("&&"):
            self.take("mark")
            left = _and(left, self.one())
        return left

    def one(self) -> Match:
        if self.next_is("!"):
            self.take("mark")
            negated = self.one()
            return lambda request: not negated(request)
        if self.next_is("("):
            self.take("mark")
            inner = self.either()
        else:
            inner = self.matcher(self.take("word"))
        self.take("mark", ")")
        return inner

    def matcher(self, word: str) -> Match:
        self.take("mark", "(")
        argument = _unquote_go(self.take("text"))
        if word != "HeaderRegexp":
            return _MATCHERS[word](argument)
        self.take("mark", ",")
        return _header_regexp(argument, _unquote_go(self.take("text")))


def _or(left: Match, right: Match) -> Match:
    return lambda request: left(request) or right(request)


def _and(left: Match, right: Match) -> Match:
    return lambda request: left(request) and right(request)


def _regexp(text: str) -> Match:
    pattern = re.compile(text)
    return lambda request: pattern.search(request.path) is not None


def _host_regexp(text: str) -> Match:
    pattern = re.compile(text)
    return lambda request: pattern.search(request.host) is not None


def _header_regexp(name: str, text: str) -> Match:
    pattern = re.compile(text)
    return lambda request: name in request.headers and pattern.search(request.headers[name]) is not None


_MATCHERS: Mapping[str, Callable[[str], Match]] = {
    "Host": lambda text: lambda request: request.host == text,
    "HostRegexp": _host_regexp,
    "Path": lambda text: lambda request: request.path == text,
    "PathPrefix": lambda text: lambda request: request.path.startswith(text),
    "PathRegexp": _regexp,
}


def _unquote_go(literal: str) -> str:
    def pair(match: re.Match[str]) -> str:
        return json.dumps(chr(int(match.group(1), 16)))[1:-1]

    return str(json.loads(_LONG_ESCAPE.sub(pair, literal)))


@cache
def parse(rule: str) -> Match:
    """A rule as a function of a request.

    Raises:
        ValueError: if it is not a rule of the forms that kvproxy writes.
    """
    tokens, end = [], 0
    while end < len(rule):
        match = _TOKEN.match(rule, end)
        if match is None or match.lastgroup is None:
            raise ValueError(f"syntax error at {rule[end : end + 20]!r}")
        tokens.append((match.lastgroup, match.group(match.lastgroup)))
        end = match.end()
    parser = _Parser(tokens)
    result = parser.either()
    if parser.tokens:
        raise ValueError(f"more than a rule: {parser.tokens}")
    return result


def routing_path(path: str) -> str:
    """The path that Traefik matches: percent-escapes decoded but those of reserved characters, which are upper-case.

    >>> routing_path("/a%2fb%20c?d")
    '/a%2Fb c'
    """
    parts = re.split(r"((?:%[0-9A-Fa-f]{2})+)", path.partition("?")[0])
    return "".join(_decode(part) if part.startswith("%") else part for part in parts)


def _decode(escapes: str) -> str:
    upper = escapes.upper()
    kept = (upper[i : i + 3] for i in range(0, len(upper), 3))
    return unquote("".join(e.replace("%", "%25") if e in _RESERVED else e for e in kept))


def lead(
    routers: Mapping[str, Mapping[str, object]], host: str, path: str, headers: Mapping[str, str] | None = None
) -> str | None:
    """The name of the router that serves a request, None for a 404."""
    way = ways(routers, host, path, headers)
    return way[-1] if way else None


def ways(
    routers: Mapping[str, Mapping[str, object]], host: str, path: str, headers: Mapping[str, str] | None = None
) -> list[str]:
    """The names of the routers that a request passes, the one that serves it last; none for a 404.

    As Traefik does (``ParseRouterTree``, ``buildChildRoutersMuxer``, 3.7): a router with children leads to them and
    never back; one without a service or a child that works is none, nor is one whose parent is missing.

    Args:
        routers: name -> ``{"rule": text, "priority": number, "service": name, "parentRefs": names}``; a missing
            priority is the rule's length, a router without a rule is none.
        host: the request's host without a port.
        path: the request's path as it stands in the request line.
        headers: those that rules may look at.
    """
    children: dict[object, list[str]] = {}
    for name, router in routers.items():
        parents = str(router.get("parentRefs") or "").split(",")
        # One whose parent is missing is disabled, whatever other parents it has.
        if router.get("rule") and all(parent == "" or routers.get(parent, {}).get("rule") for parent in parents):
            for parent in parents:
                children.setdefault(parent or None, []).append(name)

    def works(name: str) -> bool:
        return any(map(works, children.get(name, ()))) if name in children else bool(routers[name].get("service"))

    def order(name: str) -> int:
        return int(str(routers[name].get("priority") or len(str(routers[name]["rule"]))))

    def down(parent: str | None) -> list[str]:
        for name in sorted(filter(works, children[parent]), key=order, reverse=True):
            if parse(str(routers[name]["rule"]))(seen):
                below = down(name) if name in children else []
                return [name, *below] if below or name not in children else []
        return []

    seen = Request(host, routing_path(path), headers or {})
    return down(None) if None in children else []
