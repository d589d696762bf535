"""Names of entries that differ from the store, each with the time by which it has to be written.

A change is due at once. A deletion may wait, as each commit makes Traefik read and rebuild its whole configuration. A
commit takes all names as soon as one of them is due, so a deletion that waits goes with the next change.

>>> names = Unwritten()
>>> names.add(["ada"], by=5.0)
>>> names.take(now=4.0), names.pause(now=4.0)
([], 1.0)
>>> names.add(["bob"])
>>> names.take(now=4.0)
['ada', 'bob']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

#: The time of a name that may not wait.
AT_ONCE: Final = -math.inf


class Unwritten(Collection[str]):
    """These names. Times are those of any clock, in seconds.

    Args:
        names: the first names; they may not wait.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by = dict.fromkeys(names, AT_ONCE)

    def __len__(self) -> int:
        return len(self._by)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by)

    def __contains__(self, name: object) -> bool:
        return name in self._by

    def add(self, names: Iterable[str], by: float = AT_ONCE) -> None:
        """Add names that have to be written by a time; a name that is there already keeps the earlier time."""
        for name in names:
            self._by[name] = min(by, self._by.get(name, by))

    def may_wait(self, now: float, name: str) -> bool:
        """Return True if this name is there and is not due."""
        return self._by.get(name, AT_ONCE) > now

    def due(self, now: float) -> bool:
        """Return True if there is a name that may not wait."""
        return min(self._by.values(), default=math.inf) <= now

    def all_may_wait(self, now: float) -> bool:
        """Return True if there are names and all of them may wait."""
        return min(self._by.values(), default=now) > now

    def pause(self, now: float) -> float:
        """Return the seconds until the next name that may wait now is due; infinity if there is none."""
        return min([by for by in self._by.values() if by > now], default=math.inf) - now

    def take(self, now: float, may: Callable[[str], bool] | None = None, *, anyway: bool = False) -> list[str]:
        """Return, and forget, the names of the commit that is due now; none if all of them may wait.

        Args:
            now: the time.
            may: returns True if a name may be written now; the others are left, even if they are due. None for all.
            anyway: True if there is a commit even if all names may wait.
        """
        names = self._by if may is None else {name: by for name, by in self._by.items() if may(name)}
        if not anyway and min(names.values(), default=math.inf) > now:
            return []
        self._by = {} if may is None else {name: by for name, by in self._by.items() if name not in names}
        return list(names)
