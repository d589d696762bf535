"""``c.TraefikProxy.extra_dynamic_config``: refused, or in a form that means the same in a store as in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .checking import Checker, NotInStores, Reader, Unusable
from .errors import ConfigurationError
from .vocabulary import DYNAMIC

_SETTING: Final = "c.TraefikProxy.extra_dynamic_config"
_ELSEWHERE: Final = (
    "; leave it out, or put what needs it into a file for Traefik's file provider (providers.file.filename in "
    "c.TraefikProxy.extra_static_config) and refer to it as 'name@file'"
)


def checked_dynamic_config(extra: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    """A copy of the setting with fields as Traefik spells them and single statuses as ranges.

    None and empty lists are kept: they unset a value of kvproxy's set-up that the copy is merged over.

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
    except Unusable as why:
        advice = _ELSEWHERE if isinstance(why, NotInStores) else ""
        raise ConfigurationError(f"{_SETTING} has {why}{advice}. Nothing was written.") from None
    return found
