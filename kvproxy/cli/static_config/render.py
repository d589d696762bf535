"""The static configuration of an external Traefik, as a value and as the text of a file."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import tomli_w
import yaml

from ...errors import ConfigurationError
from ...traefik.static_config import StaticSettings, deep_merge, static_configuration, with_host

#: Names of settings with secret values.
_SECRET: Final = re.compile(r"password|token|secret", re.IGNORECASE)
#: The replacement of a secret in a masked configuration.
MASK: Final = "(hidden)"
FORMATS: Final = ("toml", "yaml")


@dataclass(frozen=True)
class Place:
    """The parts of the static configuration that depend on where Traefik runs, not on the hub's settings.

    Args:
        life_cycle: the public entry point's ``lifeCycle``: for how long it accepts new connections after the signal to
            stop, and for how long open connections may then continue (``pkg/server/server_entrypoint_tcp.go``, 3.7).
        api_host: the name of the address at which the API listens; empty for that of the settings.
    """

    life_cycle: Mapping[str, str] = field(default_factory=dict)
    api_host: str = ""


#: By name, as in ``examples/``. Under systemd no other Traefik serves during a restart, so the old one stops quickly
#: for the new one to listen. Kubernetes removes a pod from its Services before it signals Traefik (``preStop``).
PLACES: Final = {
    "compose": Place({"requestAcceptGraceTimeout": "5s", "graceTimeOut": "60s"}, api_host="api-here"),
    "kubernetes": Place({"graceTimeOut": "60s"}),
    "systemd": Place({"graceTimeOut": "2s"}),
}


def parse_traefik_version(text: str) -> tuple[int, ...]:
    """Parse a version such as ``3.6.5``, ``v3.7`` or ``3``.

    Raises:
        ConfigurationError: if it is invalid, or kvproxy does not support it.

    >>> parse_traefik_version("v3.6")
    (3, 6)
    """
    if not (match := re.fullmatch(r"v?(\d+(?:\.\d+){0,2})(?:-[\w.]+)?", text)):
        raise ConfigurationError(f"{text!r} is not a version of Traefik; it should look like 3.7.1.")
    version = tuple(map(int, match[1].split(".")))
    if version < (3,):
        raise ConfigurationError(f"kvproxy needs Traefik 3, and {text} is older.")
    return version


def external_configuration(settings: StaticSettings, place: Place = Place()) -> dict[str, Any]:
    """Return the static configuration of an external Traefik.

    It listens on all addresses if the hub's settings have a host name, which is its name for others. It logs in
    Traefik's default format, as only people read its log.

    Args:
        settings: the values from the hub's settings.
        place: the environment of Traefik; by default Traefik's own times to stop apply.
    """
    public_url, api_url = _listening(settings.public_url), _listening(settings.api_url)
    if place.api_host:
        api_url = with_host(api_url, place.api_host)
    configuration = static_configuration(replace(settings, public_url=public_url, api_url=api_url, extra={}))
    del configuration["log"]["format"]
    for entry_point in configuration["entryPoints"].values():
        del entry_point["transport"]["lifeCycle"]
    configuration["entryPoints"][settings.entry_point]["transport"]["lifeCycle"] = dict(place.life_cycle)
    return _tidy(deep_merge(configuration, settings.extra))


def _tidy(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without empty sections, except ``api``, which an empty section switches on."""
    found = {}
    for name, value in configuration.items():
        tidied = _tidy(value) if isinstance(value, Mapping) else value
        if tidied != {} or name == "api":
            found[name] = tidied
    return found


def _listening(url: str) -> str:
    """Return a URL without its host if that is a name in the network and not an address of this machine.

    >>> _listening("http://traefik:8099/base"), _listening("http://localhost:8099"), _listening("http://[::1]:80/")
    ('http://:8099/base', 'http://localhost:8099', 'http://[::1]:80/')
    """
    parts: SplitResult = urlsplit(url)
    if parts.hostname in {None, "localhost"} or _is_address(str(parts.hostname)):
        return url
    default = 443 if parts.scheme == "https" else 80
    return parts._replace(netloc=f":{parts.port or default}").geturl()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def masked(configuration: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
    """Return a configuration without its secrets: the given ones, and all settings named like one."""
    # A backend may return an empty string for a missing password, which every value contains.
    hidden = tuple(filter(None, secrets))
    return {name: _masked(name, value, hidden) for name, value in configuration.items()}


def _masked(name: str, value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(key, below, secrets) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(name, item, secrets) for item in value]
    if not isinstance(value, str) or not value:
        return value
    return MASK if _SECRET.search(name) or any(secret in value for secret in secrets) else value


def files_in(configuration: Any) -> list[str]:
    """Return the absolute paths in a configuration, sorted, which are files on Traefik's machine."""
    if isinstance(configuration, Mapping):
        return sorted({path for value in configuration.values() for path in files_in(value)})
    if isinstance(configuration, (list, tuple)):
        return sorted({path for value in configuration for path in files_in(value)})
    return [configuration] if isinstance(configuration, str) and configuration.startswith("/") else []


def text_of(configuration: Mapping[str, Any], form: str, comments: Sequence[str]) -> str:
    """Return the text of the file.

    Args:
        configuration: the static configuration.
        form: one of :data:`FORMATS`.
        comments: lines for the top of the file.
    """
    head = "".join(f"# {line}".rstrip() + "\n" for line in comments) + "\n"
    if form == "toml":
        return head + tomli_w.dumps(configuration)
    return head + str(yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True))


def comments_on(
    configuration: Mapping[str, Any], environment: Mapping[str, str], runtime: Mapping[str, str], hidden: bool
) -> list[str]:
    """Return instructions for starting Traefik, one per line.

    Args:
        configuration: the contents of the file.
        environment: variables that Traefik needs to read the store, or must not have if they are empty.
        runtime: recommended variables.
        hidden: True if the secrets are left out.
    """
    lines = [
        "Traefik's static configuration, made by `kvproxy static-config` from the hub's settings. Regenerate it",
        "when they change. Start Traefik with: traefik --configfile=THIS_FILE",
    ]
    if hidden:
        lines.append("Secrets are hidden here; `--output FILE` writes them, into a file that only you can read.")
    lines += [f"Set the variable {name}={value} for Traefik." for name, value in sorted(runtime.items())]
    for name, value in sorted(environment.items()):
        if value:
            lines.append(f"Traefik needs the variable {name}{f'={MASK}' if hidden else f'={value}'}.")
    if unwanted := [name for name, value in sorted(environment.items()) if not value]:
        lines.append(f"These variables must not be set for Traefik: {', '.join(unwanted)}.")
    if files := files_in(configuration):
        lines.append(f"These files must be there where Traefik runs: {', '.join(files)}.")
    return lines
