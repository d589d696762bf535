"""The names of everything that kvproxy has in Traefik's dynamic configuration, and which hub's they are.

Each name comes from a digest, digest first: Traefik looks up the children of a node one after another, and names that
differ in their first character are told apart at once. Its end says whose and of what kind it is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from ..errors import ConfigurationError
from .group import Group

#: Characters of the digest in a name: 80 bits.
_DIGEST_LENGTH: Final = 16
#: Ends the names of a route's router and service. It marks the name as ours, and holds the letters that keep a digest
#: of digits only from being taken for a list index (seen in Traefik 3.7: such a router is broken without a word).
_ROUTE: Final = "-kvp"
#: Ends the name of a group's router, and that of its last child.
_GROUP: Final = "-kvg"
_LAST: Final = "-kvl"
#: Begins the end of the name of a middleware that a hook gave a route, before the hook's own name for it.
_MIDDLEWARE: Final = "-kvm_"
_REVISION: Final = "kvproxy-revision"
_API: Final = "kvproxy-api"
_METRICS: Final = "kvproxy-metrics"
_PAGES: Final = "kvproxy-pages"
_COOKIELESS: Final = "kvproxy-cookieless"
_HTML: Final = "kvproxy-html"
_PLAIN: Final = "kvproxy-plain"
_NOT_FOUND: Final = "kvproxy-not-found"
_DOTS: Final = "kvproxy-dot-segments"
_HEALTH: Final = "kvproxy-health"
_TRANSPORT: Final = "kvproxy-internal"
#: Begins a key that Traefik cannot decode, so that it goes on with what it has. Its log will name it.
_HOLD: Final = "http/kvproxy-is-writing"
_HUB: Final = "[a-z0-9]+(?:-[a-z0-9]+)*"
_ANY_HOLD: Final = rf"{_HOLD}(?:-{_HUB})?"
_KINDS: Final = "(?:routers|services|middlewares|serversTransports)"
_ANY = re.compile(
    rf"http/{_KINDS}/(?:([a-z2-7]{{{_DIGEST_LENGTH}}})(-kv[pgl]|{_MIDDLEWARE}[a-z0-9_]+)"
    rf"|{_REVISION}|{_API}|{_METRICS}|{_PAGES}|{_COOKIELESS}|{_TRANSPORT}"
    rf"|{_HTML}|{_PLAIN}|{_NOT_FOUND}|{_DOTS}|{_HEALTH})(?:-({_HUB}))?/|{_ANY_HOLD}$"
)
#: The header by which requests to Traefik's API say which hub they come from, if there are several.
HUB_HEADER: Final = "X-Kvproxy-Hub"
#: The name of a hub's records in a store; no hub may have it.
_TAKEN: Final = {"routes", "hub", "fence"}


@dataclass(frozen=True)
class Names:
    """The names of one hub.

    Args:
        hub: tells the hub from others on the same Traefik; empty for one that is alone.
    """

    hub: str = ""

    @cached_property
    def _end(self) -> str:
        return f"-{self.hub}" if self.hub else ""

    @property
    def revision(self) -> str:
        """The middleware that nothing uses and that shows the revision."""
        return _REVISION + self._end

    @cached_property
    def revision_key(self) -> str:
        """The key of the revision."""
        return f"http/middlewares/{self.revision}/headers/customResponseHeaders/X-Kvproxy-Revision"

    @cached_property
    def hold_key(self) -> str:
        """The key that keeps Traefik from loading anything, for as long as what is being written is not whole."""
        return _HOLD + self._end

    @property
    def api(self) -> str:
        """The router of Traefik's API, and its middleware."""
        return _API + self._end

    @property
    def metrics(self) -> str:
        """The router of Traefik's metrics."""
        return _METRICS + self._end

    @property
    def pages(self) -> str:
        """The middleware that asks the hub for a page where a server does not answer, and its service."""
        return _PAGES + self._end

    @property
    def cookieless(self) -> str:
        """The middleware that has the hub give such a page without cookies."""
        return _COOKIELESS + self._end

    @property
    def html_root(self) -> str:
        """The root router for requests that may be answered with a page of the hub's."""
        return _HTML + self._end

    @property
    def plain_root(self) -> str:
        """The root router for all other requests."""
        return _PLAIN + self._end

    @property
    def roots(self) -> str:
        """Both root routers, as the ``parentRefs`` of their children."""
        return f"{self.html_root},{self.plain_root}"

    @property
    def not_found(self) -> str:
        """The router for requests that fit no route, and its middleware."""
        return _NOT_FOUND + self._end

    @property
    def dot_segments(self) -> str:
        """The router that refuses paths with dot segments, and its middleware."""
        return _DOTS + self._end

    @property
    def health(self) -> str:
        """The router that answers health checks."""
        return _HEALTH + self._end

    @property
    def transport(self) -> str:
        """The serversTransport with the hub's certificates for its users' servers."""
        return _TRANSPORT + self._end

    def route(self, key: str) -> str:
        """The router and the service of the route with this :attr:`~kvproxy.routing.route.RouteSpec.key`."""
        return _digest(key) + _ROUTE + self._end

    def middleware(self, key: str, name: str) -> str:
        """A middleware that a hook gave the route with this key.

        Args:
            key: see :attr:`~kvproxy.routing.route.RouteSpec.key`.
            name: the hook's own name for it: letters, digits, ``-`` and ``_``. Case, and which of the two marks it is,
                are lost: Traefik does not tell names by case, and behind a ``-`` stands the hub.
        """
        return _digest(key) + _MIDDLEWARE + name.lower().replace("-", "_") + self._end

    def group(self, group: Group) -> str:
        """The router of a group."""
        return _digest("\0".join((group.prefix, *group.symbols))) + _GROUP + self._end

    def last(self, group_name: str) -> str:
        """The router of the last child of the group of this name."""
        return group_name[:_DIGEST_LENGTH] + _LAST + self._end

    def owner(self, config_key: str) -> str | None:
        """Name of the route or group of this hub whose key this is, None if it is no one's."""
        match = _ANY.match(config_key)
        if match is None or match.group(1) is None or (match.group(3) or "") != self.hub:
            return None
        kind = _GROUP if match.group(2) in {_GROUP, _LAST} else _ROUTE
        return match.group(1) + kind + self._end


#: The names of a hub that is alone on its Traefik.
ALONE: Final = Names()


def is_kvproxys(config_key: str) -> bool:
    """True if a key is one that kvproxy makes for any hub: of a route, a group, the revision, the API and so on."""
    return _ANY.match(config_key) is not None


def is_hold(config_key: str) -> bool:
    """True if a key is some hub's :attr:`Names.hold_key`."""
    return re.fullmatch(_ANY_HOLD, config_key) is not None


def check_hub_id(hub: str) -> str:
    """A hub's id as it was given, if names can be made with it.

    Raises:
        ConfigurationError: if not.
    """
    if hub and (not re.fullmatch(_HUB, hub) or hub in _TAKEN or len(hub) > 40):
        raise ConfigurationError(
            f"hub_id = {hub!r} cannot be used: give at most 40 of a-z, 0-9 and single '-' between them, and none of "
            f"{', '.join(sorted(_TAKEN))}."
        )
    return hub


# An added route asks for its own half a dozen times.
@lru_cache(maxsize=1024)
def _digest(text: str) -> str:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=10).digest()
    return base64.b32encode(digest).decode().lower()[:_DIGEST_LENGTH]
