"""Whether a hub is running: it answers at the address that its servers and proxy use."""

from __future__ import annotations

import asyncio

import aiohttp

from .hub_configuration import Hub

_QUICK = 5.0


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
