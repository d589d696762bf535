"""The smallest commit that turns what is into what should be, cut into transactions that a store can take.

>>> now = Entry({"a": "1", "b": "2"}, {})
>>> [(o.key, o.value) for o in diff(now, Entry({"a": "1", "c": "3"}, {}))]
[('c', '3'), ('b', None)]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .errors import StoreError
from .names import Names
from .store import Capabilities, Operation, Space, Transaction
from .translate import Entry

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


def revision_operation(names: Names, revision: int) -> Operation:
    """What gives the configuration this revision; texts of all revisions are as long."""
    return Operation(Space.CONFIG, names.revision_key, f"{revision:013d}")


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


def transactions(
    groups: Iterable[Sequence[Operation]],
    capabilities: Capabilities,
    last: Sequence[Operation] = (),
    wake: bool = True,
) -> list[Transaction]:
    """Pack groups of operations into as few transactions as their order allows.

    Args:
        groups: each the operations of one route, which stay together.
        capabilities: the limits of a transaction.
        last: operations that stand in the last transaction, which is there if only for these.
        wake: whether the last transaction wakes Traefik; the others never do.

    Raises:
        StoreError: if one group alone is more than a transaction can take.
    """
    batches: list[list[Operation]] = []
    count = size = 0
    pieces = (piece for operations in groups for piece in _pieces(operations, capabilities))
    for operations in (*pieces, last):
        if not operations:
            continue
        more, bytes_more = len(operations), sum(operation.size for operation in operations)
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


def _pieces(operations: Sequence[Operation], capabilities: Capabilities) -> Iterable[Sequence[Operation]]:
    """A group as it is, or, if that is too much, what it sets and then what it deletes, a few keys at a time.

    No route has so many keys, but there may be as many as somebody has written below its name.
    """
    most = capabilities.max_operations
    if most is None or len(operations) <= most:
        return [operations]
    deletes = [operation for operation in operations if operation.value is None]
    step = max(most // 2, 1)
    return [
        [operation for operation in operations if operation.value is not None],
        *(deletes[start : start + step] for start in range(0, len(deletes), step)),
    ]


def _fits(count: int, size: int, capabilities: Capabilities) -> bool:
    operations, size_limit = capabilities.max_operations, capabilities.max_bytes
    return (operations is None or count <= operations) and (size_limit is None or size <= size_limit)
