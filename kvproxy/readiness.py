"""What Traefik's API says about a route: ready, pending or rejected, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .translate import Entry

Answer: TypeAlias = Mapping[str, Any] | None


@dataclass(frozen=True)
class Ready:
    """Traefik serves the route as it should be."""


@dataclass(frozen=True)
class Pending:
    """Traefik does not serve it yet; ``why`` says what was seen instead."""

    why: str


@dataclass(frozen=True)
class Rejected:
    """Traefik will not serve it; ``why`` is Traefik's own reason."""

    why: str


Verdict: TypeAlias = Ready | Pending | Rejected


def judge(entry: Entry, name: str, router: Answer, service: Answer) -> Verdict:
    """Compare a route with what Traefik's API shows (``/api/http/routers/…``, ``/api/http/services/…``, 3.x).

    A router that is listed is not yet one that works, and one that works may still lead to the old target: its
    status, rule and target are compared, not its existence.

    Args:
        entry: the route as it stands in the store.
        name: name of its router and service.
        router: the API's answer about the router, None if it knows none.
        service: likewise about the service.
    """
    if router is None:
        return Pending("Traefik does not know the router yet")
    wanted = _wanted(entry, name)
    if older := [field for field, value in wanted.items() if _seen(router, field) != value]:
        return Pending(f"Traefik still has an older router (its {older[0]} differs)")
    if service is None:
        return Pending("Traefik does not know the service yet")
    url = entry.config[f"http/services/{name}/loadBalancer/servers/0/url"]
    if _urls(service) != [url]:
        return Pending(f"Traefik still leads to {', '.join(_urls(service)) or 'nothing'} instead of {url}")
    transport = entry.config.get(f"http/services/{name}/loadBalancer/serversTransport", "")
    if _transport(service) != transport:
        return Pending("Traefik still speaks to the server in another way (its serversTransport differs)")
    for answer in (router, service):
        if answer.get("status") == "disabled":
            return Rejected("; ".join(map(str, answer.get("error") or ["no reason given"])))
    return Ready()


def _wanted(entry: Entry, name: str) -> dict[str, Any]:
    """The fields of a router that kvproxy wrote, as the API shows them."""
    start = f"http/routers/{name}/"
    keys = {key.removeprefix(start): value for key, value in entry.config.items() if key.startswith(start)}
    wanted: dict[str, Any] = {"rule": keys["rule"], "service": keys["service"]}
    wanted["priority"] = int(keys.get("priority", len(keys["rule"])))
    for field in ("entryPoints", "middlewares"):
        if values := [value for key, value in sorted(keys.items()) if key.startswith(field + "/")]:
            wanted[field] = values
    if parent := keys.get("parentRefs"):
        wanted["parentRefs"] = [parent]
    return wanted


def _seen(router: Mapping[str, Any], field: str) -> Any:
    value = router.get(field)
    if field == "priority":
        return int(value or len(str(router.get("rule"))))
    if isinstance(value, list):
        return [str(item).partition("@")[0] for item in value]
    return str(value).partition("@")[0] if field == "service" else value


def _urls(service: Mapping[str, Any]) -> list[str]:
    balancer = service.get("loadBalancer") or {}
    return [str(server.get("url")) for server in balancer.get("servers") or []]


def _transport(service: Mapping[str, Any]) -> str:
    balancer = service.get("loadBalancer") or {}
    return str(balancer.get("serversTransport") or "").partition("@")[0]


def revision_of(middleware: Answer) -> int | None:
    """The revision of the configuration that Traefik has loaded, from the API's answer about its middleware."""
    headers = ((middleware or {}).get("headers") or {}).get("customResponseHeaders") or {}
    for name, value in headers.items():
        if name.lower() == "x-kvproxy-revision" and str(value).isdigit():
            return int(value)
    return None
