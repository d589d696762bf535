"""The proxy of the second Traefik of two tiers: the same backend and hub, with settings of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..process.supervisor import TraefikSupervisor
from ..reconcile.reconciler import Reconciler
from ..reconcile.status import Status
from ..routing.route import Route, RouteSpec, parse_routespec
from ..routing.tiers import EVERYTHING, WORTHWHILE, CatchAll, is_below
from ..traefik.static_config import TIERS_SINCE, given_provider
from .preparation import Prepared
from .setting_checks import loopback_url
from .traits import TraefikProxy

#: URL of the API of a second Traefik that the hub starts, if no other is set.
_API_URL: Final = "http://127.0.0.1:8098"
#: Seconds between two looks at the number of routes.
_LOOK: Final = 1.0
#: Options of a provider for the place of the routes.
_PLACE: Final = {"rootKey", "db", "filename", "directory"}

P = TypeVar("P", bound=TraefikProxy)


class HotLog(logging.LoggerAdapter[Any]):
    """Marks all messages about the second Traefik and its routes."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """See :class:`logging.LoggerAdapter`."""
        return f"Hot tier: {msg}", kwargs


def make_hot(proxy: P, stored: Mapping[str, Any]) -> P:
    """Return the proxy of the second Traefik.

    Args:
        proxy: the proxy of the first Traefik.
        stored: the settings of the place of its routes.
    """
    file = Path(proxy.static_config_file)
    own = {
        "log": HotLog(proxy.log, {}),
        "app": proxy.app,
        "hub": proxy.hub,
        "public_url": proxy.hot_traefik_url,
        "static_config_file": str(file.with_name(f"{file.stem}-hot{file.suffix}")),
        "extra_static_config": _provider(proxy),
        "extra_dynamic_config": {},
        # Without a certificate, Traefik makes a key at each reload.
        "placeholder_certificate": True,
        "route_layout": "flat",
        "route_tiers": "one",
        # A deletion costs the second Traefik little.
        "delete_grace": 0,
        "traefik_api_url": proxy.hot_traefik_api_url or _API_URL,
        "traefik_entrypoint": "hot",
        # The first Traefik gives users the hub's pages, and limits the time of a request.
        "error_pages": False,
        "read_timeout": 0,
        "trusted_proxies": ["127.0.0.1", "::1"],
    }
    made = type(proxy)(**{**proxy.trait_values(config=True, former_name_of=None), **own, **stored})
    made.hot = True
    return made


def has_one_tier(proxy: TraefikProxy) -> bool:
    """Return True if this proxy's Traefik is the only one, so that a second one's login is of an earlier hub."""
    return proxy.route_tiers == "one" and not proxy.hot


def _provider(proxy: TraefikProxy) -> dict[str, Any]:
    """Return the administrator's options of the provider, such as a login, without those of its place in the store."""
    given = given_provider(proxy.extra_static_config, proxy.provider_name)
    kept = {name: value for name, value in given.items() if name not in _PLACE} if isinstance(given, Mapping) else {}
    return {"providers": {proxy.provider_name: kept}} if kept else {}


def catch_all(proxy: TraefikProxy) -> CatchAll:
    """Return the way from the first Traefik to the second one and to the hub.

    Raises:
        InvalidRouteError: if ``hub_routespec`` cannot be routed.
    """
    own = getattr(proxy.hub, "routespec", "")
    place, pages = parse_routespec(own or EVERYTHING.key), _place_of(proxy, "/hub/")
    return CatchAll(proxy.hot_traefik_url, place, pages if own and is_below(pages, place) else None)


def _has_users_below(proxy: TraefikProxy) -> bool:
    """Return True if requests for users' servers without a route come to the hub, so that their routes can be hot."""
    return is_below(_place_of(proxy, "/user/name/", "user."), catch_all(proxy).place)


def _place_of(proxy: TraefikProxy, path: str, subdomain: str = "") -> RouteSpec:
    """Return the place of a path below the base URL, with the subdomain of the hub's domain if that is routed by."""
    host = subdomain + getattr(proxy.app, "domain", "") if proxy.host_routing else ""
    return parse_routespec(f"{host}{urlsplit(proxy.public_url).path.rstrip('/')}{path}")


def leads_to_hot(proxy: TraefikProxy, routes: Callable[[RouteSpec], Route | None]) -> bool:
    """Return True if the base tier leads to the second Traefik.

    Args:
        proxy: the proxy of the first Traefik.
        routes: returns the route at a place in the base tier.
    """
    way = catch_all(proxy)
    return way.leads(routes(way.place))


def starts_with_two(proxy: TraefikProxy, routes: Status) -> bool:
    """Return True if the first Traefik depends on the second one, or two tiers have been asked for.

    Args:
        proxy: the proxy of the first Traefik.
        routes: its routes.
    """
    # Routes that an earlier hub has left in the hot tier are nowhere else.
    return proxy.route_tiers == "two" or leads_to_hot(proxy, routes.route)


async def until_worthwhile(routes: Reconciler, second: TraefikSupervisor) -> None:
    """Return when there are enough routes for two tiers.

    Args:
        routes: the routes.
        second: the second Traefik. One that an earlier hub has left does not go on without a use.

    Raises:
        ConfigurationError: if another hub looks after it at this moment.
    """
    # Until then, the first Traefik may lead to the second one, though the store was emptied.
    await routes.released()
    if routes.count < WORTHWHILE:
        await second.end_earlier()
    while routes.count < WORTHWHILE:  # noqa: ASYNC110 - no event says how many routes there are
        await asyncio.sleep(_LOOK)


def allows_tiers(proxy: TraefikProxy, prepared: Prepared | None) -> bool:
    """Return True if there may be two tiers: they are possible, and not ruled out.

    If two tiers were asked for, the hub refuses to start where users would notice a difference.

    Args:
        proxy: the proxy of the first Traefik.
        prepared: the first Traefik; None if the hub does not start it.

    Raises:
        ConfigurationError: with one sentence that names the setting.
    """
    if proxy.route_tiers == "one":
        return False
    _check_place(proxy)
    why = ""
    if prepared is not None and prepared.version < TIERS_SINCE:
        why = f"needs Traefik 3.7 or newer, and this is {'.'.join(map(str, prepared.version))}"
    elif proxy.traefik_servers_transport:
        why = "does not work with c.TraefikProxy.traefik_servers_transport"
    elif not _has_users_below(proxy):
        why = "works only if c.JupyterHub.hub_routespec has the paths of all users below it"
    if why and proxy.route_tiers == "two":
        raise ConfigurationError(f"c.TraefikProxy.route_tiers = 'two' {why}; set it to 'one'.")
    if why:
        proxy.log.debug("There is one tier of routes, as c.TraefikProxy.route_tiers = 'two' %s.", why)
    return not why and (proxy.should_start or bool(proxy.hot_traefik_api_url))


def _check_place(proxy: TraefikProxy) -> None:
    """Refuse a place of the second Traefik's API that cannot be right."""
    urls = proxy.hot_traefik_api_url
    if proxy.should_start:
        for url in [urls] if isinstance(urls, str) else urls:
            loopback_url("hot_traefik_api_url", url or _API_URL)
    elif not urls and proxy.route_tiers == "two":
        raise ConfigurationError(
            "c.TraefikProxy.route_tiers = 'two' with should_start = False needs a second Traefik beside each one that "
            "you run; set c.TraefikProxy.hot_traefik_api_url to the URL of its API, or set route_tiers to 'one'."
        )
