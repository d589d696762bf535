"""Group membership: the group that contains each route and group."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, takewhile
from operator import attrgetter
from typing import TypeAlias

from .group import Group, Limits

#: A route's name, or a group.
Item: TypeAlias = "str | Group"


@dataclass
class Node:
    """A group that is in the store, on its way into it, or out of it.

    Args:
        parent: the group it is in, None for the root.
        active: True if requests may pass it.
    """

    parent: Group | None
    active: bool = False


class Membership:
    """The present group of each route and group, and the parents with too many children or too few.

    Args:
        limits: the numbers that are too many, or too few.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        #: All groups; the root is none of them.
        self.nodes: dict[Group, Node] = {}
        #: The stem of each route, and the name of the route at a stem.
        self.stems: dict[str, str] = {}
        self.names: dict[str, str] = {}
        #: Parents that have had too many children since they were divided, and groups that have had too few.
        self.crowded: dict[Group | None, None] = {}
        self.thin: dict[Group, None] = {}
        self._children: dict[Group | None, dict[Item, None]] = {None: {}}
        self._parents: dict[str, Group | None] = {}
        self._sorted: list[Group] = []

    def parent(self, item: Item) -> Group | None:
        """The group that a route or a group is in, None for the root."""
        return self._parents[item] if isinstance(item, str) else self.nodes[item].parent

    def children(self, parent: Group | None) -> dict[Item, None]:
        """The routes and groups that are in a group, or in none."""
        return self._children[parent]

    def string(self, item: Item) -> str:
        """The stem of a route, or the prefix of a group."""
        return self.stems[item] if isinstance(item, str) else item.prefix

    def fallback(self, group: Group) -> str | None:
        """Name of the route that requests lead to which fit the group and no route in it, None if there is none."""
        return next((self.names[stem] for stem in group.above if stem in self.names), None)

    def under(self, stem: str) -> list[Group]:
        """The groups of which all requests fit the rule of a route with this stem."""
        if stem == "/":
            return list(self._sorted)
        begin = stem if stem.endswith("/") else stem + "/"
        first = bisect_left(self._sorted, begin, key=attrgetter("prefix"))
        return list(takewhile(lambda group: group.prefix.startswith(begin), islice(self._sorted, first, None)))

    def add_route(self, name: str, stem: str, parent: Group | None) -> None:
        """Add a route to a group, or to the root."""
        self.stems[name], self.names[stem], self._parents[name] = stem, name, parent
        self._attach(name, parent)

    def remove_route(self, name: str) -> str:
        """Remove a route; return its stem."""
        stem = self.stems.pop(name)
        del self.names[stem]
        self._detach(name, self._parents.pop(name))
        return stem

    def add_groups(self, added: Mapping[Group, Node]) -> None:
        """Add groups, each to its parent, which may be one of them."""
        for group, node in added.items():
            self.nodes[group] = node
            self._children[group] = {}
            insort(self._sorted, group)
        for group, node in added.items():
            self._attach(group, node.parent)

    def remove_group(self, group: Group) -> None:
        """Remove an empty group."""
        self._detach(group, self.nodes.pop(group).parent)
        del self._children[group]
        self.thin.pop(group, None)
        self.crowded.pop(group, None)
        del self._sorted[bisect_left(self._sorted, group)]

    def move(self, item: Item, parent: Group | None) -> None:
        """Move a route or a group to another group, or to the root."""
        self._detach(item, self.parent(item))
        if isinstance(item, str):
            self._parents[item] = parent
        else:
            self.nodes[item].parent = parent
        self._attach(item, parent)

    def _attach(self, item: Item, parent: Group | None) -> None:
        children = self._children[parent]
        children[item] = None
        if len(children) > self.limits.most:
            self.crowded[parent] = None

    def _detach(self, item: Item, parent: Group | None) -> None:
        children = self._children[parent]
        del children[item]
        if parent is not None and 2 * len(children) < self.limits.least:
            self.thin[parent] = None
