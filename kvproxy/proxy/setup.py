"""The parts of every proxy that are made from its traits: layout, setup, access to the API, and the replicas."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ..hooks.customize import customizing
from ..reconcile.startup import check_certificate, check_replicas, given_certificate, warn_once
from ..routing.entry import Entry, Layout
from ..routing.flatten import flatten
from ..routing.manifest import of_default_store
from ..routing.root_routers import RootRouters, parse_excepted, public_configuration
from ..routing.route import parse_routespec
from ..store.base import Roots, Store
from ..traefik.api import TraefikApi, api_trust
from ..traefik.discovery import ReplicaDiscovery
from ..traefik.entry_point import entry_point_advice, plain_https_advice, reserved_advice, trust_advice
from ..traefik.features import Features
from ..traefik.setup.certificate import placeholder_certificate
from ..traefik.setup.credentials import ApiAccess, Secret, api_access, derive_key
from ..traefik.setup.error_pages import not_found_page, pages_configuration
from ..traefik.setup.extra_config import checked_dynamic_config, without_unset
from ..traefik.setup.internal_ssl import read_identity, servers_transport, transport_name
from ..traefik.static_config import deep_merge, further_providers, setup_configuration, static_configuration
from ..traefik.validation import Reader
from .traits import TraefikProxy

#: The folder with the text of the page for a server that does not answer.
TEMPLATES: Final = str(Path(__file__).with_name("templates"))


class TraefikSetUp(TraefikProxy):
    """A proxy's setup of Traefik besides the routes; a backend adds the parts about its store."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        # After the administrator's own templates, which take precedence.
        if (paths := getattr(self.app, "template_paths", None)) is not None and TEMPLATES not in paths:
            paths.append(TEMPLATES)

    def open_store(self, roots: Roots) -> Store:
        """Return a store with these roots, not yet connected.

        Args:
            roots: :attr:`roots`, or others in the same store that a migration reads.

        Raises:
            ConfigurationError: if a setting cannot work, or the store's client library is not installed.
        """
        raise NotImplementedError

    def traefik_provider(self) -> dict[str, Any]:
        """Return the section of Traefik's static configuration that makes it read the same store.

        Raises:
            ConfigurationError: if Traefik cannot use the hub's settings.
        """
        raise NotImplementedError

    def traefik_environment(self) -> dict[str, str]:
        """Return environment variables that Traefik needs to read the same store."""
        return {}

    @property
    def says_provider(self) -> bool:
        """True if `extra_static_config` replaces the provider's section, so that kvproxy does not know it."""
        providers = self.extra_static_config.get("providers")
        return isinstance(providers, Mapping) and bool(providers.get(self.provider_name))

    def reader(self) -> Reader:
        """Return the properties of Traefik's provider; by default those of the strictest one."""
        return Reader()

    def refused_login(self, provider_error: str) -> str:
        """Return the remedy if the store refuses Traefik's login permanently; empty for any other error.

        Args:
            provider_error: the last error of Traefik's provider, in its own words; empty if there is none.
        """
        return ""

    def store_secrets(self) -> list[str]:
        """Return the strings that must never be logged."""
        return []

    def layout(self, entry_points: tuple[str, ...]) -> Layout:
        """Return the layout of routes as keys, for these entry points or, if there are none, Traefik's default ones."""
        hosts = bool(self.hub_host) or (self.app is not None and self.host_routing)
        return Layout(
            entry_points,
            self.route_layout,
            hosts=hosts,
            names=self.names,
            host=self.hub_host,
            transport=self.servers_transport,
            customize=customizing(self.hooks.route_configuration),
            roots=self._roots_of_routes(hosts) if self.sets_up else None,
        )

    def _roots_of_routes(self, hosts: bool) -> RootRouters | None:
        """Return the root routers in front of all routes; none if several hubs differ by more than a host or path."""
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
        return Secret(secret if isinstance(secret, bytes) else str(secret).encode())

    def _certificate(self, secret: bytes) -> tuple[str, str] | None:
        if any(map(of_default_store, flatten(self.extra_dynamic_config))):
            # Otherwise this certificate would win over one from a resolver (Traefik 3.7, `getDefaultCertificate`).
            return None
        if self.ssl_cert and self.ssl_key and not self.hub_id:
            return str(Path(self.ssl_cert).absolute()), str(Path(self.ssl_key).absolute())
        if not self.gives_placeholder:
            return None
        return placeholder_certificate(derive_key(secret, "placeholder certificate"))

    @property
    def gives_placeholder(self) -> bool:
        """True if Traefik gets a placeholder as its default certificate when the hub has no certificate.

        If two providers have a default certificate, Traefik serves neither (3.7, ``mergeConfiguration``), so the
        placeholder would displace the administrator's own. Only for a Traefik that the hub starts are all providers
        known. A hub that shares its Traefik may not decide for the others.
        """
        if self.placeholder_certificate is not None:
            return bool(self.placeholder_certificate) and not self.hub_id
        return bool(self.should_start) and not further_providers(self.extra_static_config, self.provider_name)

    def advice(self, version: tuple[int, ...], shown: Mapping[str, Any] | None = None) -> list[str]:
        """Return sentences about unwanted effects of Traefik's public entry point on users' requests.

        Args:
            version: Traefik's version.
            shown: the API's description of the entry point; None for a Traefik that the hub starts.
        """
        public_https = self.users_come_by_https
        bind_url = str(self.config.get("JupyterHub", {}).get("bind_url", ""))
        if shown is not None:
            found = entry_point_advice(version, shown, public_https=public_https)
        else:
            configuration = static_configuration(self.static_settings({}, version))
            shown = configuration["entryPoints"][self.traefik_entrypoint]
            found = trust_advice(shown, "c.TraefikProxy.trusted_proxies", public_https=public_https)
        return [*found, *plain_https_advice(bind_url, shown)]

    async def _look_at_own(self, traefik: TraefikApi, version: tuple[int, ...], entries: Mapping[str, Entry]) -> None:
        """Log the faults of a Traefik that the hub has started."""
        warn_once([*reserved_advice(version), *self.advice(version)], self.log)
        await check_certificate([traefik], given_certificate(entries), self.log)

    async def _look_at_external(
        self, replicas: Sequence[TraefikApi], revision: int, entries: Mapping[str, Entry]
    ) -> None:
        """Log the faults of Traefiks that the hub has not started."""
        timeout, entry_point, layout = self.check_route_timeout, self.traefik_entrypoint, self.route_layout
        await check_replicas(replicas, revision, timeout, entry_point, layout, self.log, self.advice)
        await check_certificate(replicas, given_certificate(entries), self.log)

    @property
    def _internal_ssl(self) -> bool:
        return bool(getattr(self.app, "internal_ssl", False))

    @property
    def servers_transport(self) -> str:
        """Name of Traefik's serversTransport for servers with an https URL, empty for its default one.

        Raises:
            ConfigurationError: if one is required and none is set up.
        """
        own = self.traefik_servers_transport
        return transport_name(internal_ssl=self._internal_ssl, own=own, set_up=self.sets_up, names=self.names)

    def _transport(self) -> dict[str, Any]:
        if self.traefik_servers_transport or not self._internal_ssl:
            return {}
        # A Traefik that the hub starts runs as the hub's user on the hub's machine, so the key stays in its file.
        return servers_transport(read_identity(self.app, key_as_text=self.key_in_store), self.names)

    @property
    def key_in_store(self) -> bool:
        """True if the store holds the private key for Traefik's connections to users' servers (``internal_ssl``)."""
        return self._internal_ssl and self.sets_up and not self.should_start and not self.traefik_servers_transport

    @property
    def _hub_url(self) -> str:
        """URL at which Traefik reaches the hub's pages; empty if it does not, or that is not set up."""
        url = str(getattr(self.hub, "url", ""))
        return url if self.sets_up and url.startswith(("http://", "https://")) else ""

    def _public(self, able: Features, entry_points: tuple[str, ...]) -> dict[str, Any]:
        """Return the configuration of the hub's pages and of the entry point's own answers.

        The pages are set up without `error_pages` too, so that no router ever names a missing middleware.
        """
        url, names = self._hub_url, self.names
        pages = pages_configuration(url, self.servers_transport, names, able.version) if url else {}
        not_found = not_found_page(url, names, able.version) if url else None
        return deep_merge(pages, public_configuration(names, entry_points, not_found, able.ping))

    def dynamic_config(self, able: Features | None = None) -> dict[str, Any]:
        """Return :attr:`extra_dynamic_config` as Traefik reads it from this store; empty if kvproxy does not write it.

        Args:
            able: the features of the Traefik that reads it; any version if None.

        Raises:
            ConfigurationError: if Traefik could not read it, or would read it differently.
        """
        if not self.sets_up:
            return {}
        reader = self.reader() if able is None else replace(self.reader(), version=able.version)
        return checked_dynamic_config(self.extra_dynamic_config, reader)

    def _setup(
        self, access: ApiAccess, secret: bytes, able: Features | None = None, entry_points: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        if not self.sets_up:
            return {}
        able = able or Features()
        ours = deep_merge(self._transport(), self._public(able, entry_points))
        configuration = setup_configuration(
            api_url=self.traefik_api_urls[0],
            api_entry_point=self.traefik_api_entrypoint,
            api_users=list(access.users),
            certificate=self._certificate(secret),
            extra=deep_merge(ours, self.dynamic_config()),
            names=self.names,
            metrics=self.tracks_activity and able.metrics,
        )
        return without_unset(configuration)

    def _access(self, secret: bytes) -> ApiAccess:
        return api_access(
            set_up=self.sets_up,
            username=self.traefik_api_username,
            password=self.traefik_api_password,
            hashed_password=self.traefik_api_hashed_password,
            secret=secret,
        )

    @property
    def api_trust(self) -> ssl.SSLContext | bool:
        """The certificates that clients of Traefik's API trust, see :func:`kvproxy.traefik.api.api_trust`."""
        return api_trust(self.traefik_api_ca, self.traefik_api_validate_cert)

    def _fleet(self, access: ApiAccess) -> ReplicaDiscovery:
        """Return the APIs of all replicas; a Traefik that the hub starts has one.

        Raises:
            ConfigurationError: if the authority's certificate cannot be used.
        """
        tls = self.api_trust

        def make(url: str, host_address: str | None) -> TraefikApi:
            return TraefikApi(
                url,
                self.provider_name,
                username=access.username,
                password=access.password,
                tls=tls,
                names=self.names,
                address=host_address or self.loopback,
            )

        return ReplicaDiscovery(self.traefik_api_urls, make, self.log, resolve=not self.should_start)
