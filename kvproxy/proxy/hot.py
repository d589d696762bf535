"""The proxy of the second Traefik of two tiers: the same backend and hub, with settings of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..reconcile.tiers import CatchAll
from ..routing.route import parse_routespec
from ..routing.tiers import EVERYTHING
from ..traefik.static_config import TIERS_SINCE, given_provider
from .preparation import Prepared
from .setting_checks import loopback_url
from .traits import TraefikProxy

#: URL of the API of a second Traefik that the hub starts, if no other is set.
_API_URL: Final = "http://127.0.0.1:8098"
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


def _provider(proxy: TraefikProxy) -> dict[str, Any]:
    """Return the administrator's options of the provider, such as a login, without those of its place in the store."""
    given = given_provider(proxy.extra_static_config, proxy.provider_name)
    kept = {name: value for name, value in given.items() if name not in _PLACE} if isinstance(given, Mapping) else {}
    return {"providers": {proxy.provider_name: kept}} if kept else {}


def catch_all(proxy: TraefikProxy) -> CatchAll:
    """Return the way from the first Traefik to the second one and to the hub."""
    everything = getattr(proxy.hub, "routespec", "") == EVERYTHING.key
    base = urlsplit(proxy.public_url).path.rstrip("/")
    return CatchAll(proxy.hot_traefik_url, parse_routespec(f"{base}/hub/") if everything else None)


def check_tiers(proxy: TraefikProxy, prepared: Prepared | None) -> None:
    """Refuse what would differ from one tier for users, and what cannot be had in two tiers yet.

    Args:
        proxy: the proxy of the first Traefik.
        prepared: the first Traefik; None if the hub does not start it.

    Raises:
        ConfigurationError: with one sentence that names the setting.
    """
    _check_place(proxy)
    why = ""
    if prepared is not None and prepared.version < TIERS_SINCE:
        why = f"needs Traefik 3.7 or newer, and this is {'.'.join(map(str, prepared.version))}"
    elif proxy.hub_id or proxy.hub_host:
        why = "does not work with c.TraefikProxy.hub_id or hub_host"
    elif proxy.traefik_servers_transport:
        why = "does not work with c.TraefikProxy.traefik_servers_transport"
    if why:
        raise ConfigurationError(f"c.TraefikProxy.route_tiers = 'two' {why}; set it to 'one'.")


def _check_place(proxy: TraefikProxy) -> None:
    """Refuse a place of the second Traefik's API that cannot be right."""
    urls = proxy.hot_traefik_api_url
    if proxy.should_start:
        for url in [urls] if isinstance(urls, str) else urls:
            loopback_url("hot_traefik_api_url", url or _API_URL)
    elif not urls:
        raise ConfigurationError(
            "c.TraefikProxy.route_tiers = 'two' with should_start = False needs a second Traefik beside each one that "
            "you run; set c.TraefikProxy.hot_traefik_api_url to the URL of its API, or set route_tiers to 'one'."
        )
