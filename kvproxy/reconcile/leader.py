"""Keeping a hub's claim to its roots in the store; see :mod:`kvproxy.reconcile.lease`."""

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
from .lease import LEASE_DURATION, RENEW_INTERVAL, Lease, conflict, decode, must_yield

#: Seconds between two looks at the claim of a hub that may be dead.
_LOOK: Final = 0.5
#: Seconds that giving up the claim to the store may take.
_FAREWELL: Final = 2.0


class LeaseHolder:
    """The time for which a hub is the one at work.

    Args:
        store: where the claim is; one that keeps none lets everybody work.
        place: where the routes are, for sentences: ``below 'traefik' and 'jupyterhub'``.
        log: where to say whom it waits for.
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
        """Become the hub at work.

        Raises:
            OwnershipError: if another one is.
            StoreError: whatever the store says.
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
                raise OwnershipError(conflict(found, self._place, taken_over=False))
            if now is None:
                return

    def pause(self, now: float) -> float:
        """Seconds until the next beat."""
        return max(self._next - now, 0.0)

    async def renew(self) -> bool:
        """Renew the claim if it is time to; says whether the roots have come back from another hub.

        Raises:
            OwnershipError: if another hub has taken over; nothing may be written then.
            StoreError: whatever the store says.
        """
        if self._now() < self._next:
            if self._conflict is not None:
                raise OwnershipError(self._conflict)
            return False
        text = await self._store.read_lease()
        found = decode(text)
        if found is not None and must_yield(self._mine, found):
            if not self._silent(text) and not is_dead(found):
                self._conflict, self._next = conflict(found, self._place, taken_over=True), self._now() + RENEW_INTERVAL
                raise OwnershipError(self._conflict)
            self._mine = self._mine.after(found)
        back, self._conflict = self._conflict is not None, None
        self._mine = self._mine.next()
        await self._write()
        return back

    async def release(self) -> None:
        """Give the claim up, so that another hub need not wait. A failure, or a store that is slow, does not matter."""
        with contextlib.suppress(StoreError, asyncio.TimeoutError):
            await asyncio.wait_for(self._release(), _FAREWELL)

    async def _release(self) -> None:
        found = decode(await self._store.read_lease())
        if found is not None and found.instance == self._mine.instance:
            await self._store.write_lease(None)

    def _silent(self, text: str | None) -> bool:
        """Whether the other's claim has stayed as it is for so long that it must be dead."""
        if text != self._other:
            self._other, self._other_since = text, self._now()
        return self._now() - self._other_since >= LEASE_DURATION

    async def _write(self) -> None:
        # A full store can be read and served from all the same; commits tell that it is full.
        with contextlib.suppress(StoreWriteRefusedError):
            await self._store.write_lease(self._mine.encode())
        self._next = self._now() + RENEW_INTERVAL

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def new_lease() -> Lease:
    """What this process says of itself; another instance at each call."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    born = str(psutil.Process().create_time())
    return Lease(secrets.token_hex(8), socket.gethostname(), _machine(), os.getpid(), born, now)


def _machine() -> str:
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def is_dead(claim: Lease) -> bool:
    """Whether a claim is that of a process of this machine that has ended. Of other machines nobody knows."""
    if claim.machine != _machine():
        return False
    try:
        return str(psutil.Process(claim.pid).create_time()) != claim.born
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
