"""The traits of every Traefik proxy and the values derived from them, for any store."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from traitlets import Bool, CaselessStrEnum, Dict, Enum, Float, Integer, List, Unicode, Union, default, validate

from ..errors import ConfigurationError, InvalidRouteError
from ..routing.names import Names, check_hub_id
from ..routing.root_routers import parse_excepted
from ..routing.route import parse_routespec
from ..traefik.static_config import (
    StaticSettings,
    address,
    check_network,
    check_url,
    counts_by_itself,
    static_file,
    with_host,
)
from ..traefik.validation import SchemaError
from ..traefik.validation import validate as validate_value
from .former_names import former_name
from .hooked import HookedProxy

#: Traefik accepts almost any name, but a store splits lists of names at commas, and a command line names them too.
_ENTRY_POINT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class TraefikProxy(HookedProxy):
    """The settings of Traefik that do not depend on the store."""

    #: Traefik's name for the provider that reads the store, such as ``redis``.
    provider_name = ""

    concurrency = Integer(10, min=1, config=True, help="Maximum number of concurrent requests to Traefik's API.")
    static_config_file = Unicode(
        "traefik.toml",
        config=True,
        help="""The file that Traefik's static configuration is written to if `should_start` is True.

        It is readable by the hub's user only and removed when Traefik is stopped. The suffix `.toml`, `.yaml` or `.yml`
        selects the format. Traefik's log and process id are kept beside it.
        """,
    )
    toml_static_config_file = former_name("static_config_file")
    extra_static_config = Dict(
        config=True,
        help="""Static configuration that is merged over that of kvproxy and `kvproxy static-config`.""",
    )
    extra_dynamic_config = Dict(
        config=True,
        help="""Dynamic configuration (middlewares, routers …) that is kept in the store beside the routes.

        It has the meaning that it has in a file for Traefik. The hub refuses to start with a configuration that Traefik
        could not read, or would read differently; docs/how-to/extra-configuration.md lists these. A part that is
        removed here is removed from the store at the next start. Without effect if both `should_start` and
        `enable_setup_dynamic_config` are False.
        """,
    )
    enable_setup_dynamic_config = Bool(
        True,
        config=True,
        help="""True if kvproxy sets up the API's router, the default certificate and `extra_dynamic_config` for a
        Traefik that it does not start.

        If False, `traefik_api_url`, `traefik_api_username` and `traefik_api_password` must match your own setup.
        """,
    )
    placeholder_certificate = Bool(
        default_value=None,
        allow_none=True,
        config=True,
        help="""True if Traefik gets a placeholder as its default certificate when the hub has none (`ssl_cert`).

        Without any default certificate, Traefik makes an RSA key at each reload, and a new route is served 0.1 to 1 s
        later. But if two of its providers have a default certificate, Traefik serves neither. So if this is None, only
        a Traefik that the hub starts, and that reads nothing but the hub's store, gets the placeholder. True gives it
        to any other Traefik: set it if none of your other providers has a default certificate (`tls.stores.default`).
        """,
    )
    hub_id = Unicode(
        config=True,
        help="""Identifies this hub among several that share a store and a Traefik, which none of them starts.

        At most 40 characters: a-z, 0-9 and single '-'. Each hub needs its own, and its own `hub_host` or base URL.
        """,
    )
    hub_host = Unicode(
        config=True,
        help="""The host name by which users reach this hub, without a port. If set, its routes are served for this host
        only, so that several hubs can share a Traefik. Not needed with `JupyterHub.subdomain_host`.
        """,
    )
    route_layout = Enum(
        ["auto", "flat", "tree"],
        "auto",
        config=True,
        help="""The layout of routes for Traefik, which tries its routers one after another.

        `tree` groups routes whose names begin alike behind a common router, so that a request costs about the same at
        any number of routes; it needs Traefik 3.6. `flat` does not group them. `auto` is `tree` if there are many
        routes and Traefik supports it, and changes from one to the other without misrouting a request.
        """,
    )
    traefik_providers_throttle_duration = Unicode(
        "0s",
        config=True,
        help="""Traefik's `providersThrottleDuration`: its pause between two reloads.

        kvproxy batches changes by itself, so the default adds no delay; docs/explanation/decisions.md has figures for
        other values. Only if `should_start` is True.
        """,
    )
    traefik_api_url = Union(
        [Unicode(), List(Unicode(), minlen=1)],
        default_value="http://127.0.0.1:8099",
        config=True,
        help="""URL of Traefik's API, without `/api`. If `should_start` is True, Traefik's API listens there.

        Several replicas of Traefik that read the same store are given as a list of URLs, or as one whose name has
        several addresses, such as a headless Kubernetes service. A route is ready when all of them serve it.
        With `should_start`, `localhost` is 127.0.0.1 for Traefik and for the hub.
        """,
    )
    traefik_replica_grace = Float(
        5,
        min=0,
        config=True,
        help="""Seconds for which an unreachable replica of Traefik, one of several, is waited for. After that, routes
        are added without it until it answers again.""",
    )
    traefik_stuck_timeout = Float(
        15,
        min=0,
        config=True,
        help="""Seconds after which the hub restarts its Traefik if it hangs, or if it receives no changes from a
        working store because its connection is dead; 0 for never.

        Users cannot log in during a restart, and it closes open connections. A Traefik that has not worked since its
        last start is left alone, as another restart would not help.""",
    )
    traefik_api_validate_cert = Bool(
        True, config=True, help="True if the certificate of an https `traefik_api_url` must be valid."
    )
    traefik_api_ca = Unicode(
        config=True,
        help="""Path of a PEM file with the authority's certificate for an https `traefik_api_url`.

        For your own authority: the hub then trusts only this one for Traefik's API. If empty, the hub trusts the
        authorities that its machine trusts. The file is read at the hub's start.
        """,
    )
    traefik_api_username = Unicode(
        config=True,
        help="""A user name for Traefik's API, 'jupyterhub' if empty. kvproxy itself uses a token of its own,
        unless `enable_setup_dynamic_config` and `should_start` are False.
        """,
    )
    traefik_api_password = Unicode(
        config=True, help="The password of that user. Without one, only kvproxy may use the API."
    )
    traefik_api_hashed_password = Unicode(
        config=True,
        help="""The password's hash for Traefik's basicAuth (bcrypt, MD5 or SHA1), instead of the password.""",
    )
    traefik_entrypoint = Unicode(
        config=True,
        help="""Name of Traefik's public entry point; `http` or `https` by default, depending on the hub's URL.""",
    )
    traefik_api_entrypoint = Unicode("auth_api", config=True, help="Name of the entry point of Traefik's API.")
    traefik_servers_transport = Unicode(
        config=True,
        help="""Name of your own serversTransport, such as `internal@file`, for all servers with an https URL.

        If empty, kvproxy sets one up from the hub's certificates if `JupyterHub.internal_ssl` is on, and uses
        Traefik's default one if it is off.
        """,
    )
    track_last_activity = Bool(
        True,
        config=True,
        help="""True if Traefik counts the requests to each server, so that JupyterHub learns when each was used last.

        Servers that report their activity themselves, such as JupyterLab, do not need it; for all others, culling
        depends on it. Counting costs Traefik about a fifth more CPU per request. An external Traefik needs
        `metrics.prometheus` in its static configuration, as `kvproxy static-config` writes it.
        """,
    )
    error_pages = Bool(
        True,
        config=True,
        help="""True if users get the hub's own page, with status 503, when a server does not answer.

        They also get it if the server itself answers 502 or 504, which Traefik cannot tell apart: see
        `error_pages_except`. From Traefik 3.6 on, websockets and clients that do not accept HTML get the server's own
        answer. Needs a Traefik that kvproxy sets up (see `enable_setup_dynamic_config`); before Traefik 3.4 the status
        stays 502 or 504.
        """,
    )
    error_pages_except = List(
        Unicode(),
        config=True,
        help="""Paths below which clients get a server's own 502 and 504 instead of the hub's page.

        For example `["/services/gateway/", "/user/*/proxy/"]`, with the hub's base URL; `*` stands for any one segment.
        Before Traefik 3.6, only whole routes can be excepted.
        """,
    )
    trusted_proxies = List(
        Unicode(),
        config=True,
        help="""Networks of the proxies in front of Traefik, such as `["10.0.0.0/8"]`, that terminate TLS for it.

        Their `X-Forwarded-For`, `-Proto`, `-Host` and `-Port` are trusted, so that the hub and users' servers know the
        address and the protocol of a browser. By default these headers are trusted from no address, as any client can
        forge them. For an external Traefik this is `entryPoints.….forwardedHeaders.trustedIPs`, which
        `kvproxy static-config` writes.
        """,
    )
    read_timeout = Float(
        3600,
        min=0,
        config=True,
        help="""Seconds that a client may take to send one request, including its body; 0 for no limit.

        A longer upload is cut off, and so is a client that sends half of a request and then nothing. Answers,
        websockets and event streams are not limited. For an external Traefik this is
        `entryPoints.….transport.respondingTimeouts.readTimeout`, which `kvproxy static-config` writes.
        """,
    )
    traefik_log_level = CaselessStrEnum(
        ["", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "PANIC"],
        "",
        config=True,
        help="""Traefik's log level (DEBUG, INFO, WARN, ERROR …); ERROR if empty. Its lines appear in the hub's log.""",
    )
    traefik_env = Dict(config=True, help="Environment variables for Traefik. Only if `should_start` is True.")
    check_route_timeout = Integer(
        30,
        min=1,
        config=True,
        help="""Seconds that Traefik may take to serve a new route (or, at start, to answer at all).""",
    )

    @default("traefik_entrypoint")
    def _default_entrypoint(self) -> str:
        return "https" if self.is_https else "http"

    @validate("traefik_api_url")
    def _valid_api_url(self, proposal: Any) -> str | list[str]:
        urls = [proposal.value] if isinstance(proposal.value, str) else list(proposal.value)
        paths = {check_url(url, "traefik_api_url").path.rstrip("/") for url in urls}
        if len(paths) > 1:
            raise ConfigurationError(
                "traefik_api_url names several URLs with different paths; replicas of Traefik have the same "
                "api.basePath."
            )
        return urls if len(urls) > 1 else urls[0]

    @validate("traefik_entrypoint", "traefik_api_entrypoint")
    def _valid_entry_point(self, proposal: Any) -> str:
        if proposal.value and not _ENTRY_POINT.fullmatch(proposal.value):
            raise ConfigurationError(
                f"c.TraefikProxy.{proposal.trait.name} = {proposal.value!r} cannot be the name of an entry point in "
                "Traefik; use letters, digits, '-', '_' and '.', such as 'websecure'."
            )
        return str(proposal.value)

    @validate("traefik_providers_throttle_duration")
    def _valid_throttle(self, proposal: Any) -> str:
        try:
            validate_value(proposal.value, "time", "")
        except SchemaError:
            raise ConfigurationError(
                f"c.TraefikProxy.traefik_providers_throttle_duration = {proposal.value!r} is not a duration; write one "
                "such as '2s' or '500ms'."
            ) from None
        return str(proposal.value)

    @validate("hub_id")
    def _valid_hub_id(self, proposal: Any) -> str:
        return check_hub_id(proposal.value)

    @validate("hub_host")
    def _valid_hub_host(self, proposal: Any) -> str:
        try:
            return parse_routespec(proposal.value + "/").host if proposal.value else ""
        except InvalidRouteError as error:
            raise ConfigurationError(f"hub_host = {proposal.value!r} is not a host name. {error}") from None

    @validate("static_config_file")
    def _valid_static_config_file(self, proposal: Any) -> str:
        static_file({}, proposal.value)
        return str(proposal.value)

    @validate("error_pages_except")
    def _valid_error_pages_except(self, proposal: Any) -> list[str]:
        parse_excepted(proposal.value)
        return list(proposal.value)

    @validate("trusted_proxies")
    def _valid_trusted_proxies(self, proposal: Any) -> list[str]:
        return [check_network(text) for text in proposal.value]

    @property
    def traefik_api_urls(self) -> list[str]:
        """:attr:`traefik_api_url` as a list."""
        return [self.traefik_api_url] if isinstance(self.traefik_api_url, str) else list(self.traefik_api_url)

    @property
    def loopback(self) -> str | None:
        """The address of `localhost` in :attr:`traefik_api_url`; None if the name has to be resolved.

        The name has two addresses, and Traefik listens at one of them only. At the other, any user of the machine could
        listen, and would get the hub's password for the API.
        """
        local = urlsplit(self.traefik_api_urls[0]).hostname == "localhost"
        return "127.0.0.1" if self.should_start and local else None

    @property
    def _api_listens(self) -> str:
        url = self.traefik_api_urls[0]
        return with_host(url, self.loopback) if self.loopback else url

    @property
    def names(self) -> Names:
        """The names of this hub's parts in Traefik's configuration."""
        return Names(self.hub_id)

    @property
    def is_https(self) -> bool:
        """True if users reach the hub by https at Traefik itself."""
        return bool(self.public_url.startswith("https:"))

    @property
    def users_come_by_https(self) -> bool:
        """True if users reach the hub by https, at Traefik or at something in front of it."""
        return str(getattr(self.app, "public_url", "") or getattr(self.app, "subdomain_host", "")).startswith("https:")

    @property
    def sets_up(self) -> bool:
        """True if kvproxy writes the dynamic configuration that is not about routes."""
        return bool(self.should_start or self.enable_setup_dynamic_config)

    @property
    def tracks_activity(self) -> bool:
        """True if Traefik's counters are read for ``last_activity``; not if the hub never asks for it."""
        return bool(self.track_last_activity and getattr(self.app, "last_activity_interval", 1))

    def validate_routespec(self, routespec: str) -> str:
        """Do JupyterHub's own check of hosts against host routing; a proxy without a hub accepts both kinds.

        Raises:
            ValueError: as JupyterHub's does.
        """
        if self.app is not None:
            return str(super().validate_routespec(routespec))  # type: ignore[no-untyped-call]
        return routespec if routespec.endswith("/") else routespec + "/"

    def static_settings(self, provider: dict[str, Any], version: tuple[int, ...]) -> StaticSettings:
        """Return the values from which the static configuration of a Traefik of this version is made."""
        return StaticSettings(
            public_url=self.public_url,
            api_url=self._api_listens,
            entry_point=self.traefik_entrypoint,
            api_entry_point=self.traefik_api_entrypoint,
            provider=provider,
            throttle=self.traefik_providers_throttle_duration,
            log_level=self.traefik_log_level,
            version=version,
            counts=self.tracks_activity and not counts_by_itself(self.extra_static_config),
            trusted=tuple(self.trusted_proxies),
            read_timeout=self.read_timeout,
            extra=self.extra_static_config,
        )

    def listen_addresses(self) -> dict[tuple[str, int], str]:
        """Return the addresses where the hub's Traefik will listen, each with the setting that gives it."""
        return {
            address(self.public_url, "JupyterHub.bind_url"): "c.JupyterHub.bind_url",
            address(self._api_listens, "traefik_api_url"): "c.TraefikProxy.traefik_api_url",
        }
