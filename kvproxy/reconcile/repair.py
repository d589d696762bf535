"""What a full read of a store finds that should not be so, in operations and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from .._text import shown
from ..routing.decode import group_of, route_of
from ..routing.entry import QUARANTINE, SETUP, Entry
from ..routing.names import Names
from ..routing.route import Route
from ..store.base import Operation, Space

#: Routes that are named in a sentence.
_NAMED: Final = 3
#: Characters of a corrupt record that are kept.
_KEPT: Final = 16 * 1024


def set_aside(found: Entry, names: Names) -> tuple[Operation, ...]:
    """The operations that keep the records of an entry that nobody can read, out of the way; none if they are fine.

    The diff that removes the entry removes the records from their old place in the same transaction.
    """
    if route_of(found) is not None or group_of(found, names) is not None:
        return ()
    return tuple(
        Operation(Space.RECORDS, QUARANTINE + key, value[:_KEPT])
        for key, value in found.records.items()
        if key != SETUP
    )


def describe(wrong: Sequence[str], found: Mapping[str, Entry], desired: Mapping[str, Entry], older: bool) -> str:
    """A sentence about a store that is not as the hub left it.

    Args:
        wrong: names of the entries that differ.
        found: what the store holds, by name.
        desired: what it is to hold.
        older: whether the store holds an earlier revision than the one that was written last.
    """
    if not found:
        return f"The store has lost everything that the hub wrote; writing all {len(desired)} entries again."
    strangers = [route for name in wrong if name not in desired and (route := route_of(found[name]))]
    many = f"{len(wrong)} {'entry differs' if len(wrong) == 1 else 'entries differ'}"
    if older:
        return f"The store has gone back to what it held earlier; {many} and will be put right."
    removed = f" Routes that the hub did not make are removed: {_some(strangers)}." if strangers else ""
    others = [entry.route for name in wrong if (entry := desired.get(name)) and entry.route is not None]
    put_right = f" Put right are: {_some(others)}." if others else ""
    return f"The store is not as the hub left it: {many}.{put_right}{removed}"


def _some(routes: Sequence[Route]) -> str:
    specs = [route.routespec for route in routes]
    more = f" and {len(specs) - _NAMED} more" if len(specs) > _NAMED else ""
    return shown(", ".join(specs[:_NAMED])) + more
