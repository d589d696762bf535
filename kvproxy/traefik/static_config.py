"""Traefik's static and set-up configuration, as values.

The static configuration is what Traefik reads once, at its start; the set-up is the part of the dynamic configuration
that is not about routes.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import tomli_w

from ..errors import ConfigurationError
from ..routing.names import ALONE, HUB_HEADER, Names

#: The first version that can leave `X-Forwarded-For` as it is (``forwardedHeaders.notAppendXForwardedFor``).
TIERS_SINCE: Final = (3, 7, 0)
#: The first version in which routers may have parents.
PARENTS_SINCE: Final = (3, 6)
#: In these versions encoded characters such as %2F are refused unless allowed by name (Traefik's migration notes).
_REFUSING_ENCODED: Final = ((3, 6, 4), (3, 6, 7))
#: The first version that changes paths unless it is told not to (``sanitizePath``); an older one refuses to start.
_RAW_PATHS_SINCE: Final = (3, 3, 6)
_ENCODED: Final = ("Slash", "BackSlash", "NullCharacter", "Semicolon", "Percent", "QuestionMark", "Hash")

#: Options of a provider that make it read files or places besides the one that it is set up for.
_READ_MORE: Final = {"directory", "namespaces"}

#: Requests by service only, with as few buckets for their duration as can be; shown at a router of kvproxy's own.
_COUNTS: Final = {"addEntryPointsLabels": False, "addServicesLabels": True, "buckets": [1.0], "manualRouting": True}

_HEADER = """\
# Written by kvproxy for the Traefik that JupyterHub starts. It is rewritten at each start: change
# c.TraefikProxy.extra_static_config in jupyterhub_config.py instead of this file.
# It may hold the store's password, so only the hub's user may read it.

"""


@dataclass(frozen=True)
class StaticSettings:
    """Settings of the static configuration.

    Args:
        public_url: where users reach the hub, ``http[s]://[host]:port/…``.
        api_url: where Traefik's API is to listen.
        entry_point: name of the public entry point.
        api_entry_point: name of the entry point of the API.
        provider: the section of the provider, such as ``{"redis": {…}}``.
        throttle: Traefik's ``providersThrottleDuration``, such as ``0s``.
        log_level: Traefik's log level, empty for Traefik's default.
        version: Traefik's version, such as ``(3, 7, 15)``.
        counts: whether Traefik counts the requests of each service.
        trusted: networks of proxies whose ``X-Forwarded-…`` headers are believed, such as ``10.0.0.0/8``.
        read_timeout: seconds that a client may take to send a request, its body included; 0 for any time.
        hot: True for the second Traefik of two tiers, which passes on all headers as the first one sends them.
        extra: merged over all else.
    """

    public_url: str
    api_url: str
    entry_point: str
    api_entry_point: str
    provider: Mapping[str, Any] = field(repr=False)
    throttle: str = "0s"
    log_level: str = ""
    version: tuple[int, ...] = (3,)
    counts: bool = False
    trusted: tuple[str, ...] = ()
    read_timeout: float = 0
    hot: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with all of ``base``, replaced or added to by ``over``, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = deep_merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def check_url(url: str, setting: str) -> SplitResult:
    """Split an ``http[s]://`` URL.

    Raises:
        ConfigurationError: if it is of another kind, with a sentence that names the setting.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        hint = " Traefik cannot listen on a unix socket." if parts.scheme.endswith("unix") else ""
        raise ConfigurationError(f"{setting} must look like http[s]://host:port/, not {url!r}.{hint}")
    try:
        parts.port  # noqa: B018 - reading it is the check
    except ValueError:
        raise ConfigurationError(f"{setting} = {url!r} has no proper port.") from None
    return parts


def check_network(text: str) -> str:
    """A network or an address as Traefik takes it for a trusted proxy.

    Raises:
        ConfigurationError: if it is none, with a sentence that names the setting.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigurationError(
            f"c.TraefikProxy.trusted_proxies has {text!r}, which is not a network; give addresses such as "
            "'10.0.0.0/8', '192.168.1.5' or 'fd00::/8', not names."
        ) from None
    return str(network)


def address(url: str, setting: str) -> tuple[str, int]:
    """Host (may be empty: all interfaces) and port that a URL names; 80 and 443 are the default ports."""
    parts = check_url(url, setting)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def with_host(url: str, host: str) -> str:
    """A URL that leads to another host, by the same port and path.

    >>> with_host("http://localhost:8099/base", "127.0.0.1")
    'http://127.0.0.1:8099/base'
    """
    parts = urlsplit(url)
    return parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()


def listen_address(url: str, setting: str) -> str:
    """Convert a URL to an address to listen on: ``127.0.0.1:8000``, ``[::1]:8000`` or ``:8000``."""
    host, port = address(url, setting)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def static_configuration(settings: StaticSettings) -> dict[str, Any]:
    """Traefik's static configuration.

    Routes need not name an entry point, as the public one is the only default one. A request arrives as it was sent:
    empty path segments stay, and a semicolon in a query stays a part of its value (as ``%3B``), where Traefik would
    merge the former and take the latter for ``&``.
    """
    transport = {"respondingTimeouts": {"readTimeout": seconds(settings.read_timeout)}}
    http: dict[str, Any] = {"encodeQuerySemicolons": True}
    if settings.version >= _RAW_PATHS_SINCE or settings.version == (3,):
        http["sanitizePath"] = False
    if _REFUSING_ENCODED[0] <= settings.version < _REFUSING_ENCODED[1]:
        http["encodedCharacters"] = {f"allowEncoded{name}": True for name in _ENCODED}
    if urlsplit(settings.public_url).scheme == "https":
        http["tls"] = {"options": "default"}
    public: dict[str, Any] = {
        "address": listen_address(settings.public_url, "JupyterHub.bind_url"),
        "asDefault": True,
        "http": http,
        "transport": {**transport, "lifeCycle": {"graceTimeOut": "2s"}},
    }
    if settings.trusted:
        public["forwardedHeaders"] = {"trustedIPs": list(settings.trusted)}
        if settings.hot:
            public["forwardedHeaders"]["notAppendXForwardedFor"] = True
    log = {"format": "json"} | ({"level": settings.log_level.upper()} if settings.log_level else {})
    base = urlsplit(settings.api_url).path.rstrip("/")
    api = {
        "address": listen_address(settings.api_url, "traefik_api_url"),
        "transport": {"lifeCycle": {"graceTimeOut": "1s"}},
    }
    configuration = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "api": {"basePath": base} if base else {},
        "log": log,
        # A router of kvproxy's leads to it (CHP's path for health checks).
        "ping": {"manualRouting": True},
        "entryPoints": {settings.entry_point: public, settings.api_entry_point: api},
        "providers": {"providersThrottleDuration": settings.throttle, **settings.provider},
    }
    if settings.counts:
        configuration["metrics"] = {"prometheus": _COUNTS}
    return deep_merge(configuration, settings.extra)


def seconds(number: float) -> str:
    """A duration as Traefik takes it.

    >>> seconds(3600), seconds(0.5)
    ('3600s', '0.5s')
    """
    return f"{number:g}s" if number < 1_000_000 else f"{number:.0f}s"


def counts_by_itself(extra: Mapping[str, Any]) -> bool:
    """True if static configuration of the administrator's has metrics for Prometheus, which are left as they are."""
    metrics = extra.get("metrics")
    return isinstance(metrics, Mapping) and "prometheus" in metrics


def given_provider(extra: Mapping[str, Any], name: str) -> Any:
    """The section of a provider in static configuration of the administrator's; None if there is none."""
    providers = extra.get("providers")
    return providers.get(name) if isinstance(providers, Mapping) else None


def further_providers(extra: Mapping[str, Any], own: str) -> list[str]:
    """Names of the providers that static configuration of the administrator's adds to the hub's own one.

    Options of the hub's own one do not count, unless they make it read more than the hub's store.

    >>> further_providers({"providers": {"redis": {"endpoints": ["h:1"]}, "docker": {}}}, "redis")
    ['docker']
    """
    providers = _lowered(_lowered(extra).get("providers"))
    known = {"providersthrottleduration", own.lower()}
    return sorted(name for name in providers if name not in known or _READ_MORE & _lowered(providers[name]).keys())


def _lowered(section: Any) -> dict[str, Any]:
    """A section by its names in lower case, as Traefik reads them in any; empty if it is none."""
    return {str(name).lower(): value for name, value in section.items()} if isinstance(section, Mapping) else {}


def parse_version(text: str) -> tuple[int, ...]:
    """The version that Traefik says it has, such as ``3.7.15``, as numbers; ``(3,)`` if it is no release.

    >>> parse_version("v3.6.0-rc1"), parse_version("dev")
    ((3, 6, 0), (3,))
    """
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, match.groups())) if match else (3,)


def groups_allowed(kind: str, version: tuple[int, ...]) -> bool:
    """True if routes may be laid out in groups for a Traefik of this version.

    Raises:
        ConfigurationError: if they have to be and cannot.
    """
    if version < PARENTS_SINCE and kind == "tree":
        raise ConfigurationError(
            f"route_layout = 'tree' needs Traefik 3.6 or newer, and this is {'.'.join(map(str, version))}; "
            "install a newer Traefik, or set c.TraefikProxy.route_layout = 'auto'."
        )
    return version >= PARENTS_SINCE


def static_file(configuration: Mapping[str, Any], name: str) -> str:
    """The text of the static configuration file, in the format that its name's ending tells Traefik.

    Raises:
        ConfigurationError: if Traefik would not know the ending.
    """
    if name.endswith(".toml"):
        return _HEADER + tomli_w.dumps(configuration)
    if name.endswith((".yaml", ".yml")):
        return _HEADER + json.dumps(configuration, indent=2) + "\n"
    raise ConfigurationError(f"static_config_file = {name!r} must end in .toml, .yaml or .yml.")


def setup_configuration(
    *,
    api_url: str,
    api_entry_point: str,
    api_users: list[str],
    certificate: tuple[str, str] | None,
    extra: Mapping[str, Any],
    names: Names = ALONE,
    metrics: bool = False,
) -> dict[str, Any]:
    """The dynamic configuration that is not about routes.

    Args:
        api_url: where Traefik's API answers; a path in it is Traefik's ``api.basePath``.
        api_entry_point: name of the entry point of the API.
        api_users: ``name:hash`` of those who may use the API; empty for no authentication.
        certificate: the default certificate and its key, as paths or PEM text. Without one, Traefik makes a new
            RSA key at each reload (``pkg/tls/generate``, 3.7), which costs more than everything else of a small reload.
        extra: merged over all else.
        names: how the hub calls what it has there. Several hubs on one Traefik have a router each, told by a header.
        metrics: whether Traefik has metrics, which are shown where the API is.
    """
    base, name = urlsplit(api_url).path.rstrip("/"), names.api
    ours = f' && Header("{HUB_HEADER}", "{names.hub}")' if names.hub else ""
    router: dict[str, Any] = {
        "rule": f'PathPrefix("{base}/api"){ours}',
        "entryPoints": [api_entry_point],
        "service": "api@internal",
    }
    http: dict[str, Any] = {"routers": {name: router}}
    if urlsplit(api_url).scheme == "https":
        router["tls"] = {}
    if api_users:
        router["middlewares"] = [name]
        http["middlewares"] = {name: {"basicAuth": {"users": api_users}}}
    if metrics:
        shown = {"rule": f'Path("{base}/metrics"){ours}', "service": "prometheus@internal"}
        http["routers"][names.metrics] = router | shown
    configuration: dict[str, Any] = {"http": http}
    if certificate is not None:
        pair = {"certFile": certificate[0], "keyFile": certificate[1]}
        configuration["tls"] = {"stores": {"default": {"defaultCertificate": pair}}}
    return deep_merge(configuration, extra)
