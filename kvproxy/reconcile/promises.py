"""What callers wait for: that an entry is in the store, or that the store has been read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence


class Promises:
    """Futures of commits, by the name of the entry, and of full reads."""

    def __init__(self) -> None:
        self._commits: dict[str, list[asyncio.Future[None]]] = {}
        self._reads: list[asyncio.Future[None]] = []

    def commit(self, name: str) -> asyncio.Future[None]:
        """Resolved when what is desired now of this name is in the store."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.setdefault(name, []).append(done)
        return done

    def read(self) -> asyncio.Future[None]:
        """Resolved when the store has been read in full."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reads.append(done)
        return done

    @property
    def reads(self) -> bool:
        """Whether somebody waits for a read."""
        return bool(self._reads)

    def take_commits(self, names: Iterable[str]) -> dict[str, list[asyncio.Future[None]]]:
        """Those that wait for entries, which are going to be settled or put back."""
        return {name: self._commits.pop(name, []) for name in names}

    def put_back_commits(self, commits: Mapping[str, list[asyncio.Future[None]]]) -> None:
        """Let these wait on."""
        for name, futures in commits.items():
            self._commits[name] = futures + self._commits.get(name, [])

    def take_reads(self) -> list[asyncio.Future[None]]:
        """Those that wait for a read, which are going to be settled or put back."""
        reads, self._reads = self._reads, []
        return reads

    def put_back_reads(self, reads: Sequence[asyncio.Future[None]]) -> None:
        """Let these wait on."""
        self._reads = [*reads, *self._reads]

    def fail_all(self, error: Exception) -> None:
        """Let everybody fail."""
        for futures in self.take_commits(list(self._commits)).values():
            settle(futures, error)
        settle(self.take_reads(), error)


def settle(futures: Iterable[asyncio.Future[None]], error: Exception | None = None) -> None:
    """Resolve futures that are not resolved yet, or let them fail."""
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
