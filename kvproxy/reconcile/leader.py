"""Acquiring, renewing and releasing a hub's lease in the store; see :mod:`kvproxy.reconcile.lease`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from datetime import datetime, timezone
from typing import Final

import psutil

from .._types import Log
from ..errors import OwnershipError, StoreError, StoreWriteRefusedError
from ..store.base import Store
from .lease import LEASE_DURATION, RENEW_INTERVAL, Lease, conflict_message, decode, must_yield

#: Seconds between two reads of the lease of a hub that may be dead.
_LOOK: Final = 0.5
#: Seconds that releasing the lease may take.
_FAREWELL: Final = 2.0


class LeaseHolder:
    """Holds a hub's lease on its roots in the store.

    Args:
        store: keeps the lease; a store that keeps none does not exclude other hubs.
        place: location of the routes, for messages: ``below 'traefik' and 'jupyterhub'``.
        log: takes a message if the lease of another hub is waited for.
    """

    def __init__(self, store: Store, place: str, log: Log) -> None:
        self._store = store
        self._place = place
        self._log = log
        self._mine = new_lease()
        self._next = 0.0
        self._other: str | None = None
        self._other_since = 0.0
        self._conflict: str | None = None

    async def acquire(self) -> None:
        """Acquire the lease.

        Raises:
            OwnershipError: if another hub holds it.
            StoreError: the store's error.
        """
        text = await self._store.read_lease()
        found = decode(text)
        if found is not None and not is_dead(found):
            self._log.info("Checking whether another hub (%s) still uses these routes.", found)
            await self._watch(text)
        self._mine = self._mine.after(found)
        await self._write()

    async def _watch(self, text: str | None) -> None:
        deadline = self._now() + LEASE_DURATION
        while self._now() < deadline:
            await asyncio.sleep(_LOOK)
            now = await self._store.read_lease()
            if now != text and (found := decode(now)) is not None:
                raise OwnershipError(conflict_message(found, self._place, taken_over=False))
            if now is None:
                return

    def pause(self, now: float) -> float:
        """Seconds until the next renewal."""
        return max(self._next - now, 0.0)

    async def renew(self) -> bool:
        """Renew the lease if it is due; return True if the roots have come back from another hub.

        Raises:
            OwnershipError: if another hub has taken over; then nothing may be written.
            StoreError: the store's error.
        """
        if self._now() < self._next:
            if self._conflict is not None:
                raise OwnershipError(self._conflict)
            return False
        text = await self._store.read_lease()
        found = decode(text)
        if found is not None and must_yield(self._mine, found):
            if not self._silent(text) and not is_dead(found):
                self._conflict = conflict_message(found, self._place, taken_over=True)
                self._next = self._now() + RENEW_INTERVAL
                raise OwnershipError(self._conflict)
            self._mine = self._mine.after(found)
        back, self._conflict = self._conflict is not None, None
        self._mine = self._mine.next()
        await self._write()
        return back

    async def release(self) -> None:
        """Release the lease, so that another hub need not wait. Errors and timeouts of the store are ignored."""
        with contextlib.suppress(StoreError, asyncio.TimeoutError):
            await asyncio.wait_for(self._release(), _FAREWELL)

    async def _release(self) -> None:
        found = decode(await self._store.read_lease())
        if found is not None and found.instance == self._mine.instance:
            await self._store.write_lease(None)

    def _silent(self, text: str | None) -> bool:
        """Return True if another hub's lease has not changed for so long that the hub must be dead."""
        if text != self._other:
            self._other, self._other_since = text, self._now()
        return self._now() - self._other_since >= LEASE_DURATION

    async def _write(self) -> None:
        # A full store can still be read and served from; the next commit reports that it is full.
        with contextlib.suppress(StoreWriteRefusedError):
            await self._store.write_lease(self._mine.encode())
        self._next = self._now() + RENEW_INTERVAL

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def new_lease() -> Lease:
    """Return a lease of this process, with a new instance at each call."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    born = str(psutil.Process().create_time())
    return Lease(secrets.token_hex(8), socket.gethostname(), _machine(), os.getpid(), born, now)


def _machine() -> str:
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def is_dead(lease: Lease) -> bool:
    """Return True if a lease belongs to an ended process of this machine. Other machines' processes are unknown."""
    if lease.machine != _machine():
        return False
    try:
        return str(psutil.Process(lease.pid).create_time()) != lease.born
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
