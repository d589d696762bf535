"""The values of the translation layer: an entry of the table, and how routes are laid out as keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any, Final, NamedTuple, TypeAlias

from .group import Group, Limits
from .names import ALONE, Names
from .root_routers import RootRouters
from .route import Route, RouteSpec

#: Begins the key of a record that could not be read; it is kept for the administrator and belongs to nothing.
QUARANTINE: Final = "quarantine:"

#: Begins the key of a group's record; no routespec begins so.
GROUP_RECORD: Final = "group:"

#: Name of the entry that holds everything that is not a route: API router, certificate, extra configuration.
SETUP: Final = "setup"


_next_generation: Final = count(1).__next__


class Size(NamedTuple):
    """The measure of entries and transactions: a number of keys, and the bytes of keys and values in UTF-8."""

    keys: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One route (or a group of them, or the setup) in the store: configuration keys, and one record.

    Two entries are equal if the same keys stand in the store. To tell whether they come from the same edit, compare
    their generations: each entry has its own, as a Kubernetes object has one for each change of its specification.

    Args:
        name: name of the router and the service, of the group, or :data:`SETUP`.
        config: keys of the configuration and their values.
        records: key and value of the record; a mapping so that a wrongly spelled second record can be seen and removed.
        route: the route that was encoded, None for groups, for the setup, and for what was found in a store.
        outermost: True if a hook gave the route something that Traefik allows for routers without a parent only.
        middlewares: those that a route's router has in any place, in Traefik's order.
        generation: grows with each entry that is made.
    """

    name: str
    config: Mapping[str, str] = field(repr=False)
    records: Mapping[str, str] = field(repr=False)
    route: Route | None = field(default=None, compare=False)
    outermost: bool = field(default=False, compare=False)
    middlewares: tuple[str, ...] = field(default=(), compare=False)
    generation: int = field(default_factory=_next_generation, init=False, repr=False, compare=False)

    @property
    def size(self) -> Size:
        """The number of keys, and their bytes."""
        texts = chain.from_iterable((*self.config.items(), *self.records.items()))
        return Size(len(self.config) + len(self.records), len("".join(texts).encode(errors="surrogatepass")))

    def is_generation_of(self, other: Entry | None) -> bool:
        """Return True if both come from the same edit."""
        return other is not None and self.generation == other.generation


#: Changes the section ``http`` of a route; called with it, the route and the hub's names. True if
#: the router may have no parent any more. Raises HookError.
Customize: TypeAlias = Callable[[dict[str, Any], Route, Names], bool]


@dataclass(frozen=True)
class Layout:
    """The way routes are laid out as keys.

    Args:
        entry_points: names of the entry points that serve the routes; empty means Traefik's default ones, which saves
            a key a route where the static configuration marks the public entry point ``asDefault``.
        kind: ``tree`` for routes in groups, ``flat`` for none, ``auto`` for groups where there are many routes.
        threshold: with ``auto``, the number of routes above which there are groups. They are given up at half of it.
        hosts: whether all routes have a host.
        limits: when groups are made and given up.
        names: how routers and services are called.
        host: if not empty, routes without a host are served for this one only.
        transport: name of the serversTransport for servers with an https URL, empty for Traefik's default one.
        customize: changes the configuration of each route, None if nothing does.
        roots: what the root routers are made from, None if there are to be none.
        rooted: whether routes and groups that are in no group are behind the root routers.
        flushes: whether each part of a server's answer is passed on at once, without being buffered.
    """

    entry_points: tuple[str, ...] = ()
    kind: str = "auto"
    threshold: int = 256
    hosts: bool = False
    limits: Limits = field(default_factory=Limits)
    names: Names = ALONE
    host: str = ""
    transport: str = ""
    customize: Customize | None = None
    roots: RootRouters | None = None
    rooted: bool = False
    flushes: bool = False

    def spec(self, route: Route) -> RouteSpec:
        """The place of a route as Traefik is to see it."""
        return replace(route.spec, host=self.host) if self.host and not route.spec.host else route.spec

    @property
    def may_be_rooted(self) -> bool:
        """True if there is anything for root routers to do: to decide which requests get the hub's pages."""
        return self.roots is not None and bool(self.roots.pages)

    def behind_roots(self, item: RouteSpec | Group) -> bool:
        """True if a route or a group that is in no group is a child of the root routers."""
        return self.rooted and self.roots is not None and self.roots.reach(item)

    def pages(self, spec: RouteSpec | None) -> str:
        """The middleware with the hub's pages of a router that is behind nothing; empty if it has none.

        Args:
            spec: where its route begins, None for a group.
        """
        roots = self.roots
        return roots.pages if roots is not None and (spec is None or not roots.excepts(spec)) else ""


def without_pages(layout: Layout) -> Layout:
    """The same layout for a store in which the hub has not set up its pages yet."""
    return layout if layout.roots is None else replace(layout, roots=replace(layout.roots, pages=""))
