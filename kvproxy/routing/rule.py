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
    return f'"{_quoted(text)}"'


def _quoted(text: str) -> str:
    return _NOT_PLAIN.sub(_quote_character, text)


def _quote_character(match: re.Match[str]) -> str:
    character = match.group()
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _percent(character: str) -> str:
    return f"%{ord(character):02X}"


_ESCAPED = str.maketrans({character: _percent(character) for character in ENCODED_ONLY})


def has_reserved(spec: RouteSpec) -> bool:
    """True if the path has a character that only ever reaches it percent-encoded.

    >>> has_reserved(RouteSpec("", ("user", "a#b"))), has_reserved(RouteSpec("", ("user", "a@b")))
    (True, False)
    """
    return not all(map(ENCODED_ONLY.isdisjoint, spec.segments))


def escaped_path(spec: RouteSpec) -> str:
    """The path without a trailing slash, decoded but for the characters that only ever reach a path percent-encoded.

    >>> escaped_path(RouteSpec("", ("user", "50%")))
    '/user/50%25'
    """
    return "".join(["/" + segment.translate(_ESCAPED) for segment in spec.segments])


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


def plain_rule(path: str) -> str:
    """The rule for a path that has one spelling and no last slash.

    >>> print(plain_rule("/user/ada"))
    Path("/user/ada") || PathPrefix("/user/ada/")
    """
    quoted = _quoted(path)
    return f'Path("{quoted}") || PathPrefix("{quoted}/")' if path else 'PathPrefix("/")'


def rule_and_priority(spec: RouteSpec) -> tuple[str, int]:
    """The whole rule of a route, and the priority that makes the longest matching routespec win, and a host over none.

    Where two routespecs without a host match one request, the path of one continues the other's, so any measure
    that grows with the path will do. The length of the plain form of the rule is taken, because that is what Traefik
    uses when no priority is set (``GetRulePriority``, 3.7): a route in the plain form needs no priority key.

    >>> rule_and_priority(RouteSpec("", ("user", "ada")))
    ('Path("/user/ada") || PathPrefix("/user/ada/")', 45)
    """
    text = plain = plain_rule(escaped_path(spec))
    if not all(map(TWO_SPELLINGS.isdisjoint, spec.segments)):
        text = f"PathRegexp({quote_argument(path_regexp(spec))})"
    if not spec.host:
        return text, len(plain)
    return f"Host({quote_argument(spec.host)}) && ({text})", len(plain) + HOST_PRIORITY


def rule(spec: RouteSpec) -> str:
    """The whole rule of a route.

    >>> print(rule(RouteSpec("ada.example.org", ("hub",))))
    Host("ada.example.org") && (Path("/hub") || PathPrefix("/hub/"))
    """
    return rule_and_priority(spec)[0]
