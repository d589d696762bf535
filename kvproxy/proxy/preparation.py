"""The checks before a start that open, write and start nothing; the hub and ``kvproxy check`` share them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, HookError
from ..process.launch import check_directory, default_environment, find_traefik, traefik_version
from ..process.trial import try_static_configuration
from ..routing.encode import encode_route
from ..routing.entry import Layout
from ..routing.route import make_route
from ..traefik.static_config import StaticSettings, groups_allowed, static_configuration, static_file
from .setup import static_settings
from .traits import TraefikProxy


@dataclass(frozen=True)
class Prepared:
    """The Traefik that the hub is about to start.

    Args:
        binary: path of its binary.
        version: its version.
        environment: its environment variables, on top of the hub's own.
        settings: the values that its static configuration is made from.
        warnings: sentences about faults that do not prevent the start.
        hot: the second Traefik of two tiers, None with one.
    """

    binary: str
    version: tuple[int, ...]
    environment: Mapping[str, str] = field(repr=False)
    settings: StaticSettings = field(repr=False)
    warnings: tuple[str, ...] = ()
    hot: Prepared | None = None


def prepare_traefik(
    proxy: TraefikProxy, provider_of: Callable[[], Mapping[str, Any]], environment_of: Callable[[], Mapping[str, str]]
) -> Prepared:
    """Find the Traefik to start, and refuse settings that it could not be started with.

    Args:
        proxy: gives the settings.
        provider_of: returns the provider's section of the static configuration.
        environment_of: returns the environment variables that the provider needs.

    Raises:
        KVProxyError: with one sentence that names the setting.
    """
    if len(proxy.traefik_api_urls) > 1:
        raise ConfigurationError(
            "traefik_api_url names several replicas of Traefik, and the hub starts only one; name one, or run them "
            "yourself and set c.TraefikProxy.should_start = False."
        )
    provider, file = provider_of(), Path(proxy.static_config_file)
    exposed = check_directory(file)
    binary = find_traefik()
    version = traefik_version(binary)
    groups_allowed(proxy.route_layout, version)
    settings = static_settings(proxy, provider, version)
    configuration = static_configuration(settings)
    static_file(configuration, file.name)
    environment = {**default_environment(hot=proxy.hot), **environment_of(), **proxy.traefik_env}
    if proxy.extra_static_config:
        try_static_configuration(binary, configuration, os.environ, environment)
    return Prepared(binary, version, environment, settings, (exposed,) if exposed else ())


def check_certificate(ssl_cert: str, ssl_key: str) -> None:
    """Refuse a certificate without its key, and missing files, which JupyterHub accepts.

    Raises:
        ConfigurationError: with one sentence that names the setting.
    """
    given = {"ssl_cert": ssl_cert, "ssl_key": ssl_key}
    if len(set(map(bool, given.values()))) > 1:
        raise ConfigurationError("c.JupyterHub.ssl_cert and ssl_key go together; one is missing.")
    for setting, path in given.items():
        try:
            if path:
                with open(path, "rb"):
                    pass
        except OSError as error:
            raise ConfigurationError(
                f"c.JupyterHub.{setting} = {path!r} cannot be read ({error.strerror}); it must be readable by the "
                "hub's user, and by Traefik's."
            ) from None


def check_hooks(layout: Layout, hub: Any) -> None:
    """Refuse hooks that make the hub's own route unusable: without it the hub does not start.

    Args:
        layout: has the hooks.
        hub: JupyterHub's description of itself; None without a hub.

    Raises:
        ConfigurationError: if a hook fails for this route.
    """
    if layout.customize is None or hub is None:
        return
    try:
        encode_route(make_route(hub.routespec, hub.host, {"hub": True}), layout)
    except HookError as error:
        raise ConfigurationError(f"{error} The hub does not start without this route.") from None
