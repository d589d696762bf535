"""Group membership: the group that contains each route and group."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from itertools import takewhile
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
        self._children: dict[Group | None, dict[Item, None]] = {None: {}}
        self._stems: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._parents: dict[str, Group | None] = {}
        self._sorted: list[Group] = []
        self._crowded: dict[Group | None, None] = {}
        self._thin: dict[Group, None] = {}

    @property
    def empty(self) -> bool:
        """True if there is no group."""
        return not self.nodes

    @property
    def outermost(self) -> list[Item]:
        """The routes and groups that are in no group."""
        return list(self._children[None])

    def fallback(self, group: Group) -> str | None:
        """Name of the route that requests lead to which fit the group and no route in it, None if there is none."""
        return next((self._names[stem] for stem in group.above if stem in self._names), None)

    def _string(self, item: Item) -> str:
        return self._stems[item] if isinstance(item, str) else item.prefix

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
        insort(self._sorted, group)
        self._attach(group, parent)

    def _remove(self, group: Group) -> None:
        self._detach(group, self.nodes.pop(group).parent)
        del self._children[group]
        self._thin.pop(group, None)
        self._crowded.pop(group, None)
        del self._sorted[bisect_left(self._sorted, group)]

    def under(self, stem: str) -> list[Group]:
        """The groups of which all requests fit the rule of a route with this stem."""
        if stem == "/":
            return list(self._sorted)
        begin = stem if stem.endswith("/") else stem + "/"
        following = (self._sorted[index] for index in range(bisect_left(self._sorted, Group(begin)), len(self._sorted)))
        return list(takewhile(lambda group: group.prefix.startswith(begin), following))
