"""Detection of a running hub, by its API or by its lease in the store."""

from __future__ import annotations

import asyncio

import aiohttp

from ...reconcile.leader import is_dead
from ...reconcile.lease import LEASE_DURATION, decode
from ...store.base import Store
from .config import Hub

_QUICK = 5.0
#: Seconds between two reads of a hub's lease.
_LOOK = 0.3


async def hub_answers(hub: Hub) -> bool:
    """Return True if a JupyterHub answers at this hub's address; False also if that is unknown.

    A hub on a unix socket cannot be asked, and a hub with internal_ssl counts as running if its port is open.
    """
    url = f"{hub.app.hub.url}health"
    if not url.startswith(("http://", "https://")):
        return False
    timeout = aiohttp.ClientTimeout(total=_QUICK)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(url, ssl=False, allow_redirects=False) as answer,
        ):
            return "X-JupyterHub-Version" in answer.headers
    except aiohttp.ClientConnectorError:
        return False
    except (aiohttp.ClientError, asyncio.TimeoutError):
        return url.startswith("https://")


async def hub_at_work(store: Store) -> str:
    """Return the living hub that holds the lease in a store, for messages; empty if there is none.

    This takes some seconds if the lease is another machine's: a living hub changes it every few seconds.

    Raises:
        StoreError: if the store cannot be read.
    """
    text = await store.read_lease()
    lease = decode(text)
    if lease is None or is_dead(lease):
        return ""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEASE_DURATION
    while loop.time() < deadline:
        await asyncio.sleep(_LOOK)
        now = await store.read_lease()
        if now != text:
            return str(decode(now) or "")
    return ""
