"""The smallest commit from the observed to the desired state, split into transactions within the store's limits.

>>> now = Entry("r", {"a": "1", "b": "2"}, {})
>>> [(o.key, o.value) for o in diff(now, Entry("r", {"a": "1", "c": "3"}, {}))]
[('c', '3'), ('b', None)]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ..errors import StoreError
from ..routing.entry import Entry, Size
from ..routing.legacy import is_lowering
from ..routing.names import Names
from ..store.base import Capabilities, Operation, Space, Transaction

NOTHING: Final = Entry("", {}, {})


def diff(current: Entry | None, desired: Entry | None) -> tuple[Operation, ...]:
    """Return the operations that turn one entry into another; equal keys are not touched."""
    if current is desired:
        return ()
    before, after = current or NOTHING, desired or NOTHING
    both = ((Space.CONFIG, before.config, after.config), (Space.RECORDS, before.records, after.records))
    sets = [Operation(space, k, v) for space, old, new in both for k, v in new.items() if old.get(k) != v]
    deletes = [Operation(space, k, None) for space, old, new in both for k in old if k not in new]
    return (*sets, *deletes)


def apart(operations: Iterable[Operation]) -> list[tuple[Operation, ...]]:
    """Split the operations of the setup into batches that need not stay together.

    Another proxy may have left more routers than one transaction takes keys. Each of them gets its lower priority by
    a key of its own, so these operations are independent.
    """
    together: list[Operation] = []
    alone: list[tuple[Operation, ...]] = []
    for operation in operations:
        if operation.value is not None and is_lowering(operation.key, operation.value):
            alone.append((operation,))
        else:
            together.append(operation)
    return [tuple(together), *alone] if together else alone


def singly(batches: Sequence[tuple[Operation, ...]], capabilities: Capabilities) -> list[tuple[Operation, ...]]:
    """Return the batches as they are or, if one exceeds a transaction, each operation by itself.

    In that case Traefik must be kept from loading a part of them.
    """
    if all(_fits(_measure(batch), capabilities) for batch in batches):
        return list(batches)
    return [(operation,) for batch in batches for operation in batch]


def revision_operation(names: Names, revision: int) -> Operation:
    """Return the operation that writes a revision; all revisions have the same length as text."""
    return Operation(Space.CONFIG, names.revision_key, f"{revision:013d}")


def hold_operation(names: Names) -> Operation:
    """Return the operation that keeps Traefik from loading anything."""
    return Operation(Space.CONFIG, names.hold_key, "true")


def check_size(entry: Entry, capabilities: Capabilities) -> None:
    """Refuse a new entry that no transaction of the store can hold.

    Raises:
        StoreError: with its size.
    """
    if not _fits(entry.size, capabilities):
        raise _too_large(entry.size)


def commit(
    batches: Sequence[Sequence[Operation]],
    capabilities: Capabilities,
    last: Sequence[Operation],
    hold: Sequence[Operation] = (),
    release: Sequence[Operation] = (),
) -> list[Transaction]:
    """Return the transactions of one commit; the last one notifies Traefik, if there is something new for it.

    Args:
        batches: see :func:`transactions`.
        capabilities: the limits of a transaction.
        last: the revision, if Traefik is to be notified of one.
        hold: keeps Traefik from loading the store until everything is written, if that takes several transactions.
        release: lets Traefik load the store again.
    """
    wake = bool(last)
    planned = transactions(batches, capabilities, [*last, *release], wake)
    if not hold or len(planned) < 2:
        return planned
    end = [*last, *(Operation(o.space, o.key, None) for o in hold)]
    return transactions([hold, *batches], capabilities, end, wake)


def transactions(
    batches: Iterable[Sequence[Operation]],
    capabilities: Capabilities,
    last: Sequence[Operation] = (),
    wake: bool = True,
) -> list[Transaction]:
    """Pack batches of operations into as few transactions as their order allows.

    Args:
        batches: the operations of one route each, which stay together. If others have left more keys below its name
            than a transaction takes, the deletions follow in transactions of their own.
        capabilities: the limits of a transaction.
        last: operations for the last transaction; they get one of their own if there is no other.
        wake: True if the last transaction notifies Traefik; the others never do.

    Raises:
        StoreError: if the keys that one batch sets exceed a transaction.
    """
    packed: list[list[Operation]] = []
    size = Size(0, 0)
    for batch in (*batches, last):
        for operations, more in _parts(batch, capabilities):
            both = Size(size.keys + more.keys, size.bytes + more.bytes)
            if packed and _fits(both, capabilities):
                packed[-1].extend(operations)
                size = both
            else:
                packed.append(list(operations))
                size = more
    final = len(packed) - 1
    return [Transaction(tuple(operations), wake and index == final) for index, operations in enumerate(packed)]


def _parts(batch: Sequence[Operation], capabilities: Capabilities) -> list[tuple[Sequence[Operation], Size]]:
    """Return the parts of a batch that have to stay together, with their sizes.

    Raises:
        StoreError: if one exceeds a transaction.
    """
    size = _measure(batch)
    if _fits(size, capabilities):
        return [(batch, size)] if batch else []
    sets = [operation for operation in batch if operation.value is not None]
    # A batch that is too large only because of its deletions: the route is written whole, then the rest is deleted.
    parts: list[Sequence[Operation]] = [sets] if sets else []
    parts += [[operation] for operation in batch if operation.value is None]
    measured = [(part, _measure(part)) for part in parts]
    for _, size in measured:
        if not _fits(size, capabilities):
            raise _too_large(size)
    return measured


def _measure(operations: Sequence[Operation]) -> Size:
    """Return the number of operations and the sum of their sizes, see :attr:`.Operation.size`."""
    texts = "".join([operation.key + (operation.value or "") for operation in operations])
    return Size(len(operations), len(texts.encode(errors="surrogatepass")))


def _fits(size: Size, capabilities: Capabilities) -> bool:
    keys, most_bytes = capabilities.max_operations, capabilities.max_bytes
    return (keys is None or size.keys <= keys) and (most_bytes is None or size.bytes <= most_bytes)


def _too_large(size: Size) -> StoreError:
    return StoreError(
        f"A change of {size.keys} keys and {size.bytes} bytes is more than one transaction of the store takes; "
        f"shorten the data of the route or the extra configuration."
    )
