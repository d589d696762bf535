"""Traefik's dynamic configuration, a nested mapping, as flat keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Keys: TypeAlias = dict[str, str]


def flatten(configuration: Mapping[str, Any]) -> Keys:
    """Traefik's dynamic configuration, a nested mapping, as the flat keys that its key-value providers read.

    Lists become numbered keys, booleans ``true`` and ``false``. An empty mapping becomes the value ``true``, which is
    how Traefik's decoder is told of an option without fields (``tls = true``). None is left out.

    >>> flatten({"http": {"routers": {"r": {"entryPoints": ["a", "b"], "tls": {}}}}})
    {'http/routers/r/entryPoints/0': 'a', 'http/routers/r/entryPoints/1': 'b', 'http/routers/r/tls': 'true'}
    """
    keys: Keys = {}
    for name, value in configuration.items():
        _flatten_into(keys, str(name), value)
    return keys


def _flatten_into(keys: Keys, path: str, value: Any) -> None:
    if isinstance(value, Mapping) and value:
        for name, child in value.items():
            _flatten_into(keys, f"{path}/{name}", child)
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            _flatten_into(keys, f"{path}/{index}", child)
    elif isinstance(value, Mapping):
        keys[path] = "true"
    elif value is not None:
        keys[path] = str(value).lower() if isinstance(value, bool) else str(value)
