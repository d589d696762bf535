"""The verdict of Traefik's API on a route: ready, pending or rejected, and why.

Every answer yields a verdict. Anything unexpected counts as not ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..routing.decode import parse_revision
from ..routing.entry import Entry

Answer: TypeAlias = Mapping[str, Any] | None


@dataclass(frozen=True)
class Ready:
    """Traefik serves the route as it is stored."""


@dataclass(frozen=True)
class Pending:
    """Traefik does not serve it yet; ``why`` says what was seen instead."""

    why: str


@dataclass(frozen=True)
class Rejected:
    """Traefik will not serve it; ``why`` is Traefik's own reason."""

    why: str


Verdict: TypeAlias = Ready | Pending | Rejected


def judge(entry: Entry, router: Answer, service: Answer) -> Verdict:
    """Compare a route with what Traefik's API shows (``/api/http/routers/…``, ``/api/http/services/…``, 3.x).

    A router that is listed may not work yet, and one that works may still lead to the old target. So its fields, its
    target and its status are compared, not only its existence, and so are the certificates for its target.

    Args:
        entry: the route as it stands in the store.
        router: the API's answer about the router, None if it knows none.
        service: the API's answer about the service, None if it knows none.
    """
    if router is None:
        return Pending("Traefik does not know the router yet")
    router = _mapping(router)
    if older := [field for field, value in _wanted(entry).items() if _seen(router, field, value) != value]:
        return Pending(f"Traefik still has an older router (its {older[0]} differs)")
    if service is None:
        return Pending("Traefik does not know the service yet")
    service = _mapping(service)
    shown = _mapping(service.get("loadBalancer"))
    balancer = f"http/services/{entry.name}/loadBalancer"
    servers = f"{balancer}/servers/"
    keys = sorted(entry.config.items())
    expected = [value for key, value in keys if key.startswith(servers) and key.endswith("/url")]
    if (urls := [str(_mapping(server).get("url")) for server in _list(shown.get("servers"))]) != expected:
        return Pending(f"Traefik still leads to {', '.join(urls) or 'nothing'} instead of {', '.join(expected)}")
    # Traefik adds its provider to the name once it has built the service (3.7).
    transport, built = entry.config.get(f"{balancer}/serversTransport", ""), str(shown.get("serversTransport") or "")
    if transport not in {built, built.partition("@")[0]}:
        return Pending("Traefik still has an older service (its serversTransport differs)")
    # Last, as only a router and a service with the present fields can be rejected: an older one may have been disabled
    # for a fault that the change has cured.
    for answer in (router, service):
        if answer.get("status") == "disabled":
            return Rejected("; ".join(map(str, _list(answer.get("error")))) or "no reason given")
    return Ready()


def _wanted(entry: Entry) -> dict[str, Any]:
    """The fields of a router that kvproxy wrote, as the API shows them."""
    start = f"http/routers/{entry.name}/"
    keys = {key.removeprefix(start): value for key, value in entry.config.items() if key.startswith(start)}
    wanted: dict[str, Any] = {"rule": keys["rule"], "service": keys["service"]}
    # Traefik's default priority is the length of the rule.
    wanted["priority"] = int(keys.get("priority", len(keys["rule"])))
    if values := [value for key, value in sorted(keys.items()) if key.startswith("entryPoints/")]:
        wanted["entryPoints"] = values
    for field in ("middlewares", "parentRefs"):
        if text := keys.get(field):
            wanted[field] = text.split(",")
    # Only the presence of tls is compared, see _seen.
    if "tls" in {key.partition("/")[0] for key in keys}:
        wanted["tls"] = True
    return wanted


def _seen(router: Mapping[str, Any], field: str, wanted: Any) -> Any:
    value = router.get(field)
    if field == "priority":
        return _integer(value or len(str(router.get("rule"))))
    if field == "tls":
        # Its options were written in the same commit as the revision that Traefik has loaded.
        return value is not None
    if isinstance(value, list):
        # The API adds the provider to each name; a hook may have written one itself. An entry point's own middlewares
        # come first (`applyModel`, 3.7), so the last ones are those of the route.
        names = [text if (text := str(item)) in wanted else text.partition("@")[0] for item in value]
        return names[-len(wanted) :] if field == "middlewares" else names
    return str(value).partition("@")[0] if field == "service" else value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def revision_of(middleware: Answer) -> int | None:
    """The revision of the configuration that Traefik has loaded, from the API's answer about its middleware."""
    headers = _mapping(_mapping(_mapping(middleware).get("headers")).get("customResponseHeaders"))
    shown = next((value for name, value in headers.items() if name.lower() == "x-kvproxy-revision"), "")
    return parse_revision(str(shown))
