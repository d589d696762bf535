"""The desired contents of a store: an entry for every route, for every group of the routing tree, and for the setup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from ..errors import HookError
from .decode import group_of, is_active, is_rooted, parent_name, route_of
from .encode import (
    encode_group,
    encode_route,
    reparent,
    unserved,
    with_public_routers,
    without_default_store,
)
from .entry import SETUP, Entry, Layout
from .group import Group, stem
from .legacy import ROUTERS, left_routes, lowering
from .manifest import of_default_store
from .membership import Item
from .route import Route
from .tree import RoutingTree

#: The number of times that one call of :meth:`DesiredTable.step` looks again for something to change.
_LOOKS: Final = 3


class DesiredTable:
    """The desired entries by name, always as the routing tree has them.

    Args:
        layout: how routes are laid out as keys.
        setup: the entry of what is not about routes.
        groups_allowed: whether Traefik can read groups; None if that is not known yet.
    """

    def __init__(self, layout: Layout, setup: Entry, groups_allowed: bool | None = None) -> None:
        self._layout = replace(layout, rooted=layout.may_be_rooted and groups_allowed is True)
        #: This hub's names of routers and services.
        self.names = layout.names
        self._tree = RoutingTree(layout.limits, layout.hosts)
        # Names of the routes that cannot be in a group.
        self._outermost: set[str] = set()
        #: The desired entries.
        self.entries: dict[str, Entry] = {}
        # The number of routes by the address of their server.
        self._addresses: Counter[tuple[str, int]] = Counter()
        #: True if Traefik can read groups. As long as that is not known, they are left as they are.
        self.groups_allowed = groups_allowed
        # True if routers have come behind the root routers, or out from there, since this was asked.
        self._rerooted = False
        #: The setup as it was asked for, and with all that is wanted, also what is left out for now.
        self.asked = self.setup = setup
        self._left: Mapping[str, str] = {}
        self._prevailing = self._yields = False
        self._set_up()

    @property
    def count(self) -> int:
        """The number of routes."""
        return len(self.entries) - len(self._tree.members.nodes) - (SETUP in self.entries)

    def routes_to(self, address: tuple[str, int]) -> int:
        """The number of routes to the server with this host and port."""
        return self._addresses[address]

    def _count(self, entry: Entry | None, change: int) -> None:
        if entry is not None and entry.route is not None:
            self._addresses[entry.route.address] += change
            if not self._addresses[entry.route.address]:
                del self._addresses[entry.route.address]

    def entry(self, route: Route, *, plain: bool = False) -> Entry:
        """A route as it would be in the store now; a plain one is what it would be without hooks.

        Raises:
            HookError: if a hook fails, or gives what cannot be used.
        """
        layout = replace(self._layout, customize=None) if plain else self._layout
        return encode_route(route, layout, self._place(route))

    def hooked(self, route: Route) -> bool:
        """Return True if hooks change a route, or refuse it."""
        try:
            return self._layout.customize is not None and self.entry(route) != self.entry(route, plain=True)
        except HookError:
            return True

    def again(self, entry: Entry) -> Entry:
        """A route that was encoded earlier as it would be in the store now. No hook is asked again."""
        return entry if entry.route is None else reparent(entry, self._layout, self._place(entry.route))

    def set_up(self, setup: Entry) -> None:
        """Want another setup, beside the root routers."""
        self.asked = setup
        self._set_up()

    def take_rerooted(self) -> bool:
        """Tell if routers have come behind the root routers, or out from there, since the last call.

        A Traefik that sees only a part of that would lead requests wrongly.
        """
        rerooted, self._rerooted = self._rerooted, False
        return rerooted

    def _reroot(self) -> list[str]:
        """Have all that is in no group be behind the root routers, or nothing: as it has to be now."""
        rooted = self._layout.may_be_rooted and self.groups_allowed is True and not self._outermost
        if self.groups_allowed is None or rooted == self._layout.rooted:
            return []
        self._layout = replace(self._layout, rooted=rooted)
        self._rerooted = True
        self._set_up()
        return [SETUP, *self._encode(list(self._tree.members.children(None)))]

    def _place(self, route: Route) -> Group | None:
        return self._tree.place(self.names.route(route.key), self._stem(route))

    def put(self, entry: Entry) -> list[str]:
        """Want a route, as :meth:`entry` gave it, or another setup.

        Returns:
            the names of other entries that this has changed.
        """
        name = entry.name
        if name == SETUP:
            self.set_up(entry)
            return []
        before = self.entries.get(name)
        self._count(before, -1)
        self._count(entry, 1)
        self.entries[name] = entry
        if entry.route is None:
            return []
        if not entry.config:
            return self._leave(name)
        at = self._stem(entry.route)
        groups = self._tree.put(name, at)
        if entry.middlewares != (before.middlewares if before is not None else ()):
            groups = self._tree.members.under(at)
        self._outermost.discard(name)
        exposed = self._expose(entry)
        return [*self._encode([*groups, *exposed]), *self._reroot()]

    def see(self, config: Mapping[str, str]) -> bool:
        """Learn what the store holds: jupyterhub-traefik-proxy may have left routes there, see :meth:`prevail`.

        Returns:
            whether that changes the setup.
        """
        self._left = {key: value for key, value in config.items() if key.startswith(ROUTERS)}
        return self._set_up()

    def prevail(self) -> int:
        """Want all that jupyterhub-traefik-proxy has left to be behind the routes that there are now.

        Not before the hub has added those of all servers that run: until then, what was left leads to some of them.

        Returns:
            how many routes it has left.
        """
        self._prevailing = True
        self._set_up()
        return left_routes(self._left)

    def _set_up(self) -> bool:
        """Want the setup that was asked for, the root routers, and what puts another proxy's routers behind ours."""
        before, lowered = self.entries.get(SETUP), lowering(self._left, self._prevailing)
        setup = with_public_routers(self.asked, self._layout)
        # Lowered routers are no part of the record: the keys stay where they are if the hub does not need them.
        self.setup = replace(setup, config={**setup.config, **lowered}) if lowered else setup
        here = without_default_store(setup) if self._yields else setup
        if here.config or lowered:
            self.entries[SETUP] = replace(here, config={**here.config, **lowered}) if lowered else here
        else:
            self.entries.pop(SETUP, None)
        return self.entries.get(SETUP) != before

    def make_way(self, foreign: Collection[str]) -> list[str]:
        """Leave Traefik's default certificate to another program's keys in the store, and no longer if there are none.

        Returns:
            the names of the entries that this has changed.
        """
        if self._yields == bool(foreign):
            return []
        self._yields = bool(foreign)
        if not any(map(of_default_store, self.setup.config)):
            return []
        self._set_up()
        return [SETUP]

    def _expose(self, entry: Entry) -> list[Item]:
        if not entry.outermost:
            return []
        self._outermost.add(entry.name)
        return self._tree.expose(entry.name)

    def drop(self, name: str) -> list[str]:
        """Want a route no more; gives back what :meth:`put` does."""
        self._count(self.entries.pop(name, None), -1)
        return self._leave(name)

    def _leave(self, name: str) -> list[str]:
        self._outermost.discard(name)
        return [*self._encode(self._tree.drop(name)), *self._reroot()]

    def _stem(self, route: Route) -> str:
        return stem(self._layout.spec(route))

    def restore(self, found: Mapping[str, Entry]) -> list[HookError]:
        """Want what a store holds: all routes, in the groups that they are in.

        A route whose hook fails is known from now on and not served: it may lack what protects it.

        Returns:
            what the hooks say that fail.
        """
        groups = {} if self.groups_allowed is False else self._restore_groups(found)
        refused = []
        rooted = is_rooted(found.get(SETUP), self.names)
        if self.groups_allowed is None and self._layout.roots is not None:
            self._layout = replace(self._layout, rooted=rooted)
            self._set_up()
        for name, entry in found.items():
            route = route_of(entry)
            if route is not None and name == self.names.route(route.key):
                self._restore_route(name, self._stem(route), parent_name(entry, self.names), groups)
                self._count(self.entries.get(name), -1)
                try:
                    self.entries[name] = self.entry(route)
                except HookError as error:
                    refused.append(error)
                    self._tree.drop(name)
                    self.entries[name] = unserved(route, self.names)
                self._count(self.entries[name], 1)
        moves = [item for entry in list(self.entries.values()) for item in self._expose(entry)]
        self._encode([*moves, *groups.values()])
        self._reroot()
        self._rerooted = self.count > 0 and rooted != self._layout.rooted
        return refused

    def _restore_route(self, name: str, at: str, parent: str | None, groups: Mapping[str, Group]) -> None:
        if parent is None or parent in groups:
            self._tree.restore_route(name, at, groups.get(parent or ""))
        else:
            self._tree.put(name, at)

    def _restore_groups(self, found: Mapping[str, Entry]) -> dict[str, Group]:
        named = {name: group_of(entry, self.names) for name, entry in found.items()}
        groups = {name: group for name, group in named.items() if group is not None and name == self.names.group(group)}
        parents = {name: groups.get(parent_name(found[name], self.names) or "") for name in groups}
        self._tree.restore((group, parents[name], is_active(found[name])) for name, group in groups.items())
        return groups

    def step(self, held: Callable[[str], bool], budget: int | None) -> list[str]:
        """Take the next step towards the right groups; see :meth:`kvproxy.routing.tree.RoutingTree.step`.

        Returns:
            the names of the entries that this has changed.
        """
        dividing = self._dividing()
        for _ in range(_LOOKS):
            if not self._restless(dividing):
                break
            if changed := self._tree.step(dividing, held, budget):
                return self._encode(changed)
        return []

    @property
    def restless(self) -> bool:
        """True if there may be a step to take."""
        return self._restless(self._dividing())

    def _restless(self, dividing: bool) -> bool:
        if self.groups_allowed is None:
            return False
        return self._tree.restless if dividing else bool(self._tree.members.nodes)

    def allow_groups(self, allowed: bool) -> list[str]:
        """Say whether Traefik can read groups; if not, they are given up at once.

        Returns:
            the names of the entries that this has changed.
        """
        self.groups_allowed = allowed
        flattened = [] if allowed else self._flatten()
        return [*flattened, *self._reroot()]

    def _flatten(self) -> list[str]:
        names = [self.names.group(group) for group in self._tree.members.nodes]
        if not names:
            return []
        for name in names:
            del self.entries[name]
        self._tree = RoutingTree(self._layout.limits, self._layout.hosts)
        routes = {name: entry for name, entry in self.entries.items() if entry.route is not None and entry.config}
        for name, entry in routes.items():
            assert entry.route is not None  # noqa: S101 - for the type checker
            self._tree.put(name, self._stem(entry.route))
            self.entries[name] = self.again(entry)
        return [*names, *routes]

    @property
    def forced_flat(self) -> str:
        """The routespec of a route that keeps the routes from being in groups though they were to be; else empty."""
        if not self._outermost:
            return ""
        wanted = self._layout.kind == "tree" or (self._layout.kind == "auto" and self.count > self._layout.threshold)
        entry = self.entries.get(next(iter(self._outermost)))
        return entry.route.routespec if wanted and entry is not None and entry.route is not None else ""

    def is_group(self, name: str) -> bool:
        """True if this is the name of a group's entry."""
        entry = self.entries.get(name)
        return entry is not None and entry.route is None and name != SETUP

    def _dividing(self) -> bool:
        if self._outermost:
            # Beside a group, such a route would come before the routes below it that are in one; and where it is above
            # a group, what fits nothing there would have to find it.
            return False
        kind = self._layout.kind if self.groups_allowed else "flat"
        if kind == "auto":
            # It changes back at half of the number only, so that one route more or less cannot flip it each time.
            return self.count > (self._layout.threshold // 2 if self._tree.members.nodes else self._layout.threshold)
        return kind == "tree"

    def _encode(self, items: Iterable[Item]) -> list[str]:
        return [self._encode_route(item) if isinstance(item, str) else self._encode_group(item) for item in items]

    def _encode_route(self, name: str) -> str:
        self.entries[name] = self.again(self.entries[name])
        return name

    def _encode_group(self, group: Group) -> str:
        name, node = self.names.group(group), self._tree.members.nodes.get(group)
        if node is None:
            self.entries.pop(name, None)
        else:
            last = self.entries.get(self._tree.members.fallback(group) or "")
            self.entries[name] = encode_group(group, node.parent, node.active, last, self._layout)
        return name
