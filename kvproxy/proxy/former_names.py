"""Traits for the settings of jupyterhub-traefik-proxy that have other names here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from jupyterhub.proxy import Proxy
from traitlets import Any as AnyTrait
from traitlets import Unicode
from traitlets.config import Config, Configurable

from ..errors import ConfigurationError
from ..plugins import proxy_classes
from .setting_names import AcceptedSettings, Remark, Weight, is_set, remarks, with_former


def former_name(of: str) -> Any:
    """Return a trait with the former name of another trait of its class, to which it passes its value."""
    return AnyTrait(config=True, help=f"Deprecated: the former name of `{of}`.").tag(former_name_of=of)


class FormerNames(Proxy):
    """A proxy that accepts settings under their former names too, and reports settings without effect."""

    #: Former name of the section of this class.
    former_section: ClassVar[str] = ""
    #: The ``proxy_class`` to use instead, if the class exists for its former name only.
    successor: ClassVar[str] = ""

    kv_separator = Unicode(
        "/",
        config=True,
        help="""Deprecated: the separator between the parts of a key in the store. Traefik accepts only `/`.""",
    )

    def __init__(self, **kwargs: Any) -> None:
        for name in self._former_settings():
            self.observe(self._take_over, name)
        super().__init__(**kwargs)

    @classmethod
    def section_names(cls) -> list[str]:
        """Return the names of the sections that are read, each after its former name."""
        return with_former(super().section_names(), cls._former_sections())

    @property
    def accepted_settings(self) -> AcceptedSettings:
        """The sections and settings that this proxy accepts."""
        return AcceptedSettings(
            type(self).__name__,
            self.section_names(),
            self.class_trait_names(config=True),
            self._former_sections(),
            self._former_settings(),
            {} if self.kv_separator == "/" else {"kv_separator": "Traefik takes only '/' between the parts of a key."},
            self.successor,
        )

    def setting_remarks(self) -> list[Remark]:
        """Return all remarks about the names of sections and settings in the hub's configuration."""
        proxies = {*proxy_classes(), *_below(Proxy)}
        return remarks(_names(self.config), self.accepted_settings, proxies, _below(Configurable) - proxies)

    def tell_oddities(self) -> None:
        """Log the remarks about the configuration.

        Raises:
            ConfigurationError: if a setting cannot be honoured.
        """
        found = self.setting_remarks()
        for remark in found:
            if remark.weight is not Weight.ERROR:
                (self.log.warning if remark.weight is Weight.WARNING else self.log.info)("%s", remark)
        for remark in found:
            if remark.weight is Weight.ERROR:
                raise ConfigurationError(str(remark))

    def _take_over(self, change: Any) -> None:
        new = self._former_settings()[change.name]
        if not is_set(new, _names(self.config), self.section_names()):
            setattr(self, new, change.new)

    @classmethod
    def _former_sections(cls) -> dict[str, str]:
        return {old: base.__name__ for base in cls.__mro__ if (old := vars(base).get("former_section"))}

    @classmethod
    def _former_settings(cls) -> dict[str, str]:
        traits = cls.class_traits(former_name_of=lambda new: new is not None)
        return {name: trait.metadata["former_name_of"] for name, trait in traits.items()}


def _names(config: Mapping[str, Any]) -> dict[str, list[str]]:
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
