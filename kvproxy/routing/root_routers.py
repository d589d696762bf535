"""The routers of the public entry point that belong to no route: root routers, health, paths that are refused.

Traefik 3.6 and newer can put routers behind others (``parentRefs``). There, and if the hub's pages are wanted, all
routes and groups are children of two root routers. One is for requests that may be answered with a page of the hub's.
The other is for websockets, for clients that take no HTML, and for paths that are excepted. Both lead to the same
children, which Traefik builds once (``buildRouterHandler``, 3.7), so that a request costs the same as without them.

The root routers have low priorities: a router of the administrator's own at the same entry point comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConfigurationError, InvalidRouteError
from .group import ANY_IN_GROUP, Group, stem
from .names import ALONE, Names
from .route import RouteSpec, parse_routespec
from .rule import path_regexp, quote_argument, rule

#: Stands for any one segment in a path that is excepted.
_ANY_SEGMENT: Final = "*"
#: A websocket shows no page, and neither does a client that says what it takes and does not name HTML.
_WEBSOCKET: Final = 'HeaderRegexp("Upgrade", ".")'
_TAKES_NO_HTML: Final = (
    r'HeaderRegexp("Accept", ".") && !HeaderRegexp("Accept", "(?i)text/html|text/[*]|[*]/[*]|application/xhtml")'
)
#: One that comes before all others. Routes with a host have priorities from 100,000 on.
_FIRST: Final = 1_000_000
#: A ``.`` or ``..`` between slashes. Traefik matches on a path in which ``%2e`` is decoded already.
_DOT_SEGMENT: Final = r'PathRegexp("/\\.\\.?(/|$)")'
#: The priority of a root router: above that of a group's last child, which a reader may see before it sees its group,
#: and below that of any route, which has the length of its rule.
_LOW: Final = len(ANY_IN_GROUP) + 2
#: The number of segments of a path that a host counts for among several hubs.
_HOST: Final = 5
#: An address that no request comes from.
_NOBODY: Final = ["255.255.255.255/32"]
#: A service of Traefik's own that answers 418.
_NO_SERVICE: Final = "noop@internal"
_REFUSED, _NOT_FOUND = 400, 404
#: The path at which configurable-http-proxy answers health checks.
HEALTH_PATH: Final = "/_chp_healthz"


@dataclass(frozen=True)
class RootRouters:
    """Settings of the root routers.

    Args:
        names: how the hub calls routers.
        scope: where the hub's routes begin if other hubs use the same Traefik; ``None`` if it has all requests.
        host: the hub's host name if it has requests for this one only, else empty.
        pages: name of the middleware with the hub's pages, empty for none.
        excepted: paths below which a server's own 502 and 504 pass, see :func:`parse_excepted`.
    """

    names: Names = ALONE
    scope: RouteSpec | None = None
    host: str = ""
    pages: str = ""
    excepted: tuple[RouteSpec, ...] = ()

    def reach(self, item: RouteSpec | Group) -> bool:
        """Tell if the requests for a route, or for all routes of a group, come by the root routers."""
        if self.scope is None:
            return True
        above = stem(self.scope)
        below = above if above.endswith("/") else above + "/"
        if isinstance(item, Group):
            return item.prefix.startswith(below)
        return (at := stem(item)) == above or at.startswith(below)

    def excepts(self, spec: RouteSpec) -> bool:
        """Tell if a route is below a path that is excepted from the hub's pages."""
        return any(_covers(pattern, spec) for pattern in self.excepted)

    def routers(self, entry_points: tuple[str, ...], rooted: bool) -> dict[str, Any]:
        """The section ``http.routers`` with the root routers, if there are any, and what is for all other requests.

        Args:
            entry_points: names of the public entry points, empty for Traefik's default ones.
            rooted: False where Traefik cannot have them.
        """
        at = {"entryPoints": list(entry_points)} if entry_points else {}
        where = self.scope or RouteSpec(self.host, ())
        last = {"rule": 'PathPrefix("/")', "priority": 1, "service": _NO_SERVICE, "middlewares": [self.names.not_found]}
        if not rooted:
            # Of several hubs, none answers for the others.
            alone = self.scope is None or bool(where.host)
            return {self.names.not_found: {**last, "rule": rule(RouteSpec(where.host, ())), **at}} if alone else {}
        priority = _LOW + 2 * (len(where.segments) + (_HOST if where.host else 0))
        plain = " || ".join([_WEBSOCKET, f"({_TAKES_NO_HTML})", *map(_pattern_rule, self.excepted)])
        scope = rule(where)
        limited = plain if scope == 'PathPrefix("/")' else f"({scope}) && ({plain})"
        return {
            self.names.html_root: {
                "rule": scope,
                "priority": priority,
                **({"middlewares": [self.pages]} if self.pages else {}),
                **at,
            },
            self.names.plain_root: {"rule": limited, "priority": priority + 1, **at},
            self.names.not_found: {**last, "parentRefs": self.names.roots},
        }


def parse_excepted(paths: Iterable[str]) -> tuple[RouteSpec, ...]:
    """Paths that are excepted from the hub's pages, such as ``/services/gateway/`` or ``/user/*/proxy/``.

    Args:
        paths: routespecs in which ``*`` stands for any one segment.

    Raises:
        ConfigurationError: if one is no routespec, with a sentence that names the setting.
    """
    found = []
    for path in paths:
        if "." not in path.partition("/")[0] and not path.startswith("/"):
            raise ConfigurationError(
                f"c.TraefikProxy.error_pages_except has {path!r}; a path begins with '/', or with a host name."
            )
        try:
            found.append(parse_routespec(path if path.endswith("/") else path + "/"))
        except InvalidRouteError as error:
            raise ConfigurationError(
                f"c.TraefikProxy.error_pages_except has {path!r}, which is not a valid path. {error}"
            ) from None
    return tuple(found)


def _covers(pattern: RouteSpec, spec: RouteSpec) -> bool:
    count = len(pattern.segments)
    pairs = zip(pattern.segments, spec.segments, strict=False)
    fits = all(one in {_ANY_SEGMENT, other} for one, other in pairs)
    return pattern.host in {"", spec.host} and len(spec.segments) >= count and fits


def _pattern_rule(pattern: RouteSpec) -> str:
    if _ANY_SEGMENT not in pattern.segments:
        return f"({rule(pattern)})"
    path = f"PathRegexp({quote_argument(path_regexp(pattern, any_segment=_ANY_SEGMENT))})"
    return f"(Host({quote_argument(pattern.host)}) && {path})" if pattern.host else path


def public_configuration(
    names: Names, entry_points: tuple[str, ...], not_found: Mapping[str, Any] | None, health: bool
) -> dict[str, Any]:
    """The dynamic configuration with what the public entry point answers by itself.

    Args:
        names: how the hub calls what it has there.
        entry_points: names of the public entry points, empty for Traefik's default ones.
        not_found: the middleware that answers what fits no route; None for a plain 404.
        health: True if Traefik has its ping enabled, which is another service of its own.
    """
    at = {"entryPoints": list(entry_points)} if entry_points else {}
    routers: dict[str, Any] = {
        names.dot_segments: {
            "rule": _DOT_SEGMENT,
            "priority": _FIRST,
            "service": _NO_SERVICE,
            "middlewares": [names.dot_segments],
            **at,
        }
    }
    if health:
        routers[names.health] = {"rule": f'Path("{HEALTH_PATH}")', "priority": _FIRST, "service": "ping@internal", **at}
    middlewares = {
        names.dot_segments: _refusal(_REFUSED),
        names.not_found: dict(not_found) if not_found is not None else _refusal(_NOT_FOUND),
    }
    return {"http": {"routers": routers, "middlewares": middlewares}}


def _refusal(status: int) -> dict[str, Any]:
    """A middleware that answers every request with a status and its name."""
    return {"ipAllowList": {"sourceRange": _NOBODY, "rejectStatusCode": status}}
