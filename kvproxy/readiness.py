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
    if router.get("rule") != entry.config[f"http/routers/{name}/rule"]:
        return Pending("Traefik still has an older rule")
    if service is None:
        return Pending("Traefik does not know the service yet")
    url = entry.config[f"http/services/{name}/loadBalancer/servers/0/url"]
    if _urls(service) != [url]:
        return Pending(f"Traefik still leads to {', '.join(_urls(service)) or 'nothing'} instead of {url}")
    for answer in (router, service):
        if answer.get("status") == "disabled":
            return Rejected("; ".join(map(str, answer.get("error") or ["no reason given"])))
    return Ready()


def _urls(service: Mapping[str, Any]) -> list[str]:
    balancer = service.get("loadBalancer") or {}
    return [str(server.get("url")) for server in balancer.get("servers") or []]


def revision_of(middleware: Answer) -> int | None:
    """The revision of the configuration that Traefik has loaded, from the API's answer about its middleware."""
    headers = ((middleware or {}).get("headers") or {}).get("customResponseHeaders") or {}
    for name, value in headers.items():
        if name.lower() == "x-kvproxy-revision" and str(value).isdigit():
            return int(value)
    return None
