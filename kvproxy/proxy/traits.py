"""The class with the settings of Traefik, and the values derived from them, for any store."""

from __future__ import annotations

from typing import Any, ClassVar

from jupyterhub.proxy import Proxy
from traitlets import (
    Bool,
    Callable,
    CaselessStrEnum,
    Dict,
    Enum,
    Float,
    Integer,
    List,
    Unicode,
    Union,
    default,
    validate,
)

from ..hooks.customize import Hooks
from ..plugins import load_hooks
from ..routing.names import Names
from ..traefik.validation import Reader
from .former_names import accepted_settings, former_name, former_sections, former_settings, names_in, remarks_about
from .setting_checks import CHECKS, own_hooks
from .setting_names import AcceptedSettings, Remark, is_set, with_former


class TraefikProxy(Proxy):
    """The settings of Traefik that do not depend on the store."""

    #: Traefik's name for the provider that reads the store, such as ``redis``.
    provider_name = ""
    #: True for the second Traefik of two tiers, to which only the first one leads.
    hot = False
    #: Former name of the section of this class.
    former_section: ClassVar[str] = ""
    #: The ``proxy_class`` to use instead, if the class exists for its former name only.
    successor: ClassVar[str] = ""

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
    kv_separator = Unicode(
        "/", config=True, help="Deprecated: the separator of the parts of a key in the store. Traefik accepts only `/`."
    )
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
    route_tiers = Enum(
        ["auto", "one", "two"],
        "one",
        config=True,
        help="""`two` adds new routes to a second, small Traefik, so that adding one costs the same at any number of
        routes; from time to time they are moved to the first one. See docs/explanation/two-tiers.md. Needs Traefik 3.7.
        `auto` is `two` once there are 300 routes, if all other settings and Traefik's version allow it.
        """,
    )
    hot_traefik_url = Unicode(
        "http://127.0.0.1:8097", config=True, help="Where the second Traefik listens if `route_tiers` is `two`."
    )
    hot_traefik_api_url = Union(
        [Unicode(), List(Unicode(), minlen=1)],
        default_value="",
        config=True,
        help="""URL of the second Traefik's API, `http://127.0.0.1:8098` if empty. If `should_start` is False, it must
        be set, and may name several replicas, as `traefik_api_url` does.""",
    )
    delete_grace = Float(
        0,
        min=0,
        config=True,
        help="""Seconds for which the deletion of a route may wait for other changes, so that many stopped servers cost
        Traefik few reloads. Until then, Traefik leads to the stopped server, and users get the hub's error page.

        Leave it at 0 where another server may get a stopped server's address within that time, as on Kubernetes.
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
    route_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""Called as `route_hook(route, configuration)` for each route before it is written, to change the route's
        configuration, in place or by returning another one.

        `route` has `routespec`, `target` and `data`. `configuration` has the sections `router`, `service` and
        `middlewares`, with the fields of Traefik's file provider. The function must not be asynchronous, and its result
        must depend on the route alone. If it fails, the route is not served. See docs/how-to/write-a-hook.md.
        """,
    )
    route_added_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""Called as `route_added_hook(route, seconds)` when a new or changed route is served, with the seconds
        since the hub asked for it. May be asynchronous.""",
    )
    route_deleted_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""Called as `route_deleted_hook(routespec)` when a route is gone from the store. May be asynchronous.""",
    )
    route_failed_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""Called as `route_failed_hook(routespec, error)` when a route cannot be added or changed, or is not
        removed in time. May be asynchronous.""",
    )

    _plugin_hooks: Hooks | None = None

    def __init__(self, **kwargs: Any) -> None:
        for name in former_settings(type(self)):
            self.observe(self._take_over, name)
        super().__init__(**kwargs)

    def _take_over(self, change: Any) -> None:
        new = former_settings(type(self))[change.name]
        if not is_set(new, names_in(self.config), self.section_names()):
            setattr(self, new, change.new)

    @default("traefik_entrypoint")
    def _default_entrypoint(self) -> str:
        return "https" if self.is_https else "http"

    @validate(*CHECKS)
    def _valid(self, proposal: Any) -> Any:
        return CHECKS[proposal.trait.name](proposal.value)

    @classmethod
    def section_names(cls) -> list[str]:
        """Return the names of the sections that are read, each after its former name."""
        return with_former(super().section_names(), former_sections(cls))

    @property
    def accepted_settings(self) -> AcceptedSettings:
        """The sections and settings that this proxy accepts."""
        return accepted_settings(type(self), self.successor, self.kv_separator)

    def setting_remarks(self) -> list[Remark]:
        """Return all remarks about the names of sections and settings in the hub's configuration."""
        return remarks_about(self.config, self.accepted_settings)

    @property
    def hooks(self) -> Hooks:
        """The hooks of installed plugins, and after them, so that they decide, those of the configuration.

        Raises:
            ConfigurationError: if a plugin cannot be loaded.
        """
        if self._plugin_hooks is None:
            self._plugin_hooks = load_hooks()
        return self._plugin_hooks.then(own_hooks(lambda name: getattr(self, name)))

    def reader(self) -> Reader:
        """Return the properties of Traefik's provider; by default those of the strictest one."""
        return Reader()

    @property
    def traefik_api_urls(self) -> list[str]:
        """:attr:`traefik_api_url` as a list."""
        return [self.traefik_api_url] if isinstance(self.traefik_api_url, str) else list(self.traefik_api_url)

    @property
    def names(self) -> Names:
        """The names of this hub's parts in Traefik's configuration."""
        return Names(self.hub_id)

    @property
    def is_https(self) -> bool:
        """True if users reach the hub by https at Traefik itself."""
        return bool(self.public_url.startswith("https:"))

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
