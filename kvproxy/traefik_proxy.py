"""The traits of every proxy by Traefik, and what follows from them, wherever the routes are kept."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from jupyterhub.proxy import Proxy
from traitlets import Bool, Dict, Enum, Integer, Unicode, default, validate

from .certificate import placeholder_certificate
from .credentials import ApiAccess, api_access, derive
from .static import StaticSettings, address, check_url, setup_configuration, static_file
from .traefik import TraefikApi


class TraefikProxy(Proxy):
    """Everything about Traefik that does not depend on where the routes are kept."""

    #: Traefik's name of the provider that reads the store, such as ``redis``.
    provider_name = ""

    concurrency = Integer(10, min=1, config=True, help="How many requests to Traefik's API may be under way at once.")
    static_config_file = Unicode(
        "traefik.toml",
        config=True,
        help="""The file that Traefik's static configuration is written to if `should_start` is True.

        It is readable by the hub's user only and removed when Traefik is stopped. The ending `.toml`, `.yaml` or `.yml`
        decides on the format. Beside it stand Traefik's log and process id.
        """,
    )
    extra_static_config = Dict(
        config=True,
        help="""Static configuration that is merged over what kvproxy, or `kvproxy static-config`, writes.""",
    )
    extra_dynamic_config = Dict(
        config=True,
        help="""Dynamic configuration (middlewares, routers …) that is kept in the store beside the routes.

        What is removed here is removed from the store at the next start. Without effect if both `should_start` and
        `enable_setup_dynamic_config` are False.
        """,
    )
    enable_setup_dynamic_config = Bool(
        True,
        config=True,
        help="""Whether kvproxy sets up the API's router, the default certificate and `extra_dynamic_config` for a
        Traefik that it does not start.

        If False, `traefik_api_url`, `traefik_api_username` and `traefik_api_password` must fit what you set up.
        """,
    )
    route_layout = Enum(
        ["auto", "flat", "tree"],
        "auto",
        config=True,
        help="""How routes are laid out for Traefik, which looks at its routers one after another.

        `tree` puts routes whose names begin alike behind a router of their own, so that a request costs about the same
        at any number of routes; it needs Traefik 3.6. `flat` does not. `auto` is `tree` where there are many
        routes and Traefik can do it, and changes from one to the other without a wrong answer.
        """,
    )
    traefik_providers_throttle_duration = Unicode(
        "0s",
        config=True,
        help="""Traefik's `providersThrottleDuration`: how long it waits after one reload before the next.

        kvproxy groups changes by itself, so the default adds no delay; docs/throttle.md shows what others do. Only if
        `should_start` is True.
        """,
    )
    traefik_api_url = Unicode(
        "http://localhost:8099",
        config=True,
        help="""Where Traefik's API is (if `should_start` is True: is to be), without `/api`.""",
    )
    traefik_api_validate_cert = Bool(
        True, config=True, help="Whether the certificate of an https `traefik_api_url` must be valid."
    )
    traefik_api_username = Unicode(
        config=True,
        help="""A user who may use Traefik's API, 'jupyterhub' if empty. kvproxy itself uses a token of its own,
        unless `enable_setup_dynamic_config` and `should_start` are False.
        """,
    )
    traefik_api_password = Unicode(
        config=True, help="The password of that user. Without one, nobody but kvproxy may use the API."
    )
    traefik_api_hashed_password = Unicode(
        config=True,
        help="""The password's hash as Traefik's basicAuth takes it (bcrypt, MD5 or SHA1), instead of the password.""",
    )
    traefik_entrypoint = Unicode(
        config=True,
        help="""Name of Traefik's public entry point: `http` or `https`, after the hub's URL, unless you set it.""",
    )
    traefik_api_entrypoint = Unicode("auth_api", config=True, help="Name of the entry point of Traefik's API.")
    traefik_log_level = Unicode(
        config=True,
        help="""Traefik's log level (DEBUG, INFO, WARN, ERROR); ERROR if empty. Its lines appear in the hub's log.""",
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
    def _valid_api_url(self, proposal: Any) -> str:
        check_url(proposal.value, "traefik_api_url")
        return str(proposal.value)

    @validate("static_config_file")
    def _valid_static_config_file(self, proposal: Any) -> str:
        static_file({}, proposal.value)
        return str(proposal.value)

    @property
    def is_https(self) -> bool:
        """Whether users reach the hub by https at Traefik itself."""
        return bool(self.public_url.startswith("https:"))

    @property
    def sets_up(self) -> bool:
        """Whether kvproxy writes the dynamic configuration that is not about routes."""
        return bool(self.should_start or self.enable_setup_dynamic_config)

    def validate_routespec(self, routespec: str) -> str:
        """JupyterHub's own check of hosts against host routing; a proxy without a hub takes both kinds.

        Raises:
            ValueError: as JupyterHub's does.
        """
        if self.app is not None:
            return str(super().validate_routespec(routespec))  # type: ignore[no-untyped-call]
        return routespec if routespec.endswith("/") else routespec + "/"

    def static_settings(self, provider: dict[str, Any], version: tuple[int, ...]) -> StaticSettings:
        """What the static configuration of a Traefik of this version is made from."""
        return StaticSettings(
            public_url=self.public_url,
            api_url=self.traefik_api_url,
            entry_point=self.traefik_entrypoint,
            api_entry_point=self.traefik_api_entrypoint,
            provider=provider,
            throttle=self.traefik_providers_throttle_duration,
            log_level=self.traefik_log_level,
            version=version,
            extra=self.extra_static_config,
        )

    def listen_addresses(self) -> dict[tuple[str, int], str]:
        """Where a Traefik that the hub starts will listen, and which setting says so."""
        return {
            address(self.public_url, "JupyterHub.bind_url"): "c.JupyterHub.bind_url",
            address(self.traefik_api_url, "traefik_api_url"): "c.TraefikProxy.traefik_api_url",
        }

    def _secret(self) -> bytes:
        secret = getattr(self.app, "cookie_secret", None) or secrets.token_bytes(32)
        return secret if isinstance(secret, bytes) else str(secret).encode()

    def _certificate(self, secret: bytes) -> tuple[str, str] | None:
        if self.ssl_cert and self.ssl_key:
            return str(Path(self.ssl_cert).absolute()), str(Path(self.ssl_key).absolute())
        if self.is_https and not self.should_start:
            # Two providers with a default certificate cancel each other out (Traefik 3.7, `mergeConfiguration`), and
            # this Traefik must have one from somewhere.
            return None
        return placeholder_certificate(derive(secret, "placeholder certificate"))

    def _setup(self, access: ApiAccess, secret: bytes) -> dict[str, Any]:
        if not self.sets_up:
            return {}
        return setup_configuration(
            api_url=self.traefik_api_url,
            api_entry_point=self.traefik_api_entrypoint,
            api_users=list(access.users),
            certificate=self._certificate(secret),
            extra=self.extra_dynamic_config,
        )

    def _access(self, secret: bytes) -> ApiAccess:
        return api_access(
            set_up=self.sets_up,
            username=self.traefik_api_username,
            password=self.traefik_api_password,
            hashed_password=self.traefik_api_hashed_password,
            secret=secret,
        )

    def _api(self, access: ApiAccess) -> TraefikApi:
        return TraefikApi(
            self.traefik_api_url,
            self.provider_name,
            username=access.username,
            password=access.password,
            validate_cert=self.traefik_api_validate_cert,
        )
