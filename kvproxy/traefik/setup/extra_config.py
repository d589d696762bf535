"""``c.TraefikProxy.extra_dynamic_config``: refused, or in a form that means the same in a store as in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...errors import ConfigurationError
from ..schema import DYNAMIC, Entries, Fields, Kind
from ..validation import Checker, NotInStores, Reader, SchemaError

_SETTING: Final = "c.TraefikProxy.extra_dynamic_config"
_ELSEWHERE: Final = (
    "; leave it out, or put what needs it into a file for Traefik's file provider (providers.file.filename in "
    "c.TraefikProxy.extra_static_config) and refer to it as 'name@file'"
)


def checked_dynamic_config(extra: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    """A copy of the setting with fields as Traefik spells them and single statuses as ranges.

    None and empty lists are kept: they unset a value of kvproxy's set-up that the copy is merged over. Then
    :func:`without_unset` removes them.

    Args:
        extra: the setting.
        reader: Traefik's provider that will read it.

    Raises:
        ConfigurationError: if Traefik could not read it, or would read something else; with the place and what to do.
    """
    if not extra:
        return {}
    try:
        found: dict[str, Any] = Checker(reader, unsets=True).check(extra, DYNAMIC, "")
    except SchemaError as why:
        advice = _ELSEWHERE if isinstance(why, NotInStores) else ""
        raise ConfigurationError(f"{_SETTING} has {why}{advice}. Nothing was written.") from None
    return found


def without_unset(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A dynamic configuration without None and empty lists, which say nothing, and without mappings of nothing else.

    An option that needs no fields stays: ``{"tls": {"options": None}}`` of a router becomes ``{"tls": {}}``.
    """
    found: dict[str, Any] = _without_unset(configuration, DYNAMIC) or {}
    return found


def _without_unset(value: Any, kind: Kind) -> Any:
    if not isinstance(value, Mapping) or not value:
        return None if value == [] else value
    kept = {name: _without_unset(item, _kind_below(kind, name)) for name, item in value.items()}
    found = {name: item for name, item in kept.items() if item is not None}
    may_be_empty = kind == "any" or (isinstance(kind, Fields) and (kind.may_be_empty or kind.empty_in_files))
    return found if found or may_be_empty else None


def _kind_below(kind: Kind, name: str) -> Kind:
    if isinstance(kind, Fields):
        return kind.known.get(name, "text")
    return kind.kind if isinstance(kind, Entries) else "text"
