"""Settings and sections of jupyterhub-traefik-proxy that have other names here, and remarks about those in use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jupyterhub.proxy import Proxy
from traitlets import Any as AnyTrait
from traitlets.config import Config, Configurable

from .._types import Log
from ..errors import ConfigurationError
from ..plugins import proxy_classes
from .setting_names import AcceptedSettings, Remark, Weight, remarks


def former_name(of: str) -> Any:
    """Return a trait with the former name of another trait of its class, to which it passes its value."""
    return AnyTrait(config=True, help=f"Deprecated: the former name of `{of}`.").tag(former_name_of=of)


def former_sections(cls: type[Configurable]) -> dict[str, str]:
    """Return the former names of a proxy class's sections with the present ones."""
    return {old: base.__name__ for base in cls.__mro__ if (old := vars(base).get("former_section"))}


def former_settings(cls: type[Configurable]) -> dict[str, str]:
    """Return the former names of a proxy class's settings with the present ones."""
    traits = cls.class_traits(former_name_of=lambda new: new is not None)
    return {name: trait.metadata["former_name_of"] for name, trait in traits.items()}


def accepted_settings(cls: type[Configurable], successor: str, separator: str) -> AcceptedSettings:
    """Return the sections and settings that a proxy accepts.

    Args:
        cls: its class.
        successor: the ``proxy_class`` to use instead of this one, if any.
        separator: the value of ``kv_separator``.
    """
    return AcceptedSettings(
        cls.__name__,
        cls.section_names(),
        cls.class_trait_names(config=True),
        former_sections(cls),
        former_settings(cls),
        {} if separator == "/" else {"kv_separator": "Traefik takes only '/' between the parts of a key."},
        successor,
    )


def remarks_about(config: Mapping[str, Any], accepted: AcceptedSettings) -> list[Remark]:
    """Return all remarks about the names of sections and settings in the hub's configuration."""
    proxies = {*proxy_classes(), *_below(Proxy)}
    return remarks(names_in(config), accepted, proxies, _below(Configurable) - proxies)


def tell_remarks(found: Iterable[Remark], log: Log) -> None:
    """Log remarks about the configuration.

    Raises:
        ConfigurationError: if a setting cannot be honoured.
    """
    refused = []
    for remark in found:
        if remark.weight is Weight.ERROR:
            refused.append(remark)
        else:
            (log.warning if remark.weight is Weight.WARNING else log.info)("%s", remark)
    if refused:
        raise ConfigurationError(str(refused[0]))


def names_in(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the sections of a configuration with the names of their settings."""
    return {name: list(section) if isinstance(section, Config) else [] for name, section in config.items()}


def _below(cls: type[Configurable]) -> set[str]:
    """Return the names of the loaded classes that derive from this one."""
    found: set[str] = set()
    waiting = [cls]
    while waiting:
        children = waiting.pop().__subclasses__()
        found |= {child.__name__ for child in children}
        waiting += children
    return found
