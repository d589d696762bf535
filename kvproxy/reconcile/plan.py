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
from .view import NextCommit

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


def setup_batches(
    operations: Iterable[Operation], capabilities: Capabilities
) -> tuple[list[tuple[Operation, ...]], NextCommit]:
    """Split the operations of the setup into batches, and say if Traefik may load these one by one.

    Another proxy may have left more routers than one transaction takes keys. Each of them gets its lower priority by
    a key of its own, so these operations are independent. If the rest exceeds a transaction, each operation is a batch
    by itself, and Traefik must be kept from loading a part of them.
    """
    together: list[Operation] = []
    batches: list[tuple[Operation, ...]] = []
    for operation in operations:
        if operation.value is not None and is_lowering(operation.key, operation.value):
            batches.append((operation,))
        else:
            together.append(operation)
    if together:
        batches.insert(0, tuple(together))
    if all(_fits(_measure(batch), capabilities) for batch in batches):
        return batches, NextCommit.IN_PARTS
    return [(operation,) for batch in batches for operation in batch], NextCommit.WHOLE


def revision_operation(names: Names, revision: int) -> Operation:
    """Return the operation that writes a revision; all revisions have the same length as text."""
    return Operation(Space.CONFIG, names.revision_key, f"{revision:013d}")


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
    kind: NextCommit,
    names: Names,
    revision: int | None,
    release: Sequence[Operation] = (),
) -> list[list[Transaction]]:
    """Return the transactions of one commit; the last one notifies Traefik, if there is something new for it.

    Args:
        batches: see :func:`transactions`.
        capabilities: the limits of a transaction.
        kind: the part of the commit that Traefik may load.
        names: the hub's names of its own keys.
        revision: the number that Traefik is to be notified of; None if of none.
        release: lets Traefik load the store again, if it is kept from that.

    Returns:
        the transactions in groups. Between two groups, all reads that Traefik has begun must end: a read may have the
        keys before a transaction and the values after it, but then never the keys of the first group and the values of
        the third.
    """
    last = [revision_operation(names, revision)] if revision is not None else []
    if kind is NextCommit.BETWEEN_READS and batches and last and not capabilities.whole_reads:
        parts = ([_hold(names, "true")],), batches, ([*last, _hold(names, None)],)
        return [transactions(part, capabilities, wake=part is parts[-1]) for part in parts]
    planned = transactions(batches, capabilities, [*last, *release], bool(last))
    if kind is not NextCommit.IN_PARTS and len(planned) > 1:
        held = [[_hold(names, "true")], *batches]
        planned = transactions(held, capabilities, [*last, _hold(names, None)], bool(last))
    return [planned]


def _hold(names: Names, value: str | None) -> Operation:
    """Return the operation that keeps Traefik from loading anything or, with None, no longer does."""
    return Operation(Space.CONFIG, names.hold_key, value)


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
