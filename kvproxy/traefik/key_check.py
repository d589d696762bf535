"""The key below the root that may keep Traefik from reading any.

Traefik reads all keys or none: one that it cannot decode, perhaps a foreign one, stops all updates, and only its log
tells of it. Traefik names no key either, but the fields that it knows are few on the levels where mistakes are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .._text import NAMED, and_more
from ..routing.legacy import is_peers
from ..routing.names import is_hold, is_kvproxys

_HTTP: Final = {"routers", "services", "middlewares", "models", "serverstransports"}
#: Names that may stand below the root (Traefik's `dynamic.Configuration`, 3.7). In any case.
_SECTIONS: Final[Mapping[str, set[str]]] = {
    "http": _HTTP,
    "tcp": _HTTP,
    "udp": {"routers", "services"},
    "tls": {"options", "stores", "certificates"},
}
#: Names that may stand below that of a router or a service (`dynamic.Router`, `dynamic.Service` and their kin, 3.7).
_FIELDS: Final[Mapping[str, set[str]]] = {
    "routers": {
        *("entrypoints", "middlewares", "service", "rule", "parentrefs", "rulesyntax"),
        *("priority", "tls", "observability"),
    },
    "services": {"loadbalancer", "weighted", "mirroring", "failover", "highestrandomweight"},
}


@dataclass(frozen=True)
class Suspects:
    """Keys below the root that may keep Traefik from reading any.

    Args:
        hold: another hub's hold, see :attr:`~kvproxy.routing.names.Names.hold_key`; empty if there is none.
        undecodable: keys that are not kvproxy's and that Traefik certainly cannot decode.
        foreign: all other keys that are not kvproxy's.
    """

    hold: str = ""
    undecodable: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def evidence(self) -> str:
        """A sentence that names what keeps Traefik from reading; empty if nothing is known to."""
        if self.hold:
            return (
                f"Another hub rewrites its routes, or has stopped in the midst of that: its key {self.hold!r} keeps "
                "Traefik from loading a part of them. If it has stopped, start it or its standby, which completes "
                "them; remove the key only if there is neither."
            )
        if wrong := self.undecodable:
            return (
                f"Traefik cannot decode the {named(wrong)} below its rootKey, which "
                f"{'is' if len(wrong) == 1 else 'are'} not kvproxy's; remove {'it' if len(wrong) == 1 else 'them'}."
            )
        return ""


def suspects(config: Mapping[str, str]) -> Suspects:
    """Find the keys that may keep Traefik from reading any.

    Args:
        config: keys, relative to the root, with their values. Of kvproxy's own only a hold counts; leave out that of
            the hub at work.

    >>> suspects({"http/routers/mine/rule": "Path(`/x`)", "http/routers/mine/rool": "x"}).evidence
    "Traefik cannot decode the key 'http/routers/mine/rool' below its rootKey, which is not kvproxy's; remove it."
    """
    foreign = {key: value for key, value in config.items() if not is_kvproxys(key) and not is_peers(key)}
    wrong = tuple(key for key in sorted(foreign) if not decodable(key, foreign[key]))
    return Suspects(min(filter(is_hold, config), default=""), wrong, tuple(sorted(foreign.keys() - set(wrong))))


def decodable(key: str, value: str) -> bool:
    """True if Traefik may know a key, as far as the first levels and the values of fields of routers tell."""
    section, _, rest = key.partition("/")
    kind, _, named = rest.partition("/")
    name, _, inner = named.partition("/")
    field, _, deeper = inner.partition("/")
    kinds = _SECTIONS.get(section.lower())
    if kinds is None or kind.lower() not in kinds:
        return False
    if section.lower() == "tls":
        return True
    fields = _FIELDS.get(kind.lower())
    if not name or not field or (fields is not None and field.lower() not in fields):
        return False
    return kind.lower() != "routers" or _router_value(field.lower(), deeper, value)


def _router_value(field: str, deeper: str, value: str) -> bool:
    if field in {"rule", "service", "rulesyntax", "priority"} and deeper:
        return False
    return field != "priority" or value.lstrip("-").isdigit()


def named(keys: Sequence[str]) -> str:
    """Some keys for a sentence, with their number if there are more."""
    shown = ", ".join(map(repr, keys[:NAMED]))
    return f"{'key' if len(keys) == 1 else 'keys'} {shown}{and_more(len(keys))}"
