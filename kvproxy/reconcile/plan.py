"""The smallest commit that turns what is into what should be, cut into transactions that a store can take.

>>> now = Entry({"a": "1", "b": "2"}, {})
>>> [(o.key, o.value) for o in diff(now, Entry({"a": "1", "c": "3"}, {}))]
[('c', '3'), ('b', None)]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from ..errors import StoreError
from ..routing.entry import Entry
from ..routing.legacy import is_lowering
from ..routing.names import Names
from ..store.base import Capabilities, Operation, Space, Transaction

NOTHING = Entry({}, {})


def diff(current: Entry | None, desired: Entry | None) -> tuple[Operation, ...]:
    """The operations that turn one entry into another; keys that are equal are not touched."""
    if current is desired:
        return ()
    before, after = current or NOTHING, desired or NOTHING
    return (
        *_sets(Space.CONFIG, before.config, after.config),
        *_sets(Space.RECORDS, before.records, after.records),
        *_deletes(Space.CONFIG, before.config, after.config),
        *_deletes(Space.RECORDS, before.records, after.records),
    )


def _sets(space: Space, before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[Operation]:
    return (Operation(space, key, value) for key, value in after.items() if before.get(key) != value)


def _deletes(space: Space, before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[Operation]:
    return (Operation(space, key, None) for key in before if key not in after)


def apart(operations: Iterable[Operation]) -> list[tuple[Operation, ...]]:
    """The operations of one entry in groups that need not stay together.

    There may be more routers of another proxy to be put behind ours than one transaction takes keys, and each is so by
    itself.
    """
    together: list[Operation] = []
    alone: list[tuple[Operation, ...]] = []
    for operation in operations:
        if operation.value is not None and is_lowering(operation.key, operation.value):
            alone.append((operation,))
        else:
            together.append(operation)
    return [tuple(together), *alone] if together else alone


def singly(groups: Sequence[tuple[Operation, ...]], capabilities: Capabilities) -> list[tuple[Operation, ...]]:
    """Groups of operations as they are or, if one is more than a transaction takes, each operation by itself.

    Traefik must then be kept from loading a part of them.
    """
    if all(_fits(*_measure(group), capabilities) for group in groups):
        return list(groups)
    return [(operation,) for group in groups for operation in group]


def revision_operation(names: Names, revision: int) -> Operation:
    """What gives the configuration this revision; texts of all revisions are as long."""
    return Operation(Space.CONFIG, names.revision_key, f"{revision:013d}")


def hold_operation(names: Names) -> Operation:
    """What keeps Traefik from loading anything."""
    return Operation(Space.CONFIG, names.hold_key, "true")


def apply(entry: Entry | None, operations: Iterable[Operation]) -> Entry | None:
    """What an entry is after the operations; None if nothing is left of it."""
    spaces = {Space.CONFIG: dict((entry or NOTHING).config), Space.RECORDS: dict((entry or NOTHING).records)}
    for operation in operations:
        if operation.value is None:
            spaces[operation.space].pop(operation.key, None)
        else:
            spaces[operation.space][operation.key] = operation.value
    left = Entry(spaces[Space.CONFIG], spaces[Space.RECORDS])
    return left if left.config or left.records else None


def commit(
    groups: Sequence[Sequence[Operation]],
    capabilities: Capabilities,
    last: Sequence[Operation],
    hold: Sequence[Operation] = (),
    release: Sequence[Operation] = (),
) -> list[Transaction]:
    """The transactions of one commit; Traefik is woken by the last, if there is something to tell it.

    Args:
        groups: see :func:`transactions`.
        capabilities: the limits of a transaction.
        last: the revision, if Traefik is to be told of one.
        hold: what keeps Traefik from loading the store until all is written, if that takes several transactions.
        release: what lets it load again.
    """
    wake = bool(last)
    planned = transactions(groups, capabilities, [*last, *release], wake)
    if not hold or len(planned) < 2:
        return planned
    end = [*last, *(Operation(o.space, o.key, None) for o in hold)]
    return transactions([hold, *groups], capabilities, end, wake)


def transactions(
    groups: Iterable[Sequence[Operation]],
    capabilities: Capabilities,
    last: Sequence[Operation] = (),
    wake: bool = True,
) -> list[Transaction]:
    """Pack groups of operations into as few transactions as their order allows.

    Args:
        groups: each the operations of one route, which stay together. Only where others have left more below its name
            than a transaction takes do the deletions follow in transactions of their own.
        capabilities: the limits of a transaction.
        last: operations that stand in the last transaction, which is there if only for these.
        wake: whether the last transaction wakes Traefik; the others never do.

    Raises:
        StoreError: if what one group sets is more than a transaction can take.
    """
    batches: list[list[Operation]] = []
    count = size = 0
    for operations in chain.from_iterable(_parts(group, capabilities) for group in (*groups, last)):
        more, bytes_more = _measure(operations)
        if not _fits(more, bytes_more, capabilities):
            raise StoreError(
                f"A change of {more} keys and {bytes_more} bytes is more than one transaction of the store takes; "
                f"shorten the data of the route or the extra configuration."
            )
        if batches and _fits(count + more, size + bytes_more, capabilities):
            batches[-1].extend(operations)
            count, size = count + more, size + bytes_more
        else:
            batches.append(list(operations))
            count, size = more, bytes_more
    final = len(batches) - 1
    return [Transaction(tuple(batch), wake and index == final) for index, batch in enumerate(batches)]


def _parts(group: Sequence[Operation], capabilities: Capabilities) -> Iterable[Sequence[Operation]]:
    """What of a group has to stay together."""
    if _fits(*_measure(group), capabilities):
        return [group] if group else []
    sets = [operation for operation in group if operation.value is not None]
    deletions = [[operation] for operation in group if operation.value is None]
    return [sets, *deletions] if sets else deletions


def _measure(operations: Sequence[Operation]) -> tuple[int, int]:
    return len(operations), sum(operation.size for operation in operations)


def _fits(count: int, size: int, capabilities: Capabilities) -> bool:
    operations, size_limit = capabilities.max_operations, capabilities.max_bytes
    return (operations is None or count <= operations) and (size_limit is None or size <= size_limit)
