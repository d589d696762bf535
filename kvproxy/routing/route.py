"""A route: parse and normalise a routespec, a target and data, or refuse them.

A *routespec* is JupyterHub's name for ``[host]/path/``; the path is percent-encoded and ends with a slash. Two
spellings of one path (``/user/a@b/`` and ``/user/a%40b/``) are the same route: their :attr:`RouteSpec.key` is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ..errors import InvalidRouteError

#: Characters that JupyterHub does not quote in a user's or server's name (``url_escape_path``, 5.5 and 6.1).
SAFE = "@~"

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_TARGET = re.compile(r"[!-~]+")
#: A name, an IPv4 or a bracketed IPv6 address, and perhaps a port, as Traefik's URLs (those of Go) can have them.
_NETLOC = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\])(?::[0-9]{1,5})?")
_COMPACT = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """The place of a route: an optional host and the decoded segments of its path.

    ``RouteSpec("", ("user", "a b"))`` stands for ``/user/a%20b/``. The empty host means every host.
    """

    host: str
    segments: tuple[str, ...]

    @property
    def key(self) -> str:
        """The one spelling that all spellings of this routespec share, as JupyterHub would write it."""
        return self.host + "/" + "".join([quote(segment, safe=SAFE) + "/" for segment in self.segments])


@dataclass(frozen=True)
class Route:
    """One row of the routing table.

    Args:
        routespec: as JupyterHub gave it, with a trailing slash; it is given back exactly so.
        target: URL of the server, ``http[s]://host[:port][/path]``.
        data_text: the data, a JSON object, as compact JSON.
        spec: the parsed routespec.
    """

    routespec: str
    target: str
    data_text: str
    spec: RouteSpec = field(compare=False)

    @cached_property
    def key(self) -> str:
        """See :attr:`RouteSpec.key`."""
        return self.spec.key

    @cached_property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        return address_of(self.target)

    @property
    def data(self) -> dict[str, Any]:
        """JupyterHub's data about the route, a copy at each call: ``user`` and ``server_name``, ``service`` …"""
        return dict(json.loads(self.data_text))

    def as_dict(self) -> dict[str, Any]:
        """The route in the form that JupyterHub's ``get_route`` and ``get_all_routes`` give back."""
        return {
            "routespec": self.routespec,
            "target": self.target,
            "data": self.data,
        }


def _refuse(routespec: str, why: str) -> InvalidRouteError:
    return InvalidRouteError(f"The routespec {routespec!r} cannot be routed: {why}.")


def _parse_host(routespec: str, host: str) -> str:
    host = host.lower().removesuffix(".")
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise _refuse(routespec, "its part before the first '/' is not a host name (no port, no scheme, no wildcard)")
    return host


def _parse_segment(routespec: str, raw: str) -> str:
    try:
        segment = unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise _refuse(routespec, "its percent-escapes are not UTF-8") from None
    if segment in {".", ".."}:
        raise _refuse(routespec, "clients and Traefik remove '.' and '..' from a path before it is routed")
    if _CONTROL.search(segment):
        raise _refuse(routespec, "it holds a control character")
    return segment


def parse_routespec(routespec: str) -> RouteSpec:
    """Parse ``[host]/path/``; a missing last slash is added.

    Raises:
        InvalidRouteError: if no request could ever reach it, or it is not ``[host]/path/``.

    >>> parse_routespec("/user/na%C3%AFve/")
    RouteSpec(host='', segments=('user', 'naïve'))
    >>> parse_routespec("/user/a@b").key == parse_routespec("/user/a%40b/").key
    True
    """
    if not isinstance(routespec, str) or "/" not in routespec:
        raise InvalidRouteError(f"The routespec {routespec!r} cannot be routed: it must look like '[host]/path/'.")
    if "?" in routespec or "#" in routespec:
        raise _refuse(routespec, "'?' and '#' end a path; write them as %3F and %23")
    if _BAD_ESCAPE.search(routespec):
        raise _refuse(routespec, "a '%' is not followed by two hexadecimal digits; write it as %25")
    try:
        routespec.encode("utf-8")
    except UnicodeEncodeError:
        raise _refuse(routespec, "it holds half of a surrogate pair") from None
    host, _, path = routespec.partition("/")
    # Traefik merges repeated slashes before it looks for a route, so they are another spelling of one.
    segments = tuple([_parse_segment(routespec, raw) for raw in path.split("/") if raw])
    return RouteSpec(_parse_host(routespec, host) if host else "", segments)


def key_of(routespec: str) -> str | None:
    """Return the key of a routespec; None if no route can have it."""
    try:
        return parse_routespec(routespec).key
    except InvalidRouteError:
        return None


def parse_target(target: str) -> str:
    """Check a target URL and return it.

    Raises:
        InvalidRouteError: if it is not ``http[s]://host[:port][/path]``.
    """
    why = ""
    try:
        parts = urlsplit(target)
        if parts.scheme not in {"http", "https"}:
            why = "it must begin with http:// or https://"
        elif not parts.hostname or (parts.port is None and parts.netloc.endswith(":")):
            why = "it names no host"
        elif parts.username is not None or parts.query or parts.fragment or "?" in target or "#" in target:
            why = "it may hold no user, query or fragment"
        elif not _TARGET.fullmatch(target):
            why = "it holds spaces, control or non-ASCII characters"
        elif not _NETLOC.fullmatch(parts.netloc):
            why = "its host is neither a name nor an address"
    except (ValueError, TypeError, AttributeError):
        raise InvalidRouteError("A target of a route cannot be used: it is not a URL.") from None
    if why:
        shown = target if parts.username is None else f"{parts.scheme}://…@{parts.hostname}"
        raise InvalidRouteError(f"The target {shown!r} cannot be used: {why}.")
    return target


def address_of(target: str) -> tuple[str, int]:
    """Return host and port of a target.

    >>> address_of("http://10.0.0.5/user/ada/") == address_of("http://10.0.0.5:80")
    True
    """
    parts = urlsplit(target)
    return parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)


def encode_data(data: Mapping[str, Any]) -> str:
    """Route data as compact JSON.

    Raises:
        InvalidRouteError: if it is not a JSON object, or holds what JSON cannot say (NaN, bytes …).
    """
    if not isinstance(data, Mapping):
        raise InvalidRouteError(f"The data of a route must be a dict, not {type(data).__name__}.")
    try:
        return _COMPACT.encode(dict(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRouteError(f"The data of a route cannot be written as JSON: {error}.") from None


def make_route(routespec: str, target: str, data: Mapping[str, Any] | None) -> Route:
    """A checked route, its data being what JSON makes of it.

    Raises:
        InvalidRouteError: see :func:`parse_routespec`, :func:`parse_target` and :func:`encode_data`.
    """
    spec = parse_routespec(routespec)
    given = routespec if routespec.endswith("/") else routespec + "/"
    return Route(given, parse_target(target), encode_data(data or {}), spec)
