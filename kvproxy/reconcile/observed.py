"""The observed state of a store: as it was last read, with what was written since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .._text import NAMED, and_more, shown
from ..routing.decode import group_of, route_of, stored_revision
from ..routing.entry import QUARANTINE, SETUP, Entry
from ..routing.names import Names, is_kvproxys
from ..routing.route import Route
from ..store.base import Operation, Snapshot, Space
from .plan import diff

#: Characters of a corrupt record that are kept.
_KEPT: Final = 16 * 1024


@dataclass(frozen=True)
class Drift:
    """The differences that a full read has found.

    Args:
        wrong: names of the entries that differ from the desired state.
        changed: names of the entries that differ from the state observed before.
        set_aside: keys under which unreadable records are going to be kept.
        words: the same in a sentence.
        others: True if keys that kvproxy does not write have changed.
    """

    wrong: list[str]
    changed: list[str]
    set_aside: list[str]
    words: str
    others: bool = False

    @property
    def unreadable(self) -> str:
        """A sentence about unreadable records; empty if there are none."""
        kept = shown(", ".join(self.set_aside))
        return f"The store holds records of routes that kvproxy cannot read. They are kept, as {kept}." if kept else ""


class ObservedState:
    """The entries and the raw keys that a store was last seen to hold.

    Args:
        names: the hub's names of routers and services.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        #: The entries by name.
        self.entries: dict[str, Entry] = {}
        self._spaces: dict[Space, dict[str, str]] | None = None
        self._aside: dict[str, tuple[Operation, ...]] = {}
        self._foreign: dict[str, str] = {}

    def applied(self, operations: Iterable[Operation]) -> None:
        """Record the keys that were written."""
        if self._spaces is not None:
            for operation in operations:
                if operation.value is None:
                    self._spaces[operation.space].pop(operation.key, None)
                else:
                    self._spaces[operation.space][operation.key] = operation.value

    def invalidate(self) -> None:
        """Forget the raw keys: a failed write may have been applied."""
        self._spaces = None

    def matches(self, snapshot: Snapshot) -> bool:
        """Return True if the store has not changed."""
        return self._spaces == {Space.CONFIG: snapshot.config, Space.RECORDS: snapshot.records}

    @property
    def revision(self) -> str | None:
        """The revision in the store, None if there is none."""
        return self._spaces[Space.CONFIG].get(self._names.revision_key) if self._spaces is not None else None

    def release(self) -> tuple[Operation, ...]:
        """Return the operation that lets Traefik load the store again; none if the hub does not prevent it."""
        key = self._names.hold_key
        held = self._spaces is not None and key in self._spaces[Space.CONFIG]
        return (Operation(Space.CONFIG, key, None),) if held else ()

    def beside(self, setup: Mapping[str, str]) -> dict[str, str]:
        """Return the known configuration without the setup and without this hub's hold."""
        config = self._spaces[Space.CONFIG] if self._spaces is not None else {}
        return {k: v for k, v in config.items() if k not in setup and k != self._names.hold_key}

    def update(self, name: str, entry: Entry | None) -> bool:
        """Record an entry, or its removal; return True if it has changed."""
        changed = self.entries.get(name) is not entry
        if entry is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = entry
        return changed

    def difference(self, name: str, wanted: Entry | None) -> tuple[Operation, ...]:
        """Return the operations that bring an entry to its desired state."""
        return (*self._aside.pop(name, ()), *diff(self.entries.get(name), wanted))

    def compare(
        self, snapshot: Snapshot, found: Mapping[str, Entry], desired: Mapping[str, Entry], known: int
    ) -> Drift:
        """Record what was read, and return the differences.

        Args:
            snapshot: the raw keys.
            found: the same, as entries.
            desired: the desired entries.
            known: the revision that was written last.
        """
        before, self._foreign = self._foreign, _foreign(snapshot.config)
        self._spaces = {Space.CONFIG: dict(snapshot.config), Space.RECORDS: dict(snapshot.records)}
        changed = [name for name in {**found, **self.entries} if found.get(name) != self.entries.get(name)]
        wrong = [name for name in changed if found.get(name) != desired.get(name)]
        for name in changed:
            now, wanted = found.get(name), desired.get(name)
            self.update(name, wanted if now == wanted else now)
        kept = [key for name in wrong if name not in desired for key in self._set_aside(name, found.get(name))]
        revision = snapshot.config.get(self._names.revision_key, "")
        older = (stored_revision(revision) or known) < known
        words = _describe(wrong, found, desired, older) if wrong else ""
        return Drift(wrong, changed, kept, words, before != self._foreign)

    def _set_aside(self, name: str, found: Entry | None) -> list[str]:
        operations = _set_aside(found, self._names) if found is not None else ()
        if operations:
            self._aside[name] = operations
        return [operation.key for operation in operations]


def _foreign(config: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in config.items() if not is_kvproxys(key)}


def _set_aside(found: Entry, names: Names) -> tuple[Operation, ...]:
    """Return the operations that keep the unreadable records of an entry under other keys; none if all are readable.

    The diff that removes the entry removes the old keys of the records in the same transaction.
    """
    if route_of(found) is not None or group_of(found, names) is not None:
        return ()
    return tuple(
        Operation(Space.RECORDS, QUARANTINE + key, value[:_KEPT])
        for key, value in found.records.items()
        if key != SETUP
    )


def _describe(wrong: Sequence[str], found: Mapping[str, Entry], desired: Mapping[str, Entry], older: bool) -> str:
    """Return a sentence about a store that is not as the hub left it.

    Args:
        wrong: names of the entries that differ.
        found: the entries in the store, by name.
        desired: the desired entries, by name.
        older: True if the store holds an earlier revision than the one that was written last.
    """
    if not found:
        return f"The store has lost everything that the hub wrote; rewriting all {len(desired)} entries."
    strangers = [route for name in wrong if name not in desired and (route := route_of(found[name]))]
    many = f"{len(wrong)} {'entry differs' if len(wrong) == 1 else 'entries differ'}"
    if older:
        return f"The store has gone back to old data; {many} and will be repaired."
    removed = f" Routes that the hub did not add are removed: {_some(strangers)}." if strangers else ""
    others = [entry.route for name in wrong if (entry := desired.get(name)) and entry.route is not None]
    repaired = f" Repaired: {_some(others)}." if others else ""
    return f"The store is not as the hub left it: {many}.{repaired}{removed}"


def _some(routes: Sequence[Route]) -> str:
    specs = [route.routespec for route in routes]
    return shown(", ".join(specs[:NAMED])) + and_more(len(specs))
