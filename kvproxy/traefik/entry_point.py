"""Changes that Traefik's entry points make to requests, and the line of configuration or the version that mends each.

The values are those that Traefik's API shows (``GET /api/entrypoints``, seen in 3.0.4, 3.3.5, 3.3.6, 3.6.5, 3.7.0 and
3.7.15), which are the fields of the static configuration: a field of value zero or false is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .static_config import TIERS_SINCE

#: Since this version Traefik merges slashes and resolves dots in paths unless told otherwise.
_SANITIZES_SINCE: Final = (3, 3, 6)
#: An older version decodes the reserved characters in a path, too, so that no rule of kvproxy's matches them.
_KEEPS_RESERVED_SINCE: Final = (3, 4, 1)
#: Seconds that a request may at least take to arrive, so that a large file comes through a slow line.
_UPLOAD: Final = 3600.0
#: Characters that names of JupyterHub's users, and of their files, may bring into a path.
_CHARACTERS: Final = {
    "allowEncodedSlash": "%2F",
    "allowEncodedBackSlash": "%5C",
    "allowEncodedSemicolon": "%3B",
    "allowEncodedPercent": "%25",
    "allowEncodedQuestionMark": "%3F",
    "allowEncodedHash": "%23",
}
#: Units of Go's durations, in seconds.
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def entry_point_advice(version: tuple[int, ...], shown: Mapping[str, Any], *, public_https: bool) -> list[str]:
    """Sentences about what a public entry point would do to users' requests, each with the line that changes it.

    Args:
        version: Traefik's.
        shown: what its API says of the entry point.
        public_https: whether users reach the hub by https.
    """
    name = f"entryPoints.{shown.get('name', '<name>')}"
    found = [*_characters(name, shown), *_read_timeout(name, shown), *_slashes(name, version, shown)]
    if not _section(shown, "http").get("encodeQuerySemicolons"):
        found.append(
            "Traefik replaces a ';' in a query by '&', which changes the meaning of some; set "
            f"{name}.http.encodeQuerySemicolons = true in its static configuration."
        )
    return [*found, *trust_advice(shown, f"{name}.forwardedHeaders.trustedIPs", public_https=public_https)]


def reserved_advice(version: tuple[int, ...]) -> list[str]:
    """A sentence if a Traefik of this version does not route names with a reserved character.

    >>> reserved_advice((3, 4, 1))
    []
    """
    if version >= _KEEPS_RESERVED_SINCE:
        return []
    return [
        f"Traefik {'.'.join(map(str, version))} decodes %23, %25, %2F and %3F in paths, so requests to users and "
        "servers with '#', '%', '/' or '?' in their names do not reach them; update Traefik to 3.4.1 or newer."
    ]


def tiers_advice(version: tuple[int, ...]) -> list[str]:
    """A sentence if two tiers of routes are not used with a Traefik of this version.

    >>> tiers_advice(TIERS_SINCE)
    []
    """
    if version >= TIERS_SINCE:
        return []
    return [
        f"Traefik {'.'.join(map(str, version))} is too old for c.TraefikProxy.route_tiers = 'two', so all routes are "
        "added to the base tier; use Traefik 3.7 or newer, or set route_tiers to 'one'."
    ]


def hot_advice(shown: Mapping[str, Any]) -> list[str]:
    """A sentence if a second Traefik would not pass on the headers of the first one as they are.

    >>> hot_advice({"forwardedHeaders": {"trustedIPs": ["127.0.0.1"], "notAppendXForwardedFor": True}})
    []
    """
    headers = _section(shown, "forwardedHeaders")
    trusts = headers.get("insecure") or headers.get("trustedIPs")
    if trusts and headers.get("notAppendXForwardedFor"):
        return []
    return [
        "The second Traefik changes the X-Forwarded-… headers of the first one; set forwardedHeaders.trustedIPs = "
        f'["127.0.0.1", "::1"] and notAppendXForwardedFor = true below entryPoints.{shown.get("name", "<name>")} of '
        "its static configuration, as `kvproxy static-config --hot` writes them."
    ]


def trust_advice(shown: Mapping[str, Any], setting: str, *, public_https: bool) -> list[str]:
    """A sentence if TLS ends in front of Traefik, and Traefik does not believe the proxy that says so.

    Args:
        shown: the entry point, as the API shows it or as the static configuration has it.
        setting: the setting that lists the proxies to be believed.
        public_https: whether users reach the hub by https.
    """
    headers = _section(shown, "forwardedHeaders")
    if not public_https or has_tls(shown) or headers.get("insecure") or headers.get("trustedIPs"):
        return []
    return [
        "Users come by https (c.JupyterHub.public_url) and Traefik's entry point has no TLS, so something in front "
        "ends TLS. Traefik discards its X-Forwarded-Proto header, and the hub takes requests for plain http; list its "
        f"addresses in {setting}."
    ]


def plain_https_advice(bind_url: str, shown: Mapping[str, Any]) -> list[str]:
    """A sentence if the hub was given an https URL, and plain HTTP is spoken there.

    JupyterHub takes the URL for http if there is no ``ssl_cert`` (``JupyterHub._validate_bind_url``, 5.0 to 6.1).

    Args:
        bind_url: ``JupyterHub.bind_url`` as it was configured.
        shown: the public entry point, as the API shows it or as the static configuration has it.
    """
    if not bind_url.startswith("https:") or has_tls(shown):
        return []
    return [
        f"c.JupyterHub.bind_url = {bind_url!r} does not make Traefik speak https: without c.JupyterHub.ssl_key and "
        "ssl_cert, JupyterHub takes it for http, and Traefik speaks plain HTTP there. Set both, or write http:// and "
        "say in c.JupyterHub.public_url how users come."
    ]


def has_tls(shown: Mapping[str, Any]) -> bool:
    """True if all routers of an entry point have TLS."""
    return _section(shown, "http").get("tls") is not None


def _characters(name: str, shown: Mapping[str, Any]) -> list[str]:
    allowed = _section(shown, "http").get("encodedCharacters")
    if not isinstance(allowed, Mapping):
        return []
    refused = [field for field in _CHARACTERS if not allowed.get(field)]
    if not refused:
        return []
    refusal, lines = ", ".join(_CHARACTERS[field] for field in refused), ", ".join(f"{f} = true" for f in refused)
    return [
        f"Traefik answers 400 to paths with {refusal}, which names of files and servers may have (3.6.4 to 3.6.6 do by "
        f"default). Change that in {name}.http.encodedCharacters of its static configuration: {lines}. Or update it."
    ]


def _read_timeout(name: str, shown: Mapping[str, Any]) -> list[str]:
    timeouts = _section(shown, "transport").get("respondingTimeouts")
    if not isinstance(timeouts, Mapping):
        return []
    limit = seconds(timeouts.get("readTimeout", "0s"))
    if limit is None or not 0 < limit < _UPLOAD:
        return []
    return [
        f"Traefik cuts a request off that takes longer than {limit:g} s to arrive, such as a large upload (60 s is "
        f'its default since 3.0); set {name}.transport.respondingTimeouts.readTimeout = "1h" in its static '
        "configuration."
    ]


def _slashes(name: str, version: tuple[int, ...], shown: Mapping[str, Any]) -> list[str]:
    if version < _SANITIZES_SINCE or _section(shown, "http").get("sanitizePath") is False:
        return []
    return [
        "Traefik merges '//' in paths, which breaks applications that carry a URL in one (since 3.3.6); set "
        f"{name}.http.sanitizePath = false in its static configuration."
    ]


def seconds(text: object) -> float | None:
    """A duration as Go writes it, in seconds; None if it is none.

    >>> seconds("1h0m0s"), seconds("1m0.5s"), seconds("soon")
    (3600.0, 60.5, None)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)", text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _section(shown: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = shown.get(name)
    return section if isinstance(section, Mapping) else {}
