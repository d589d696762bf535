"""The checks of `kvproxy check` on this machine: the configuration, and files with secrets."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ...errors import KVProxyError
from ...plugins import named_proxy_class, rivals
from ...proxy.preparation import Prepared
from ...proxy.setting_names import Weight
from ...store.clear_text import clear_text
from ..hub.config import Hub
from .findings import Finding, ok, refused, warning

#: Errors are reported by the preparation of the start.
_FINDINGS: Final = {Weight.INFO: ok, Weight.WARNING: warning}


def configuration(hub: Hub) -> list[Finding]:
    """Report settings that probably do not have the intended effect."""
    proxy = hub.proxy
    found = [ok("configuration", f"{hub.file} makes the hub use {type(proxy).__module__}.{type(proxy).__name__}.")]
    found += [warning("configuration", ended(said)) for said in hub.warnings]
    found += [
        _FINDINGS[remark.weight]("configuration", remark.said, remark.advice)
        for remark in proxy.setting_remarks()
        if remark.weight in _FINDINGS
    ]
    if "." not in named_proxy_class(proxy.config) and (others := rivals()):
        said = f"Another package provides proxies of the same names: {', '.join(others)}."
        found.append(warning("configuration", said, "Uninstall it, or name the class in full in proxy_class."))
    return found


def cookie_secret(hub: Hub, started: bool) -> Finding:
    """Check that the hub's cookie secret exists.

    Args:
        hub: the hub.
        started: True if the hub has been started before, as far as is known.
    """
    if hub.secret_from:
        return ok("cookie secret", f"It is in {hub.secret_from}.")
    if hub.secret_to_come and not started:
        return ok("cookie secret", f"There is none yet; the hub creates {hub.secret_to_come} at its first start.")
    advice = "" if hub.access is None else "Until then the API is asked with traefik_api_password."
    return warning("cookie secret", hub.secret_problem, advice)


def ended(said: str) -> str:
    """End a sentence of traitlets with one punctuation mark.

    >>> ended("Did you mean `x`?."), ended("It is deprecated")
    ('Did you mean `x`?', 'It is deprecated.')
    """
    said = said.rstrip(".")
    return said if said.endswith("?") else f"{said}."


async def preparation(hub: Hub) -> tuple[list[Finding], Prepared | None]:
    """Take the hub's own first step.

    Returns:
        the error with which the hub would refuse to start, and the warnings of a start; the Traefik that it would
        start, None if there is an error or it starts none.
    """
    try:
        prepared = await hub.proxy.prepare()
    except KVProxyError as problem:
        return [refused(problem)], None
    return [warning("permissions", said) for said in prepared.warnings] if prepared is not None else [], prepared


def network(hub: Hub) -> list[Finding]:
    """Check that others in the network cannot read the hub's requests to Traefik's API."""
    proxy = hub.proxy
    parts = [urlsplit(url) for url in proxy.traefik_api_urls]
    found = []
    for tls in (False, True):
        found += clear_text(
            "Traefik's API",
            [part.hostname or "" for part in parts if (part.scheme == "https") == tls],
            tls=tls,
            verify=proxy.traefik_api_validate_cert,
            what="the API's password",
            mend=f"Give its entry point TLS and begin {'hot_' if proxy.hot else ''}traefik_api_url with https://."
            if not tls
            else "Name its authority with traefik_api_ca, and leave traefik_api_validate_cert at True.",
        )
    return [warning("network", said) for said in found]


def permissions(hub: Hub) -> list[Finding]:
    """Check that files with secrets are not readable by others."""
    found = [
        warning("permissions", f"{path} {why} and can be read by {readers}.", f"Run: chmod {wanted} {path}")
        for path, why, mask, wanted in _secret_files(hub)
        if (readers := _readers(path, mask))
    ]
    return found or [ok("permissions", "No file with secrets can be read by others.")]


def _secret_files(hub: Hub) -> Iterator[tuple[Path, str, int, str]]:
    """Return each path with its secret, the permission bits that it should not have, and the right ones."""
    proxy = hub.proxy
    if any(_holds(hub.file, secret) for secret in [*proxy.store_secrets(), proxy.traefik_api_password]):
        yield hub.file, "holds a password", 0o004, "o-r"
    yield Path(proxy.static_config_file), "may hold the store's password", 0o077, "600"
    if proxy.ssl_key:
        yield Path(proxy.ssl_key), "is the key of the hub's certificate", 0o004, "o-r"


def _holds(path: Path, secret: str) -> bool:
    try:
        return bool(secret) and secret in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _readers(path: Path, mask: int) -> str:
    """Return the users within the mask that can read a file; empty if there are none."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode) & mask
    except OSError:
        return ""
    if mode & 0o007:
        return "all users of this machine"
    return "its group" if mode else ""


def files_of_certificate(hub: Hub) -> tuple[bytes, bytes] | None:
    """Return certificate and key; None if they are not readable, which the preparation of the start reports."""
    proxy = hub.proxy
    if not (proxy.ssl_cert and proxy.ssl_key):
        return None
    try:
        return Path(proxy.ssl_cert).read_bytes(), Path(proxy.ssl_key).read_bytes()
    except OSError:
        return None
