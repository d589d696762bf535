"""Traefik's setup besides the routes, made from a proxy's settings: layout, pages, access to the API, and replicas."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ..hooks.customize import customizing
from ..routing.entry import Layout
from ..routing.flatten import flatten
from ..routing.manifest import of_default_store
from ..routing.root_routers import RootRouters, parse_excepted, public_configuration
from ..routing.route import parse_routespec
from ..traefik.api import TraefikApi, api_trust
from ..traefik.discovery import ReplicaDiscovery
from ..traefik.entry_point import entry_point_advice, hot_advice, plain_https_advice, tiers_advice, trust_advice
from ..traefik.features import Features
from ..traefik.setup.certificate import placeholder_certificate
from ..traefik.setup.credentials import ApiAccess, Secret, api_access, derive_key
from ..traefik.setup.error_pages import not_found_page, pages_configuration
from ..traefik.setup.extra_config import checked_dynamic_config, without_unset
from ..traefik.setup.internal_ssl import read_identity, servers_transport, transport_name
from ..traefik.static_config import (
    StaticSettings,
    address,
    counts_by_itself,
    deep_merge,
    further_providers,
    given_provider,
    setup_configuration,
    static_configuration,
    with_host,
)
from .traits import TraefikProxy

#: The folder with the text of the page for a server that does not answer.
_TEMPLATES: Final = str(Path(__file__).with_name("templates"))


def offer_templates(app: Any) -> None:
    """Let the hub find kvproxy's pages, after the administrator's own templates, which take precedence."""
    if (paths := getattr(app, "template_paths", None)) is not None and _TEMPLATES not in paths:
        paths.append(_TEMPLATES)


def static_settings(proxy: TraefikProxy, provider: Mapping[str, Any], version: tuple[int, ...]) -> StaticSettings:
    """Return the values from which the static configuration of a Traefik of this version is made."""
    return StaticSettings(
        public_url=proxy.public_url,
        api_url=_api_listens(proxy),
        entry_point=proxy.traefik_entrypoint,
        api_entry_point=proxy.traefik_api_entrypoint,
        provider=provider,
        throttle=proxy.traefik_providers_throttle_duration,
        log_level=proxy.traefik_log_level,
        version=version,
        counts=proxy.tracks_activity and not counts_by_itself(proxy.extra_static_config),
        trusted=tuple(proxy.trusted_proxies),
        hot=proxy.hot,
        read_timeout=proxy.read_timeout,
        extra=proxy.extra_static_config,
    )


def says_provider(proxy: TraefikProxy) -> bool:
    """Return True if `extra_static_config` replaces the provider's section, so that kvproxy does not know it."""
    return bool(given_provider(proxy.extra_static_config, proxy.provider_name))


def listen_addresses(proxy: TraefikProxy) -> dict[tuple[str, int], str]:
    """Return the addresses where the hub's Traefik will listen, each with the setting that gives it."""
    api = "hot_traefik_api_url" if proxy.hot else "traefik_api_url"
    public = "TraefikProxy.hot_traefik_url" if proxy.hot else "JupyterHub.bind_url"
    return {
        address(proxy.public_url, public): f"c.{public}",
        address(_api_listens(proxy), api): f"c.TraefikProxy.{api}",
    }


def _api_listens(proxy: TraefikProxy) -> str:
    url = proxy.traefik_api_urls[0]
    return with_host(url, local) if (local := loopback(proxy)) else url


def loopback(proxy: TraefikProxy) -> str | None:
    """Return the address of ``localhost`` in ``traefik_api_url``; None if the name has to be resolved.

    The name has two addresses, and Traefik listens at one of them only. At the other, any user of the machine could
    listen, and would get the hub's password for the API.
    """
    local = urlsplit(proxy.traefik_api_urls[0]).hostname == "localhost"
    return "127.0.0.1" if proxy.should_start and local else None


def layout(proxy: TraefikProxy, entry_points: tuple[str, ...]) -> Layout:
    """Return the layout of routes as keys, for these entry points or, if there are none, Traefik's default ones."""
    hosts = bool(proxy.hub_host) or (proxy.app is not None and proxy.host_routing)
    return Layout(
        entry_points,
        proxy.route_layout,
        hosts=hosts,
        names=proxy.names,
        host=proxy.hub_host,
        transport=transport_of_servers(proxy),
        customize=customizing(proxy.hooks.route_configuration),
        roots=_roots_of_routes(proxy, hosts) if proxy.sets_up else None,
        # An answer that is cut off must be cut off for the first Traefik too, which would ask again for a missing one.
        flushes=proxy.hot,
    )


def _roots_of_routes(proxy: TraefikProxy, hosts: bool) -> RootRouters | None:
    """Return the root routers in front of all routes; none if several hubs differ by more than a host or path."""
    if proxy.hub_id and hosts and not proxy.hub_host:
        return None
    base = urlsplit(proxy.public_url).path or "/"
    return RootRouters(
        proxy.names,
        scope=replace(parse_routespec(base), host=proxy.hub_host) if proxy.hub_id else None,
        host=proxy.hub_host,
        pages=proxy.names.pages if proxy.error_pages and _hub_url(proxy) else "",
        excepted=parse_excepted(proxy.error_pages_except),
    )


def _hub_url(proxy: TraefikProxy) -> str:
    """URL at which Traefik reaches the hub's pages; empty if it does not, or that is not set up."""
    url = str(getattr(proxy.hub, "url", ""))
    return url if proxy.sets_up and url.startswith(("http://", "https://")) else ""


def hub_secret(app: Any) -> Secret:
    """Return the hub's cookie secret, from which others are derived; a random one if there is none."""
    secret = getattr(app, "cookie_secret", None) or secrets.token_bytes(32)
    return Secret(secret if isinstance(secret, bytes) else str(secret).encode())


def make_access(proxy: TraefikProxy, secret: bytes) -> ApiAccess:
    """Return the credentials for Traefik's API."""
    return api_access(
        set_up=proxy.sets_up,
        username=proxy.traefik_api_username,
        password=proxy.traefik_api_password,
        hashed_password=proxy.traefik_api_hashed_password,
        secret=secret,
    )


def hub_access(proxy: TraefikProxy) -> ApiAccess:
    """Return the credentials for Traefik's API, from the hub's cookie secret."""
    return make_access(proxy, hub_secret(proxy.app))


def discovery(proxy: TraefikProxy, access: ApiAccess) -> ReplicaDiscovery:
    """Return the APIs of all replicas; a Traefik that the hub starts has one.

    Raises:
        ConfigurationError: if the authority's certificate cannot be used.
    """
    tls = api_trust(proxy.traefik_api_ca, proxy.traefik_api_validate_cert)

    def make(url: str, host_address: str | None) -> TraefikApi:
        return TraefikApi(
            url,
            proxy.provider_name,
            username=access.username,
            password=access.password,
            tls=tls,
            names=proxy.names,
            address=host_address or loopback(proxy),
        )

    return ReplicaDiscovery(proxy.traefik_api_urls, make, proxy.log, resolve=not proxy.should_start)


def _internal_ssl(proxy: TraefikProxy) -> bool:
    return bool(getattr(proxy.app, "internal_ssl", False))


def transport_of_servers(proxy: TraefikProxy) -> str:
    """Return the name of Traefik's serversTransport for servers with an https URL, empty for its default one.

    Raises:
        ConfigurationError: if one is required and none is set up.
    """
    own = proxy.traefik_servers_transport
    return transport_name(internal_ssl=_internal_ssl(proxy), own=own, set_up=proxy.sets_up, names=proxy.names)


def key_in_store(proxy: TraefikProxy) -> bool:
    """Return True if the store holds the private key for Traefik's connections to users' servers (``internal_ssl``)."""
    return _internal_ssl(proxy) and proxy.sets_up and not proxy.should_start and not proxy.traefik_servers_transport


def _transport(proxy: TraefikProxy) -> dict[str, Any]:
    if proxy.traefik_servers_transport or not _internal_ssl(proxy):
        return {}
    # A Traefik that the hub starts runs as the hub's user on the hub's machine, so the key stays in its file.
    return servers_transport(read_identity(proxy.app, key_as_text=key_in_store(proxy)), proxy.names)


def dynamic_config(proxy: TraefikProxy, able: Features | None = None) -> dict[str, Any]:
    """Return ``extra_dynamic_config`` as Traefik reads it from this store; empty if kvproxy does not write it.

    Args:
        proxy: gives the settings.
        able: the features of the Traefik that reads it; any version if None.

    Raises:
        ConfigurationError: if Traefik could not read it, or would read it differently.
    """
    if not proxy.sets_up:
        return {}
    reader = proxy.reader() if able is None else replace(proxy.reader(), version=able.version)
    return checked_dynamic_config(proxy.extra_dynamic_config, reader)


def make_setup(
    proxy: TraefikProxy,
    access: ApiAccess,
    secret: bytes,
    able: Features | None = None,
    *,
    entry_points: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the dynamic configuration that is not about routes; empty if kvproxy does not write it.

    Args:
        proxy: gives the settings.
        access: the credentials for Traefik's API.
        secret: the hub's, from which the placeholder certificate is made.
        able: the features of the Traefik that reads it.
        entry_points: those of the routes.

    Raises:
        ConfigurationError: if ``extra_dynamic_config`` or the hub's certificates cannot be used.
    """
    if not proxy.sets_up:
        return {}
    able = able or Features()
    ours = deep_merge(_transport(proxy), _public(proxy, able, entry_points))
    configuration = setup_configuration(
        api_url=proxy.traefik_api_urls[0],
        api_entry_point=proxy.traefik_api_entrypoint,
        api_users=list(access.users),
        certificate=_certificate(proxy, secret),
        extra=deep_merge(ours, dynamic_config(proxy)),
        names=proxy.names,
        metrics=proxy.tracks_activity and able.metrics,
    )
    return without_unset(configuration)


def _public(proxy: TraefikProxy, able: Features, entry_points: tuple[str, ...]) -> dict[str, Any]:
    """Return the configuration of the hub's pages and of the entry point's own answers.

    The pages are set up without `error_pages` too, so that no router ever names a missing middleware.
    """
    url, names = _hub_url(proxy), proxy.names
    pages = pages_configuration(url, transport_of_servers(proxy), names, able.version) if url else {}
    not_found = not_found_page(url, names, able.version) if url else None
    return deep_merge(pages, public_configuration(names, entry_points, not_found, able.ping))


def _certificate(proxy: TraefikProxy, secret: bytes) -> tuple[str, str] | None:
    if any(map(of_default_store, flatten(proxy.extra_dynamic_config))):
        # Otherwise this certificate would win over one from a resolver (Traefik 3.7, `getDefaultCertificate`).
        return None
    if proxy.ssl_cert and proxy.ssl_key and not proxy.hub_id:
        return str(Path(proxy.ssl_cert).absolute()), str(Path(proxy.ssl_key).absolute())
    if not gives_placeholder(proxy):
        return None
    return placeholder_certificate(derive_key(secret, "placeholder certificate"))


def gives_placeholder(proxy: TraefikProxy) -> bool:
    """Return True if Traefik gets a placeholder as its default certificate when the hub has no certificate.

    If two providers have a default certificate, Traefik serves neither (3.7, ``mergeConfiguration``), so the
    placeholder would displace the administrator's own. Only for a Traefik that the hub starts are all providers
    known. A hub that shares its Traefik may not decide for the others.
    """
    if proxy.placeholder_certificate is not None:
        return bool(proxy.placeholder_certificate) and not proxy.hub_id
    return bool(proxy.should_start) and not further_providers(proxy.extra_static_config, proxy.provider_name)


def advice(proxy: TraefikProxy, version: tuple[int, ...], shown: Mapping[str, Any] | None = None) -> list[str]:
    """Return sentences about unwanted effects of Traefik's public entry point on users' requests.

    Args:
        proxy: gives the settings.
        version: Traefik's version.
        shown: the API's description of the entry point; None for a Traefik that the hub starts.
    """
    # Users come by https to Traefik, or to a proxy in front of it.
    users_url = str(getattr(proxy.app, "public_url", "") or getattr(proxy.app, "subdomain_host", ""))
    public_https = users_url.startswith("https:")
    bind_url = str(proxy.config.get("JupyterHub", {}).get("bind_url", ""))
    if shown is not None:
        found = entry_point_advice(version, shown, public_https=public_https)
    else:
        configuration = static_configuration(static_settings(proxy, {}, version))
        shown = configuration["entryPoints"][proxy.traefik_entrypoint]
        found = trust_advice(shown, "c.TraefikProxy.trusted_proxies", public_https=public_https)
    tiers = tiers_advice(version) if proxy.hot or proxy.route_tiers == "two" else []
    return [*found, *tiers, *(hot_advice(shown) if proxy.hot else plain_https_advice(bind_url, shown))]
