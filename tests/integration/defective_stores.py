"""Stores with one defect each, to test the conformance kit with."""

from __future__ import annotations

import asyncio
import dataclasses

from kvproxy.errors import StoreAuthError, StoreError
from kvproxy.store import Capabilities, Operation, Snapshot, Space, Transaction
from kvproxy.testing.memory import MemoryStore


def changed(transaction: Transaction, operations: list[Operation]) -> Transaction:
    """The transaction with other operations."""
    return dataclasses.replace(transaction, operations=tuple(operations))


class Sound(MemoryStore):
    """None at all."""


class TornByItsLimit(MemoryStore):
    """Applies the first part of a transaction that is too large, and then says no."""

    async def apply(self, transaction: Transaction) -> None:
        most = self.capabilities.max_operations or 500
        await super().apply(changed(transaction, list(transaction.operations[:most])))
        if len(transaction.operations) > most:
            raise StoreError("Too many operations.")


class TornByOthers(MemoryStore):
    """Lets others in between two operations."""

    async def apply(self, transaction: Transaction) -> None:
        for operation in transaction.operations:
            await super().apply(changed(transaction, [operation]))
            if len(transaction.operations) < 10:
                await asyncio.sleep(0)


class ClaimsTooMuch(MemoryStore):
    """Takes one operation less than it says."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.capabilities = Capabilities(max_operations=50)

    async def apply(self, transaction: Transaction) -> None:
        if len(transaction.operations) >= 50:
            raise StoreError("Too many operations.")
        await super().apply(transaction)


class Bleeding(MemoryStore):
    """Lists what begins with the same characters as its root."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._root = str(args[2])

    async def snapshot(self) -> Snapshot:
        found = await super().snapshot()
        for root, space in self._server._spaces.items():
            if root.startswith(self._root) and not root.endswith("-hub"):
                found.config.update(space)
        return found


class LosesUnicode(MemoryStore):
    """Writes ASCII."""

    async def apply(self, transaction: Transaction) -> None:
        def ascii_only(text: str | None) -> str | None:
            return text if text is None else text.encode("ascii", "replace").decode()

        await super().apply(
            changed(transaction, [dataclasses.replace(o, value=ascii_only(o.value)) for o in transaction.operations])
        )


class Strips(MemoryStore):
    """Takes blanks at the ends of a value for dirt."""

    async def apply(self, transaction: Transaction) -> None:
        await super().apply(
            changed(
                transaction,
                [dataclasses.replace(o, value=o.value and o.value.strip(" ")) for o in transaction.operations],
            )
        )


class ForgetsDeletes(MemoryStore):
    """Never removes a record."""

    async def apply(self, transaction: Transaction) -> None:
        kept = [o for o in transaction.operations if o.value is not None or o.space is Space.CONFIG]
        await super().apply(changed(transaction, kept))


class DeletesTrees(MemoryStore):
    """Takes a key for a prefix when it deletes."""

    async def apply(self, transaction: Transaction) -> None:
        more = [
            Operation(Space.CONFIG, key, None)
            for o in transaction.operations
            if o.value is None and o.space is Space.CONFIG
            for key in self.config
            if key.startswith(o.key + "/")
        ]
        await super().apply(changed(transaction, [*transaction.operations, *more]))


class Leaks(MemoryStore):
    """Lets its client's exceptions out."""

    def _fail(self, *, writing: bool = False) -> None:
        if self._server.stopped:
            raise ConnectionError("driver: no route to host")


class Forgets(MemoryStore):
    """Keeps nothing for the next connection."""

    async def aclose(self) -> None:
        self.config.clear()
        self.records.clear()


class ClosesOnce(MemoryStore):
    """Cannot be closed twice."""

    closed = False

    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class EmptyWithoutRights(MemoryStore):
    """Shows an empty table to clients without the right to read."""

    async def check(self) -> list[str]:
        raise StoreAuthError("No.")


class LeavesItsProbe(MemoryStore):
    """Writes a key to see who is woken, and leaves it there."""

    async def notifies_per_key(self) -> bool:
        self.config["probe"] = "1"
        return await super().notifies_per_key()


class OnePage(MemoryStore):
    """Lists no more than what its server gives at once."""

    async def snapshot(self) -> Snapshot:
        found = await super().snapshot()
        return Snapshot(dict(list(found.config.items())[:1000]), found.records)
