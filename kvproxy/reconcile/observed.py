"""What a store is believed to hold: as it was read last, and with what was written since."""

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
from .plan import apart, diff

#: Characters of a corrupt record that are kept.
_KEPT: Final = 16 * 1024


@dataclass(frozen=True)
class Drift:
    """What a full read has come to.

    Args:
        wrong: names of the entries that are not as they should be.
        changed: names of those that are not as they were believed to be.
        set_aside: keys under which records that nobody can read are going to be kept.
        words: the same in a sentence.
        others: whether keys have changed that are no kvproxy's.
    """

    wrong: list[str]
    changed: list[str]
    set_aside: list[str]
    words: str
    others: bool = False

    @property
    def unreadable(self) -> str:
        """A sentence about the records that nobody can read; empty if there are none."""
        kept = shown(", ".join(self.set_aside))
        return f"The store holds records of routes that kvproxy cannot read. They are kept, as {kept}." if kept else ""


class ObservedState:
    """The entries and the raw keys that a store is believed to hold.

    Args:
        names: how the hub calls its routers and services.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        #: The entries by name.
        self.entries: dict[str, Entry] = {}
        self._spaces: dict[Space, dict[str, str]] | None = None
        self._aside: dict[str, tuple[Operation, ...]] = {}
        self._foreign: dict[str, str] = {}

    def applied(self, operations: Iterable[Operation]) -> None:
        """Learn which keys were written."""
        if self._spaces is not None:
            for operation in operations:
                if operation.value is None:
                    self._spaces[operation.space].pop(operation.key, None)
                else:
                    self._spaces[operation.space][operation.key] = operation.value

    def invalidate(self) -> None:
        """Forget the raw keys: nobody knows what a write that failed has come to."""
        self._spaces = None

    def matches(self, snapshot: Snapshot) -> bool:
        """Whether just this is what was read."""
        return self._spaces == {Space.CONFIG: snapshot.config, Space.RECORDS: snapshot.records}

    @property
    def revision(self) -> str | None:
        """The revision in the store, None if there is none."""
        return self._spaces[Space.CONFIG].get(self._names.revision_key) if self._spaces is not None else None

    def release(self) -> tuple[Operation, ...]:
        """What lets Traefik load the store again; nothing if it is not kept from it."""
        key = self._names.hold_key
        held = self._spaces is not None and key in self._spaces[Space.CONFIG]
        return (Operation(Space.CONFIG, key, None),) if held else ()

    def beside(self, setup: Mapping[str, str]) -> dict[str, str]:
        """The configuration without the setup and this hub's hold, as far as it is known."""
        config = self._spaces[Space.CONFIG] if self._spaces is not None else {}
        return {k: v for k, v in config.items() if k not in setup and k != self._names.hold_key}

    def update(self, name: str, entry: Entry | None) -> bool:
        """Learn what an entry is; says whether that is another one than before."""
        changed = self.entries.get(name) is not entry
        if entry is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = entry
        return changed

    def difference(self, name: str, wanted: Entry | None) -> list[tuple[Operation, ...]]:
        """Batches of operations that make an entry what it should be, see :func:`.transactions`."""
        return apart((*self._aside.pop(name, ()), *diff(self.entries.get(name), wanted)))

    def compare(
        self, snapshot: Snapshot, found: Mapping[str, Entry], desired: Mapping[str, Entry], known: int
    ) -> Drift:
        """Learn what was read.

        Args:
            snapshot: the raw keys.
            found: the same, as entries.
            desired: what should be there.
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


def _describe(wrong: Sequence[str], found: Mapping[str, Entry], desired: Mapping[str, Entry], older: bool) -> str:
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
    return shown(", ".join(specs[:NAMED])) + and_more(len(specs))
