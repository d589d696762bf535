"""The routing tree: which group every route and every group is in, and the next step towards where it belongs.

Traefik reads a store while it is being written, and several Traefiks read it at different times. So a request must
reach the same server before a step, after it, and for a reader that sees any part of it. No step is taken before every
Traefik has loaded the one before. A group is introduced in three steps: it is written with a rule that matches no
request, it gets its real rule, and then routes move into it, each by a change of one key. It is removed in the reverse
order. A route that is not yet, or no longer, in its group is beside it and has precedence over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from .group import Group, Limits, Lookup, above_stem, depth, divide
from .membership import Item, Membership, Node

#: The number of keys of a new group.
_KEYS: Final = 6


class RoutingTree:
    """Takes routes into groups, and out of them.

    Args:
        limits: the sizes at which groups are made and given up.
        hosts: True if routes with a host may be grouped. That requires that all routes have one: otherwise the fallback
            of a request in such a group, if no route in it matches, would depend on the request's path.
    """

    def __init__(self, limits: Limits | None = None, hosts: bool = False) -> None:
        #: The present group of each route and group.
        self.members = Membership(limits or Limits())
        self._hosts = hosts
        self._open = Lookup()
        self._prepared: dict[Group, None] = {}
        self._activated: dict[Group, None] = {}
        self._leaving: dict[Group, None] = {}
        self._misplaced: dict[Item, None] = {}

    # -- routes come and go

    def put(self, name: str, stem: str) -> list[Group]:
        """Add a route in its :meth:`place`.

        Returns:
            the groups whose fallback may have changed, for requests that match no route in them.
        """
        return [] if name in self.members.stems else self._put(name, stem, self._best(stem))

    def restore_route(self, name: str, stem: str, parent: Group | None) -> None:
        """Add a route that was found in a group, or in none; it stays there unless no request could reach it."""
        usable = parent is None or (parent in self._open and parent.covers(stem))
        self._put(name, stem, parent if usable else self._best(stem))

    def _put(self, name: str, stem: str, where: Group | None) -> list[Group]:
        self.members.add_route(name, stem, where)
        if where != self._open.inner(stem):
            self._misplaced[name] = None
        return self.members.under(stem)

    def drop(self, name: str) -> list[Group]:
        """Remove a route; return the same as :meth:`put`."""
        if name not in self.members.stems:
            return []
        self._misplaced.pop(name, None)
        return self.members.under(self.members.remove_route(name))

    def expose(self, name: str) -> list[Item]:
        """Take a route out of all groups at once, as it has an option that Traefik forbids there.

        The groups are given up, step by step. Beside them the route has precedence over each group that covers it, so
        the routes below it are taken out at once as well. A route for all paths of all hosts comes after every group.

        Returns:
            the routes to be rewritten.
        """
        members = self.members
        if not members.nodes:
            return []
        self._leave(members.nodes)
        stem = members.stems[name]
        below = (one for one, at in members.stems.items() if stem != "/" and stem in above_stem(at))
        changed: list[Item] = [one for one in (name, *below) if members.parent(one) is not None]
        for one in changed:
            members.move(one, None)
        return changed

    def place(self, name: str, stem: str) -> Group | None:
        """Return the group that a route is in, or would be added to; None for the root."""
        return self.members.parent(name) if name in self.members.stems else self._best(stem)

    def _best(self, stem: str) -> Group | None:
        """Find the group in which a new route is reached at once, and takes no request from another route.

        That is the innermost open group that covers it, unless a route above it is still on its way into that group, or
        one below it on its way out: a route has precedence over a group beside it.
        """
        best = self._open.inner(stem)
        if not self._misplaced:
            return best
        for above in above_stem(stem):
            # A route above that is still outside would win over the group, and so over this route in it: join it there.
            if (name := self.members.names.get(above)) in self._misplaced:
                best = min(best, self.members.parent(str(name)), key=depth)
        if self._leaving:
            # Beside a group that is given up, it would win over routes below it that are still inside: join them there.
            for item in self._misplaced:
                parent = self.members.parent(item)
                if parent is not None and parent.covers(stem) and stem in self._above(item):
                    best = max(best, parent, key=depth)
        return best

    def restore(self, found: Iterable[tuple[Group, Group | None, bool]]) -> None:
        """Start from the groups in a store, each with its parent and True if it is active."""
        known = {group: Node(parent, active) for group, parent, active in found}
        for group, node in known.items():
            if node.active:
                self._open.add(group)
            else:
                self._prepared[group] = None
        for group, node in known.items():
            if not self._may_be_in(group, known):
                node.parent = self._open.inner(group.prefix, group)
            elif node.active and node.parent != self._open.inner(group.prefix, group):
                self._misplaced[group] = None
        self.members.add_groups(known)
        self.members.thin.update(dict.fromkeys(known))

    @staticmethod
    def _may_be_in(group: Group, known: Mapping[Group, Node]) -> bool:
        """Return True if requests that pass its parent can reach the group, or need not reach it yet."""
        parent = known[group].parent
        if parent is None:
            return True
        if parent == group:
            return False
        # An inactive parent passes no requests on, so only an inactive group may be below it.
        ready = parent in known and (known[parent].active or not known[group].active)
        return ready and parent.covers(group.prefix)

    # -- one step further

    @property
    def restless(self) -> bool:
        """True if there may be a step to take."""
        waiting = (self._prepared, self._activated, self._leaving, self._misplaced)
        return any(waiting) or bool(self.members.crowded or self.members.thin)

    def step(self, dividing: bool, held: Callable[[str], bool], budget: int | None = None) -> list[Item]:
        """Take the next step. Every Traefik must have loaded the last one.

        Args:
            dividing: True if there are to be groups at all.
            held: returns True for the name of a route that must not be moved now.
            budget: maximum number of routes and groups to change, None for no limit.

        Returns:
            the routes and groups to be rewritten or, if they are no longer known, removed.
        """
        changed: list[Item] = []
        # The order matters: the groups activated by the last step are loaded now, so members may move in from here on.
        self._open_activated()
        if not dividing:
            self._leave(self.members.nodes)
        changed += self._retreat(budget)
        changed += self._activate()
        changed += self._move(held, budget)
        # New groups only when nothing is moving: they are chosen by the members that each parent has now.
        if dividing and not changed and not self._misplaced:
            changed += self._reshape(budget)
        return changed

    def _open_activated(self) -> None:
        """Open the activated groups, which are loaded by now, and find their future members."""
        parents: dict[Group | None, None] = {}
        for group in self._activated:
            parents[self._nearest_open(group)] = None
        for group in self._activated:
            self._open.add(group)
            self.members.thin[group] = None
        self._activated.clear()
        for parent in parents:
            # Only members of the group around a new one can belong in the new one.
            for item in self.members.children(parent):
                if self._ideal(item) != parent:
                    self._misplaced[item] = None

    def _nearest_open(self, group: Group) -> Group | None:
        parent = self.members.nodes[group].parent
        while parent is not None and parent not in self._open:
            parent = self.members.nodes[parent].parent
        return parent

    def _retreat(self, budget: int | None) -> list[Group]:
        """Take empty groups out of use, in two steps: deactivate a group first, and remove it when that is loaded."""
        changed = []
        for group in list(self._leaving)[:budget]:
            node = self.members.nodes[group]
            if self.members.children(group):
                continue
            if node.active:
                node.active = False
            else:
                self.members.remove_group(group)
                del self._leaving[group]
                self._misplaced.pop(group, None)
            changed.append(group)
        return changed

    def _activate(self) -> list[Group]:
        changed = list(self._prepared)
        self._activated.update(self._prepared)
        self._prepared.clear()
        for group in changed:
            self.members.nodes[group].active = True
        return changed

    def _move(self, held: Callable[[str], bool], budget: int | None) -> list[Item]:
        """Move the routes and groups that no other has to precede, see :meth:`_waiting`."""
        changed: list[Item] = []
        waiting = self._waiting()
        for item in list(self._misplaced):
            if budget is not None and len(changed) >= budget:
                break
            if item in waiting or (isinstance(item, str) and held(item)):
                continue
            del self._misplaced[item]
            before, after = self.members.parent(item), self._ideal(item)
            # The groups may have changed since the item was found to be misplaced.
            if before != after:
                self.members.move(item, after)
                changed.append(item)
        return changed

    def _above(self, item: Item) -> Iterator[str]:
        """Return the stems of the routes above an item; a group's are those above the stems that it reaches."""
        return above_stem(self.members.stems[item]) if isinstance(item, str) else item.above

    def _waiting(self) -> set[Item]:
        """Return the misplaced routes and groups that have to wait for others.

        A route beside a group has precedence over the routes in it. So on the way in, a route above moves before those
        below it; on the way out, the routes below move before the one above.
        """
        waiting: set[Item] = set()
        for item in self._misplaced:
            inwards = depth(self._ideal(item)) > depth(self.members.parent(item))
            for above in self._above(item):
                if (name := self.members.names.get(above)) is not None and name in self._misplaced:
                    # Inwards the lower one waits, outwards the upper one.
                    waiting.add(item if inwards else name)
        return waiting

    def _reshape(self, budget: int | None) -> list[Group]:
        """Make new groups in parents with too many children, and begin to give up groups with too few."""
        made: list[Group] = []
        most = None if budget is None else max(budget // _KEYS, 1)
        for parent in list(self.members.crowded):
            if most is not None and len(made) >= most:
                return made
            del self.members.crowded[parent]
            if parent is None or parent in self._open:
                made += self._divide(parent, None if most is None else most - len(made))
        thin, self.members.thin = self.members.thin, {}
        self._leave(group for group in thin if group in self._open and self._too_thin(group))
        return made

    def _divide(self, parent: Group | None, most: int | None) -> list[Group]:
        members = self.members
        every = map(members.string, members.children(parent))
        strings = [string for string in every if self._hosts or string[0] == "/"]
        divided = divide(parent, strings, members.limits, self._open.single)
        new = [group for group in divided if group not in members.nodes]
        among = Lookup()
        for group in new:
            among.add(group)
        # The outer ones first; those beyond the budget are found again when these are in use.
        outer = sorted(new, key=lambda group: (len(group.prefix), group.symbols))[:most]
        if len(outer) < len(new):
            members.crowded[parent] = None
        for group in outer:
            above = among.inner(group.prefix, group)
            members.add_groups({group: Node(parent if above is None else above)})
            self._prepared[group] = None
        return outer

    def _too_thin(self, group: Group) -> bool:
        members = self.members
        count = len(members.children(group))
        # Hysteresis: the parent must not have to be divided again as soon as it takes these children back.
        room = members.limits.most - members.limits.least // 2
        beside = len(members.children(members.nodes[group].parent))
        return count == 0 or (2 * count < members.limits.least and beside + count <= room)

    def _leave(self, groups: Iterable[Group]) -> None:
        for group in groups:
            if group not in self._leaving:
                self._leaving[group] = None
                self._prepared.pop(group, None)
                self._activated.pop(group, None)
                self._open.remove(group)
                self._misplaced.update(self.members.children(group))

    def _ideal(self, item: Item) -> Group | None:
        if isinstance(item, str):
            return self._open.inner(self.members.stems[item])
        return self._open.inner(item.prefix, item)
