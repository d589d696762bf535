"""The checks before a start that open, write and start nothing; the hub and ``kvproxy check`` share them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, HookError
from ..process.launch import DEFAULT_ENVIRONMENT, check_directory, find_traefik, traefik_version
from ..process.trial import try_static_configuration
from ..routing.encode import encode_route
from ..routing.route import make_route
from ..traefik.features import Features
from ..traefik.static_config import StaticSettings, check_url, groups_allowed, static_configuration, static_file
from .store_traits import StoreTraits


@dataclass(frozen=True)
class Prepared:
    """The Traefik that the hub is about to start.

    Args:
        binary: path of its binary.
        version: its version.
        environment: its environment variables, on top of the hub's own.
        settings: the values that its static configuration is made from.
        warnings: sentences about faults that do not prevent the start.
    """

    binary: str
    version: tuple[int, ...]
    environment: Mapping[str, str] = field(repr=False)
    settings: StaticSettings = field(repr=False)
    warnings: tuple[str, ...] = ()


class PreparedProxy(StoreTraits):
    """A proxy that can check its settings without a server."""

    async def prepare(self) -> Prepared | None:
        """Refuse settings that cannot work. Nothing is written, started or requested over the network.

        A start and ``kvproxy check`` both begin with this, so both find the same mistakes.

        Returns:
            the Traefik that the hub is about to start; None if it starts none.

        Raises:
            KVProxyError: with one sentence that names the setting.
        """
        check_url(self.public_url, "JupyterHub.bind_url")
        self.tell_oddities()
        self._check_certificate()
        prepared = await asyncio.get_running_loop().run_in_executor(None, self._prepared) if self.should_start else None
        self.dynamic_config(Features(prepared.version) if prepared is not None else None)
        self._check_hooks()
        return prepared

    def _prepared(self) -> Prepared:
        if len(self.traefik_api_urls) > 1:
            raise ConfigurationError(
                "traefik_api_url names several replicas of Traefik, and the hub starts only one; name one, or run them "
                "yourself and set c.TraefikProxy.should_start = False."
            )
        provider, file = self.traefik_provider(), Path(self.static_config_file)
        exposed = check_directory(file)
        binary = find_traefik()
        version = traefik_version(binary)
        groups_allowed(self.route_layout, version)
        settings = self.static_settings(provider, version)
        configuration = static_configuration(settings)
        static_file(configuration, file.name)
        environment = {**DEFAULT_ENVIRONMENT, **self.traefik_environment(), **self.traefik_env}
        if self.extra_static_config:
            try_static_configuration(binary, configuration, os.environ, environment)
        return Prepared(binary, version, environment, settings, (exposed,) if exposed else ())

    def _check_certificate(self) -> None:
        """Refuse a certificate without its key, and missing files, which JupyterHub accepts."""
        given: dict[str, Any] = {"ssl_cert": self.ssl_cert, "ssl_key": self.ssl_key}
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

    def _check_hooks(self) -> None:
        """Refuse hooks that make the hub's own route unusable: without it the hub does not start."""
        layout = self.layout(() if self.should_start else (self.traefik_entrypoint,))
        if layout.customize is None or self.app is None:
            return
        try:
            encode_route(make_route(self.hub.routespec, self.hub.host, {"hub": True}), layout)
        except HookError as error:
            raise ConfigurationError(f"{error} The hub does not start without this route.") from None
