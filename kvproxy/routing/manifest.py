"""The record of what the hub has set up besides routes, and whose Traefik's default certificate is.

The record names the keys of the setup, so that a later start removes what is no longer configured. Of Traefik's default
certificate it has the values too, as digests: there is one place for it in a store, and a value that the hub has not
written there is a certificate of another program's, which stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

#: Below it Traefik has its default TLS store, the only one of that name for all of its providers.
_STORE: Final = "tls/stores/default/"
#: A certificate and its key, of use only together.
DEFAULT_CERTIFICATE: Final = f"{_STORE}defaultCertificate/certFile"
_PAIR: Final = {DEFAULT_CERTIFICATE, f"{_STORE}defaultCertificate/keyFile"}


def write_manifest(keys: Mapping[str, str]) -> str:
    """The record's text for a setup of these keys and values.

    >>> write_manifest({"http/b": "1", "http/a": "2"})
    '["http/a","http/b"]'
    """
    digests = {key: _digest(value) for key, value in sorted(keys.items()) if of_default_store(key)}
    return json.dumps([*sorted(keys), *([digests] if digests else [])], separators=(",", ":"))


def setup_keys(text: str) -> list[str]:
    """The keys that a record names; none if it cannot be read."""
    return [key for key in _parse(text) if isinstance(key, str)]


def of_default_store(key: str) -> bool:
    """True for a key of Traefik's default TLS store. Traefik's reader ignores the case of names."""
    return key.lower().startswith(_STORE)


def foreign_default(config: Mapping[str, str], manifest: str, wanted: Mapping[str, str]) -> frozenset[str]:
    """Keys of Traefik's default TLS store that another program has written.

    A key is the hub's if it has the value that the record or the present setup says. A certificate and its key belong
    together: where one of the two is foreign, both are, so that a pair is never torn while it is being written.

    Args:
        config: all keys below the root of the configuration.
        manifest: the record of the setup in the same store, empty if there is none.
        wanted: the keys of the present setup.
    """
    present = {key: value for key, value in config.items() if of_default_store(key)}
    if not present:
        return frozenset()
    named, digests = set(setup_keys(manifest)), _digests(manifest)
    ours = {
        key
        for key, value in present.items()
        if wanted.get(key) == value or (key in named and digests.get(key, _digest(value)) == _digest(value))
    }
    foreign = present.keys() - ours
    return frozenset(foreign | (_PAIR & present.keys() if foreign & _PAIR else set()))


def _parse(text: str) -> list[object]:
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _digests(text: str) -> dict[str, object]:
    """The digests in a record; a record of an earlier version has none, and all its keys count as the hub's."""
    return {key: value for part in _parse(text) if isinstance(part, dict) for key, value in part.items()}


def _digest(value: str) -> str:
    # A file's text can hold half of a surrogate pair, which UTF-8 has no bytes for.
    return hashlib.blake2b(value.encode(errors="surrogatepass"), digest_size=8).hexdigest()
