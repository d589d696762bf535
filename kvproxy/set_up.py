"""What every proxy makes of its traits for Traefik: layout, set-up, access to the API, the replicas."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .abilities import Abilities
from .certificate import placeholder_certificate
from .credentials import ApiAccess, api_access, derive
from .error_pages import not_found_page, pages_configuration
from .fleet import TraefikFleet
from .internal_ssl import read_identity, servers_transport, transport_name
from .root_routers import RootRouters, parse_excepted, public_configuration
from .routes import parse_routespec
from .static import deep_merge, setup_configuration
from .store import Store
from .traefik import TraefikApi
from .traefik_proxy import TraefikProxy
from .translate import Layout

#: Where the words of the page for a server that does not answer are.
TEMPLATES: Final = str(Path(__file__).with_name("templates"))


class TraefikSetUp(TraefikProxy):
    """What a proxy writes for Traefik besides routes; what only its backend can say of that is left to the backend."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        # Behind the administrator's own, which come first.
        if (paths := getattr(self.app, "template_paths", None)) is not None and TEMPLATES not in paths:
            paths.append(TEMPLATES)

    def open_store(self) -> Store:
        """The store, not yet connected.

        Raises:
            ConfigurationError: if a setting cannot work, or the store's client library is not installed.
        """
        raise NotImplementedError

    def traefik_provider(self) -> dict[str, Any]:
        """The section of Traefik's static configuration that makes it read the same store.

        Raises:
            ConfigurationError: if Traefik cannot follow where the hub goes.
        """
        raise NotImplementedError

    def traefik_environment(self) -> dict[str, str]:
        """What makes Traefik read the same store as well, where its configuration has no place for it."""
        return {}

    def store_secrets(self) -> list[str]:
        """Texts that must never be logged."""
        return []

    def layout(self, entry_points: tuple[str, ...]) -> Layout:
        """How routes are laid out as keys, on these entry points or, if there are none, on Traefik's default ones."""
        hosts = bool(self.hub_host) or (self.app is not None and self.host_routing)
        return Layout(
            entry_points,
            self.route_layout,
            hosts=hosts,
            names=self.names,
            host=self.hub_host,
            transport=self.servers_transport,
            hooks=self.hooks.route_configuration,
            roots=self._roots_of_routes(hosts) if self.sets_up else None,
        )

    def _roots_of_routes(self, hosts: bool) -> RootRouters | None:
        """What is in front of all routes; nothing where several hubs are told apart by more than one host or path."""
        if self.hub_id and hosts and not self.hub_host:
            return None
        base = urlsplit(self.public_url).path or "/"
        return RootRouters(
            self.names,
            scope=replace(parse_routespec(base), host=self.hub_host) if self.hub_id else None,
            host=self.hub_host,
            pages=self.names.pages if self.error_pages and self._hub_url else "",
            excepted=parse_excepted(self.error_pages_except),
        )

    def _secret(self) -> bytes:
        secret = getattr(self.app, "cookie_secret", None) or secrets.token_bytes(32)
        return secret if isinstance(secret, bytes) else str(secret).encode()

    def _certificate(self, secret: bytes) -> tuple[str, str] | None:
        if self.ssl_cert and self.ssl_key and not self.hub_id:
            return str(Path(self.ssl_cert).absolute()), str(Path(self.ssl_key).absolute())
        if self.hub_id or (self.is_https and not self.should_start):
            # Two providers with a default certificate cancel each other out (Traefik 3.7, `mergeConfiguration`), and
            # a Traefik with https must have one from somewhere. Of several hubs, none may speak for the others.
            return None
        return placeholder_certificate(derive(secret, "placeholder certificate"))

    @property
    def _internal_ssl(self) -> bool:
        return bool(getattr(self.app, "internal_ssl", False))

    @property
    def servers_transport(self) -> str:
        """Traefik's name of the serversTransport for servers with an https URL, empty for its default one.

        Raises:
            ConfigurationError: if there has to be one and nobody sets it up.
        """
        own = self.traefik_servers_transport
        return transport_name(internal_ssl=self._internal_ssl, own=own, set_up=self.sets_up, names=self.names)

    def _transport(self) -> dict[str, Any]:
        if self.traefik_servers_transport or not self._internal_ssl:
            return {}
        # A Traefik that the hub starts runs as the hub's user on the hub's machine, so the key stays in its file.
        return servers_transport(read_identity(self.app, key_as_text=not self.should_start), self.names)

    @property
    def _hub_url(self) -> str:
        """Where Traefik reaches the hub's pages; empty if it does not, or nobody sets that up."""
        url = str(getattr(self.hub, "url", ""))
        return url if self.sets_up and url.startswith(("http://", "https://")) else ""

    def _public(self, able: Abilities, entry_points: tuple[str, ...]) -> dict[str, Any]:
        """What the public entry point answers by itself, and the hub's pages.

        They are set up without `error_pages` too: so no router ever names a middleware that is not there any more.
        """
        url, names = self._hub_url, self.names
        pages = pages_configuration(url, self.servers_transport, names, able.version) if url else {}
        not_found = not_found_page(url, names, able.version) if url else None
        return deep_merge(pages, public_configuration(names, entry_points, not_found, able.ping))

    def _setup(
        self, access: ApiAccess, secret: bytes, able: Abilities | None = None, entry_points: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        if not self.sets_up:
            return {}
        able = able or Abilities()
        ours = deep_merge(self._transport(), self._public(able, entry_points))
        return setup_configuration(
            api_url=self.traefik_api_urls[0],
            api_entry_point=self.traefik_api_entrypoint,
            api_users=list(access.users),
            certificate=self._certificate(secret),
            extra=deep_merge(ours, self.extra_dynamic_config),
            names=self.names,
            metrics=self.tracks_activity and able.metrics,
        )

    def _access(self, secret: bytes) -> ApiAccess:
        return api_access(
            set_up=self.sets_up,
            username=self.traefik_api_username,
            password=self.traefik_api_password,
            hashed_password=self.traefik_api_hashed_password,
            secret=secret,
        )

    def _fleet(self, access: ApiAccess) -> TraefikFleet:
        """The APIs of all replicas; of the one Traefik that the hub starts, there is one."""

        def make(url: str, place: str | None) -> TraefikApi:
            return TraefikApi(
                url,
                self.provider_name,
                username=access.username,
                password=access.password,
                validate_cert=self.traefik_api_validate_cert,
                names=self.names,
                address=place,
            )

        return TraefikFleet(self.traefik_api_urls, make, resolve=not self.should_start)
