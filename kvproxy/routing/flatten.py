"""Traefik's dynamic configuration, a nested mapping, as flat keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

Keys: TypeAlias = dict[str, str]


def flatten(configuration: Mapping[str, Any]) -> Keys:
    """Traefik's dynamic configuration, a nested mapping, as the flat keys that its key-value providers read.

    Lists become numbered keys, booleans ``true`` and ``false``. An empty mapping becomes the value ``true``, which is
    the form of an option without fields for Traefik's decoder (``tls = true``). None is left out.

    >>> flatten({"http": {"routers": {"r": {"entryPoints": ["a", "b"], "tls": {}}}}})
    {'http/routers/r/entryPoints/0': 'a', 'http/routers/r/entryPoints/1': 'b', 'http/routers/r/tls': 'true'}
    """
    keys: Keys = {}
    _flatten_into(keys, "", configuration.items())
    return keys


def places(count: int) -> list[str]:
    """The numbers of a list's items as parts of keys, all of the same length.

    Traefik sorts them as texts (``filterPairs``, 3.7), where 10 comes before 2, and 02 before 10.

    >>> places(2), places(11)[1::9]
    (['0', '1'], ['01', '10'])
    """
    width = len(str(count - 1))
    return [f"{index:0{width}}" for index in range(count)]


def _flatten_into(keys: Keys, path: str, items: Iterable[tuple[object, Any]]) -> None:
    for name, value in items:
        # Most values are texts, and to ask for an abstract class takes far longer than to ask for any other.
        if isinstance(value, str):
            keys[f"{path}{name}"] = str(value)
        elif isinstance(value, (list, tuple)):
            _flatten_into(keys, f"{path}{name}/", zip(places(len(value)), value, strict=True))
        elif isinstance(value, Mapping) and value:
            _flatten_into(keys, f"{path}{name}/", value.items())
        elif isinstance(value, Mapping):
            keys[f"{path}{name}"] = "true"
        elif value is not None:
            keys[f"{path}{name}"] = str(value).lower() if isinstance(value, bool) else str(value)
