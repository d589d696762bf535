"""The routing tree: which group every route and every group is in, and the next step towards where it belongs.

Traefik reads a store while it is being written, and several Traefiks read it at different times. So each step is such
that a request leads to the same place before it, after it, and wherever a reader sees any part of it; and no step is
taken before every Traefik has loaded the one before. A group comes into use in three steps: it is written with a rule
that no request fits, it is given its rule, and then routes move into it, each by a change of one key. It goes the same
way back. A route that is not yet, or no longer, in its group is beside it and comes before it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from .grouping import Group, Limits, ancestors, divide, prefixes

#: A route's name, or a group.
Item: TypeAlias = "str | Group"


@dataclass
class Node:
    """A group that is in the store, on its way into it, or out of it.

    Args:
        parent: the group it is in, None for the root.
        active: whether requests may pass it.
    """

    parent: Group | None
    active: bool = False


@dataclass
class _Lookup:
    """Finds the innermost group that reaches a stem, in as many steps as the stem has characters."""

    single: dict[str, Group] = field(default_factory=dict)
    several: dict[str, Group] = field(default_factory=dict)

    def add(self, group: Group) -> None:
        table = self.several if group.symbols else self.single
        table.update(dict.fromkeys(group.reaches, group))

    def remove(self, group: Group) -> None:
        table = self.several if group.symbols else self.single
        for reach in group.reaches:
            if table.get(reach) == group:
                del table[reach]

    def inner(self, stem: str, besides: Group | None = None) -> Group | None:
        for prefix in prefixes(stem):
            for table in (self.single, self.several):
                if (group := table.get(prefix)) is not None and group != besides:
                    return group
        return None


class RoutingTree:
    """Places of routes in groups.

    Args:
        limits: when groups are made and given up.
        hosts: whether routes with a host may be grouped. Only if none is without: where a request in such a group
            leads if no route in it fits would depend on its path.
    """

    def __init__(self, limits: Limits | None = None, hosts: bool = False) -> None:
        self.limits = limits or Limits()
        self.hosts = hosts
        #: All groups; the root is none of them.
        self.nodes: dict[Group, Node] = {}
        self._children: dict[Group | None, dict[Item, None]] = {None: {}}
        self._stems: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._parents: dict[str, Group | None] = {}
        self._sorted: list[Group] = []
        self._open = _Lookup()
        self._prepared: dict[Group, None] = {}
        self._activated: dict[Group, None] = {}
        self._leaving: dict[Group, None] = {}
        self._misplaced: dict[Item, None] = {}
        self._crowded: dict[Group | None, None] = {}
        self._thin: dict[Group, None] = {}

    # -- routes come and go

    def put(self, name: str, stem: str, parent: Group | None = None) -> list[Group]:
        """A route is there, in the innermost group that is open to it or, if it fits, in the one named.

        Returns:
            the groups whose requests may now lead elsewhere if no route in them fits.
        """
        if name in self._stems:
            return []
        self._stems[name], self._names[stem] = stem, name
        best = self._open.inner(stem)
        if parent is not None and parent != best and self._is_open(parent) and _reaches(parent, stem):
            self._misplaced[name] = None
            best = parent
        self._parents[name] = best
        self._attach(name, best)
        return list(self._under(stem))

    def drop(self, name: str) -> list[Group]:
        """A route is gone; gives back what :meth:`put` does."""
        if name not in self._stems:
            return []
        stem = self._stems.pop(name)
        del self._names[stem]
        self._misplaced.pop(name, None)
        self._detach(name, self._parents.pop(name))
        return list(self._under(stem))

    def place(self, name: str, stem: str) -> Group | None:
        """The group that a route is in, or would be put in; None for the root."""
        return self._parents[name] if name in self._parents else self._open.inner(stem)

    def fallback(self, group: Group) -> str | None:
        """Name of the route that requests lead to which fit the group and no route in it, None if there is none."""
        return next((self._names[stem] for stem in ancestors(group) if stem in self._names), None)

    def restore(self, found: Iterable[tuple[Group, Group | None, bool]]) -> None:
        """Begin with the groups that a store holds: each with its parent, and whether it is active."""
        known = {group: Node(parent, active) for group, parent, active in found}
        for group, node in known.items():
            self.nodes[group] = node
            self._children[group] = {}
            insort(self._sorted, group)
            if node.active:
                self._open.add(group)
            else:
                self._prepared[group] = None
        for group, node in known.items():
            above = known.get(node.parent) if node.parent is not None else None
            if node.parent is not None and not (above is not None and above.active and _reaches(node.parent, group.prefix)):
                node.parent = self._open.inner(group.prefix, group)
            self._attach(group, node.parent)
            self._thin[group] = None

    # -- one step further

    @property
    def restless(self) -> bool:
        """Whether there may be a step to take."""
        return any((self._prepared, self._activated, self._leaving, self._misplaced, self._crowded, self._thin))

    @property
    def empty(self) -> bool:
        """Whether there is no group."""
        return not self.nodes

    def step(self, dividing: bool, held: Callable[[str], bool], budget: int | None = None) -> list[Item]:
        """Take the next step. Every Traefik must have loaded the last one.

        Args:
            dividing: whether there are to be groups at all.
            held: names of routes that must not be moved now.
            budget: how many routes and groups may change, None for any number.

        Returns:
            the routes and groups to be written anew or, if they are not known any more, removed.
        """
        changed: list[Item] = []
        self._open_activated()
        if not dividing:
            self._leave(self.nodes)
        changed += self._retreat(budget)
        changed += self._activate()
        changed += self._move(held, budget)
        if dividing and not changed and not self._misplaced:
            changed += self._reshape(budget)
        return changed

    def _open_activated(self) -> None:
        """What was activated is loaded by now: find who belongs into it."""
        parents: dict[Group | None, None] = {}
        for group in self._activated:
            parents[self._nearest_open(group)] = None
        for group in self._activated:
            self._open.add(group)
            self._thin[group] = None
        self._activated.clear()
        for parent in parents:
            for item in self._children[parent]:
                if self._ideal(item) != parent:
                    self._misplaced[item] = None

    def _nearest_open(self, group: Group) -> Group | None:
        parent = self.nodes[group].parent
        while parent is not None and not self._is_open(parent):
            parent = self.nodes[parent].parent
        return parent

    def _retreat(self, budget: int | None) -> list[Group]:
        """Groups that nothing is in any more: first no request may pass them, then they go."""
        changed = []
        for group in list(self._leaving)[:budget]:
            node = self.nodes[group]
            if self._children[group]:
                continue
            if node.active:
                node.active = False
            else:
                self._remove(group)
            changed.append(group)
        return changed

    def _activate(self) -> list[Group]:
        changed = list(self._prepared)
        self._activated.update(self._prepared)
        self._prepared.clear()
        for group in changed:
            self.nodes[group].active = True
        return changed

    def _move(self, held: Callable[[str], bool], budget: int | None) -> list[Item]:
        changed: list[Item] = []
        for item in list(self._misplaced):
            if budget is not None and len(changed) >= budget:
                break
            if isinstance(item, str) and held(item):
                continue
            del self._misplaced[item]
            before, after = self._parent(item), self._ideal(item)
            if before != after:
                self._set_parent(item, after)
                changed.append(item)
        return changed

    def _reshape(self, budget: int | None) -> list[Group]:
        """New groups where a parent has too many children; groups with too few of them begin to leave."""
        made: list[Group] = []
        for parent in list(self._crowded):
            if budget is not None and len(made) >= max(budget // 6, 1):
                return made
            del self._crowded[parent]
            if parent is None or self._is_open(parent):
                made += self._divide(parent)
        thin, self._thin = self._thin, {}
        self._leave(group for group in thin if self._is_open(group) and self._too_thin(group))
        return made

    def _divide(self, parent: Group | None) -> list[Group]:
        strings = [self._stems[item] if isinstance(item, str) else item.prefix for item in self._children[parent]]
        strings = [string for string in strings if self.hosts or string.startswith("/")]
        new = [group for group in divide(parent, strings, self.limits, self._open.single) if group not in self.nodes]
        among = _Lookup()
        for group in new:
            among.add(group)
        for group in new:
            above = among.inner(group.prefix, group)
            self._add(group, parent if above is None else above)
        return new

    def _too_thin(self, group: Group) -> bool:
        count = len(self._children[group])
        # The parent must not at once have to be divided again.
        beside = len(self._children[self.nodes[group].parent])
        return count == 0 or (2 * count < self.limits.least and beside + count <= self.limits.most * 3 // 4)

    def _leave(self, groups: Iterable[Group]) -> None:
        for group in groups:
            if group not in self._leaving:
                self._leaving[group] = None
                self._prepared.pop(group, None)
                self._activated.pop(group, None)
                self._open.remove(group)
                self._misplaced.update(self._children[group])

    # -- the structure itself

    def _is_open(self, group: Group) -> bool:
        table = self._open.several if group.symbols else self._open.single
        return table.get(group.reaches[0]) == group

    def _ideal(self, item: Item) -> Group | None:
        return self._open.inner(self._stems[item]) if isinstance(item, str) else self._open.inner(item.prefix, item)

    def _parent(self, item: Item) -> Group | None:
        return self._parents[item] if isinstance(item, str) else self.nodes[item].parent

    def _set_parent(self, item: Item, parent: Group | None) -> None:
        self._detach(item, self._parent(item))
        if isinstance(item, str):
            self._parents[item] = parent
        else:
            self.nodes[item].parent = parent
        self._attach(item, parent)

    def _attach(self, item: Item, parent: Group | None) -> None:
        children = self._children[parent]
        children[item] = None
        if len(children) > self.limits.most:
            self._crowded[parent] = None

    def _detach(self, item: Item, parent: Group | None) -> None:
        children = self._children[parent]
        del children[item]
        if parent is not None and 2 * len(children) < self.limits.least:
            self._thin[parent] = None

    def _add(self, group: Group, parent: Group | None) -> None:
        self.nodes[group] = Node(parent)
        self._children[group] = {}
        self._prepared[group] = None
        insort(self._sorted, group)
        self._attach(group, parent)

    def _remove(self, group: Group) -> None:
        self._detach(group, self.nodes.pop(group).parent)
        del self._children[group], self._leaving[group]
        self._misplaced.pop(group, None)
        self._thin.pop(group, None)
        self._crowded.pop(group, None)
        del self._sorted[bisect_left(self._sorted, group)]

    def _under(self, stem: str) -> Iterator[Group]:
        """The groups of which all requests fit the rule of a route with this stem."""
        if stem == "/":
            yield from self._sorted
            return
        begin = stem if stem.endswith("/") else stem + "/"
        for index in range(bisect_left(self._sorted, Group(begin)), len(self._sorted)):
            if not self._sorted[index].prefix.startswith(begin):
                return
            yield self._sorted[index]


def _reaches(group: Group, stem: str) -> bool:
    return stem.startswith(group.reaches)
