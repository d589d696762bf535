"""From a routespec to a Traefik rule that matches exactly the paths under it, whatever its text.

Traefik 3 matches on a path in which percent-escapes are decoded except those of the reserved characters, which stay
as upper-case ``%XX`` (``pkg/muxer/http/mux.go``, ``withRoutingPath``, read in 3.7). A client may send most reserved
characters literally too, and does: ``encodeURIComponent`` and JupyterHub do not escape the same set. A route has
to answer to every spelling of its path and to no other path, so

* a path in which every character has one spelling becomes ``Path("/a") || PathPrefix("/a/")``;
* any other becomes one ``PathRegexp`` in which such a character is an alternative of its two spellings.
"""

from __future__ import annotations

import re

from .route import RouteSpec

#: Reserved characters that a client may send as they are or percent-encoded.
TWO_SPELLINGS = frozenset(":[]@!$&'()*+,;=")
#: Reserved characters that only ever reach a path percent-encoded.
ENCODED_ONLY = frozenset("/?#%")

#: Routes with a host come before all routes without one, as in configurable-http-proxy's host routing.
HOST_PRIORITY = 100_000

_REGEXP_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_NOT_PLAIN = re.compile(r"[^ -!#-\[\]-~]", re.DOTALL)


def quote_argument(text: str) -> str:
    """``text`` as a double-quoted string of Traefik's rule language (that of Go).

    Only printable ASCII other than ``"`` and ``\\`` stands as it is, so no text can end the string early.

    >>> print(quote_argument('x") || Host("evil'))
    "x\\") || Host(\\"evil"
    """
    return '"' + _NOT_PLAIN.sub(_quote_character, text) + '"'


def _quote_character(match: re.Match[str]) -> str:
    character = match.group()
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _percent(character: str) -> str:
    return f"%{ord(character):02X}"


def routing_path(spec: RouteSpec) -> str | None:
    """The path as Traefik sees it, without a trailing slash, or None if it has several spellings.

    >>> routing_path(RouteSpec("", ("user", "50%"))), routing_path(RouteSpec("", ("user", "a@b")))
    ('/user/50%25', None)
    """
    return escaped_path(spec) if all(map(TWO_SPELLINGS.isdisjoint, spec.segments)) else None


def has_reserved(spec: RouteSpec) -> bool:
    """True if the path has a character that only ever reaches it percent-encoded.

    >>> has_reserved(RouteSpec("", ("user", "a#b"))), has_reserved(RouteSpec("", ("user", "a@b")))
    (True, False)
    """
    return not all(map(ENCODED_ONLY.isdisjoint, spec.segments))


def escaped_path(spec: RouteSpec) -> str:
    """The path without a trailing slash, decoded but for the characters that only ever reach a path percent-encoded."""
    path = "".join(["/" + segment for segment in spec.segments])
    if not has_reserved(spec):
        return path
    return "".join(["/" + "".join([_percent(c) if c in ENCODED_ONLY else c for c in s]) for s in spec.segments])


def _regexp_character(character: str) -> str:
    if character in ENCODED_ONLY:
        return _percent(character)
    literal = _REGEXP_SPECIAL.sub(r"\\\g<0>", character)
    return f"(?:{literal}|{_percent(character)})" if character in TWO_SPELLINGS else literal


def path_regexp(spec: RouteSpec, any_segment: str = "") -> str:
    """A regular expression (RE2) for every spelling of the path and for everything below it.

    Args:
        spec: the path.
        any_segment: if not empty, what stands for any one segment.
    """
    return f"^{''.join('/' + _regexp_segment(segment, any_segment) for segment in spec.segments)}(?:/|$)"


def _regexp_segment(segment: str, any_segment: str) -> str:
    return "[^/]+" if segment == any_segment else "".join(map(_regexp_character, segment))


def regexp_text(path: str) -> str:
    """A regular expression (RE2) for every spelling of a path in which what must be escaped is escaped already."""
    return "".join(c if c in "/%" else _regexp_character(c) for c in path)


def path_rule(spec: RouteSpec) -> str:
    """The part of the rule that is about the path."""
    if not spec.segments:
        return 'PathPrefix("/")'
    path = routing_path(spec)
    if path is None:
        return f"PathRegexp({quote_argument(path_regexp(spec))})"
    return f"Path({quote_argument(path)}) || PathPrefix({quote_argument(path + '/')})"


def rule(spec: RouteSpec) -> str:
    """The whole rule of a route.

    >>> print(rule(RouteSpec("", ("user", "ada"))))
    Path("/user/ada") || PathPrefix("/user/ada/")
    >>> print(rule(RouteSpec("ada.example.org", ("hub",))))
    Host("ada.example.org") && (Path("/hub") || PathPrefix("/hub/"))
    """
    path = path_rule(spec)
    return f"Host({quote_argument(spec.host)}) && ({path})" if spec.host else path


def priority(spec: RouteSpec) -> int:
    """The priority that makes the longest matching routespec win, and a host win over none.

    Where two routespecs without a host match one request, the path of one continues the other's, so any measure
    that grows with the path will do. The length of the plain form of the rule is taken, because that is what Traefik
    uses when no priority is set (``GetRulePriority``, 3.7): a route in the plain form needs no priority key.
    """
    return plain_priority(escaped_path(spec)) + (HOST_PRIORITY if spec.host else 0)


def plain_priority(path: str) -> int:
    """The length of the plain form of the rule for a path without a last slash.

    >>> plain_priority("/user/ada") == len(rule(RouteSpec("", ("user", "ada"))))
    True
    """
    # Both arguments of the plain form are as long as the quoted path, the second one by a slash longer.
    return 2 * len(quote_argument(path)) + len("Path() || PathPrefix()") + 1 if path else len('PathPrefix("/")')
