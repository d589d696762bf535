"""Checks of single settings, and the hooks among them; a check returns the value in its normal form."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from ..errors import ConfigurationError, InvalidRouteError
from ..hooks.customize import Hook, Hooks
from ..routing.names import check_hub_id
from ..routing.root_routers import parse_excepted
from ..routing.route import parse_routespec
from ..traefik.static_config import check_network, check_url, static_file
from ..traefik.validation import SchemaError
from ..traefik.validation import validate as validate_value

#: Traefik accepts almost any name, but a store splits lists of names at commas, and a command line names them too.
_ENTRY_POINT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
#: Addresses that only this machine reaches. Not `localhost`, which has two of them.
_LOOPBACK: Final = {"127.0.0.1", "::1"}


def _api_url(setting: str, value: str | Sequence[str]) -> str | list[str]:
    urls = [value] if isinstance(value, str) else list(value)
    if len({check_url(url, setting).path.rstrip("/") for url in urls}) > 1:
        raise ConfigurationError(
            f"{setting} names several URLs with different paths; replicas of Traefik have the same api.basePath."
        )
    return urls if len(urls) > 1 else urls[0]


def _hot_api_url(value: str | Sequence[str]) -> str | list[str]:
    return _api_url("hot_traefik_api_url", value) if value else ""


def loopback_url(setting: str, url: str) -> str:
    """Return the URL of a second Traefik that the hub starts, or of the entry point of any.

    Raises:
        ConfigurationError: if others than this machine could reach it.
    """
    parts = check_url(url, setting)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or parts.path not in {"", "/"} or not parts.port:
        raise ConfigurationError(
            f"c.TraefikProxy.{setting} = {url!r} must look like 'http://127.0.0.1:8097': the second Traefik listens on "
            "this machine only."
        )
    return url


def _entry_point(setting: str, name: str) -> str:
    if name and not _ENTRY_POINT.fullmatch(name):
        raise ConfigurationError(
            f"c.TraefikProxy.{setting} = {name!r} cannot be the name of an entry point in Traefik; use letters, "
            "digits, '-', '_' and '.', such as 'websecure'."
        )
    return name


def _throttle(duration: str) -> str:
    try:
        validate_value(duration, "time", "")
    except SchemaError:
        raise ConfigurationError(
            f"c.TraefikProxy.traefik_providers_throttle_duration = {duration!r} is not a duration; write one such as "
            "'2s' or '500ms'."
        ) from None
    return duration


def _hub_host(host: str) -> str:
    try:
        return parse_routespec(host + "/").host if host else ""
    except InvalidRouteError as error:
        raise ConfigurationError(f"hub_host = {host!r} is not a host name. {error}") from None


def _static_config_file(name: str) -> str:
    static_file({}, name)
    return name


def _excepted(paths: Sequence[str]) -> list[str]:
    parse_excepted(paths)
    return list(paths)


def _route_hook(call: Any) -> Any:
    if inspect.iscoroutinefunction(call):
        raise ConfigurationError(
            "c.TraefikProxy.route_hook is asynchronous. A hook that changes routes must be a plain function; fetch "
            "the data that it needs beforehand."
        )
    return call


#: Setting of every Traefik proxy -> its check, which returns the value or raises a ConfigurationError.
CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "traefik_api_url": partial(_api_url, "traefik_api_url"),
    "traefik_entrypoint": partial(_entry_point, "traefik_entrypoint"),
    "traefik_api_entrypoint": partial(_entry_point, "traefik_api_entrypoint"),
    "traefik_providers_throttle_duration": _throttle,
    "hot_traefik_url": partial(loopback_url, "hot_traefik_url"),
    "hot_traefik_api_url": _hot_api_url,
    "hub_id": check_hub_id,
    "hub_host": _hub_host,
    "static_config_file": _static_config_file,
    "error_pages_except": _excepted,
    "trusted_proxies": lambda networks: [check_network(text) for text in networks],
    "route_hook": _route_hook,
}


def own_hooks(value: Callable[[str], Any]) -> Hooks:
    """Return the hooks of the configuration.

    Args:
        value: returns the value of a setting.
    """

    def own(setting: str) -> tuple[Hook, ...]:
        call = value(setting)
        return () if call is None else (Hook(f"c.TraefikProxy.{setting}", call),)

    return Hooks(own("route_hook"), own("route_added_hook"), own("route_deleted_hook"), own("route_failed_hook"))
