"""Whether a hub is running: it answers where its servers and its proxy ask it, or says in the store that it is."""

from __future__ import annotations

import asyncio

import aiohttp

from ...reconcile.leader import is_dead
from ...reconcile.lease import LEASE_DURATION, decode
from ...store.base import Store
from .config import Hub

_QUICK = 5.0
#: Seconds between two looks at a hub's claim.
_LOOK = 0.3


async def hub_answers(hub: Hub) -> bool:
    """Whether a JupyterHub answers where this one would; False as well if nobody can tell.

    A hub on a unix socket cannot be asked, and one with internal_ssl only whether it listens.
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
    """The hub that is at work on a store's routes, as its claim there says; empty if there is none, or none alive.

    Takes some seconds if there is a claim of another machine's: a living hub changes it every few seconds.

    Raises:
        StoreError: if the store cannot be read.
    """
    text = await store.read_lease()
    claim = decode(text)
    if claim is None or is_dead(claim):
        return ""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEASE_DURATION
    while loop.time() < deadline:
        await asyncio.sleep(_LOOK)
        now = await store.read_lease()
        if now != text:
            return str(decode(now) or "")
    return ""
