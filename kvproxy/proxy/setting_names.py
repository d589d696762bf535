"""Remarks about the hub's configuration: sections and settings with former names, and those without effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import Final

#: Names of sections that are meant for a proxy.
_FOR_A_PROXY: Final = re.compile(r"(?i)^(?:traefik|kv|tkv|configurablehttp)|proxy$")
#: The section for the settings that every proxy has.
_FOR_ALL: Final = "TraefikProxy"
_HUBS_OWN: Final = "ConfigurableHTTPProxy"


class Weight(str, Enum):
    """The severity of a remark."""

    #: Nothing is wrong.
    INFO = "info"
    #: The hub works, but a line should be changed.
    WARNING = "warning"
    #: The hub cannot start.
    ERROR = "error"


@dataclass(frozen=True)
class Remark:
    """A remark about the configuration. It contains names only, no values.

    Args:
        weight: its severity.
        said: a sentence.
        advice: a sentence with the line to write; empty if there is nothing to do.
    """

    weight: Weight
    said: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.said} {self.advice}".rstrip()


@dataclass(frozen=True)
class AcceptedSettings:
    """The settings that a proxy accepts.

    Args:
        name: name of its class.
        sections: names of the sections that it reads, former ones included.
        settings: names of the settings that it accepts.
        former_sections: former name of a section -> its name.
        former_settings: former name of a setting -> its name.
        refused: a setting that cannot be honoured -> the reason, a sentence.
        successor: the ``proxy_class`` to use instead, if the configured one is a former name.
    """

    name: str
    sections: Sequence[str]
    settings: Collection[str]
    former_sections: Mapping[str, str] = field(default_factory=dict)
    former_settings: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    successor: str = ""

    def beside(self, other: AcceptedSettings) -> AcceptedSettings:
        """Combine these settings with those of another proxy, to which this one delegates a part of its work."""
        return AcceptedSettings(
            self.name,
            [*self.sections, *other.sections],
            {*self.settings, *other.settings},
            {**other.former_sections, **self.former_sections},
            {**other.former_settings, **self.former_settings},
            {**other.refused, **self.refused},
            self.successor,
        )


def with_former(names: Iterable[str], former_sections: Mapping[str, str]) -> list[str]:
    """Return the names of sections, each after its former name, so that the present name wins.

    >>> with_former(["Proxy", "KVTraefikProxy"], {"TKvProxy": "KVTraefikProxy"})
    ['Proxy', 'TKvProxy', 'KVTraefikProxy']
    """
    former = {new: old for old, new in former_sections.items()}
    return [name for new in names for name in (former.get(new), new) if name]


def is_set(name: str, config: Mapping[str, Collection[str]], sections: Iterable[str]) -> bool:
    """Return True if a setting is set in one of these sections."""
    return any(name in config.get(section, ()) for section in sections)


def remarks(
    config: Mapping[str, Collection[str]],
    accepted: AcceptedSettings,
    known: Collection[str],
    others: Collection[str] = (),
) -> list[Remark]:
    """Return the remarks about the names in a configuration.

    Unknown settings in a section that is read are left to traitlets, which reports them itself.

    Args:
        config: section -> names of its settings.
        accepted: the settings of the proxy in use.
        known: class names of all installed proxies.
        others: class names that look like proxies and are none.
    """
    found = [_successor(accepted)] if accepted.successor else []
    for section, names in config.items():
        if section in accepted.sections:
            if section in accepted.former_sections:
                found.append(_former_section(section, names, accepted))
            found += [
                _former_setting(section, name, config, accepted) for name in names if name in accepted.former_settings
            ]
            found += [_refused(section, name, accepted) for name in names if name in accepted.refused]
        elif _FOR_A_PROXY.search(section) and section not in others:
            found.append(_unread(section, names, accepted, known))
    return found


def _successor(accepted: AcceptedSettings) -> Remark:
    return Remark(
        Weight.WARNING,
        f"{accepted.name} is the former name of the proxy class {accepted.successor!r}, and works the same way.",
        f'Write c.JupyterHub.proxy_class = "{accepted.successor}".',
    )


def _former_section(section: str, names: Collection[str], accepted: AcceptedSettings) -> Remark:
    new = accepted.former_sections[section]
    said = f"c.{section} is the former name of c.{new}; its settings{_listed(names)} are used."
    return Remark(Weight.WARNING, said, f"Write c.{new} instead.")


def _former_setting(
    section: str, name: str, config: Mapping[str, Collection[str]], accepted: AcceptedSettings
) -> Remark:
    new = accepted.former_settings[name]
    if is_set(new, config, accepted.sections):
        said = f"c.{section}.{name} is the former name of {new}, which is set too and wins."
        return Remark(Weight.WARNING, said, f"Remove c.{section}.{name}.")
    said = f"c.{section}.{name} is the former name of {new}; its value is used."
    return Remark(Weight.WARNING, said, f"Write c.{accepted.former_sections.get(section, section)}.{new} instead.")


def _refused(section: str, name: str, accepted: AcceptedSettings) -> Remark:
    said = f"c.{section}.{name} is not supported: {accepted.refused[name]}"
    return Remark(Weight.ERROR, said, f"Remove c.{section}.{name}.")


def _unread(section: str, names: Collection[str], accepted: AcceptedSettings, known: Collection[str]) -> Remark:
    common = sorted(name for name in names if name in accepted.settings)
    wanted = f"Remove it, or write c.{_FOR_ALL} for the settings that are meant for this proxy: {', '.join(common)}."
    if section == _HUBS_OWN:
        said = f"c.{section}{_listed(names)} has no effect any more, as the hub uses {accepted.name}."
        return Remark(Weight.WARNING, said, wanted if common else "Remove it.")
    if section in known:
        said = f"c.{section}{_listed(names)} is not used, as the hub uses {accepted.name}."
        return Remark(Weight.WARNING, said, wanted) if common else Remark(Weight.INFO, said)
    said = f"c.{section}{_listed(names)} is not used: there is no proxy class of that name."
    meant = get_close_matches(section, [*accepted.sections, *sorted(known)], 1)
    return Remark(Weight.WARNING, said, f"Did you mean c.{meant[0]}?" if meant else "Remove or correct it.")


def _listed(names: Collection[str]) -> str:
    return f" ({', '.join(sorted(names))})" if names else ""
