"""Trials of extra_dynamic_config and hooks on the real Traefik, for `kvproxy check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final
from urllib.parse import quote, urlsplit

from ...errors import HookError
from ...process.trial import try_dynamic_configuration
from ...routing.encode import alone
from ...routing.route import Route, make_route
from ...traefik.features import Features
from ...traefik.setup.extra_config import without_unset
from ...traefik.static_config import deep_merge, static_configuration
from ..hub.config import Hub
from ..routes.observe import layout_of
from .findings import Finding, error, warning

#: The name of a user that does not exist: a hook that looks a user up fails as for any unknown one.
_USER: Final = "kvproxy-check"
#: A target that gets no requests.
_TARGET: Final = "http://127.0.0.1:9"


@dataclass(frozen=True)
class _Sample:
    """A route as the hub would add it, and the configuration that hooks give it."""

    route: Route
    configuration: Mapping[str, Any] = field(repr=False)


def trials(hub: Hub, binary: str, version: tuple[int, ...]) -> list[Finding]:
    """Report errors of a Traefik that loads extra_dynamic_config and the hooks' configuration of sample routes.

    Args:
        hub: the hub.
        binary: path of its Traefik.
        version: the Traefik's version.
    """
    proxy = hub.proxy
    dynamic = without_unset(proxy.dynamic_config(Features(version)))
    static = static_configuration(proxy.static_settings({}, version))

    def complaints(of: Mapping[str, Any]) -> list[str]:
        return try_dynamic_configuration(binary, of, static, proxy.provider_name) if of else []

    said = complaints(dynamic)
    advice = "Correct c.TraefikProxy.extra_dynamic_config."
    found = [error("Traefik", f"It does not accept extra_dynamic_config: {text.rstrip('.')}.", advice) for text in said]
    samples: list[_Sample] = []
    for route in _routes(hub) if proxy.hooks.changing else ():
        try:
            samples.append(_Sample(route, _on(proxy.traefik_entrypoint, alone(route, layout_of(proxy)))))
        except HookError as problem:
            found.append(warning("hooks", f"{str(problem).rstrip('.')}. Such a route would not be served."))
    if samples:
        together = reduce(deep_merge, (sample.configuration for sample in samples), dynamic)
        hooks = " and ".join(proxy.hooks.changing)
        found += [
            error("hooks", f"Traefik does not accept {_named(hub, samples, text.rstrip('.'))}.", f"Correct {hooks}.")
            for text in complaints(together)
            if text not in said
        ]
    return found


def _routes(hub: Hub) -> Iterator[Route]:
    """Return the hub's own route, a sample route of a user, and one of each service."""
    app, proxy = hub.app, hub.proxy
    base, host = app.base_url, urlsplit(app.subdomain_host).hostname or ""
    yield make_route(app.hub.routespec, _TARGET, {"hub": True})
    at = f"{_USER}.{host}" if host and proxy.host_routing else ""
    yield make_route(f"{at}{base}user/{_USER}/", _TARGET, {"user": _USER, "server_name": ""})
    for service in app.services:
        if name := service.get("url") and service.get("name"):
            at = f"services.{host}" if host and proxy.host_routing else ""
            yield make_route(f"{at}{base}services/{quote(name)}/", _TARGET, {"service": name})


def _on(entry_point: str, configuration: dict[str, Any]) -> dict[str, Any]:
    """The configuration with its router on this entry point only, out of the trial's own way."""
    for router in configuration["http"]["routers"].values():
        router["entryPoints"] = [entry_point]
    return configuration


def _named(hub: Hub, samples: list[_Sample], text: str) -> str:
    """Rewrite what Traefik said with the sample route's name and the hook's own names of middlewares."""
    names = hub.proxy.names
    for sample in samples:
        if (name := names.route(sample.route.key)) in text:
            return f"the route {sample.route.routespec!r}: {text.replace(f' ({name})', '')}"
    return f"a sample route: {text}"
