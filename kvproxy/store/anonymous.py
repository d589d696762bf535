"""Stores that speak HTTP and answer clients without a login."""

from __future__ import annotations

from typing import Any

from ..errors import StoreError
from .connection import HttpConnection
from .http import HttpClient


async def open_door(connection: HttpConnection, method: str, path: str, body: Any, close: str) -> list[str]:
    """Return a warning if a server accepts a client without a login and a certificate; none otherwise.

    Args:
        connection: the hub's.
        method: the method of a request that needs all rights and changes nothing.
        path: the path of the request.
        body: the body of the request, as JSON.
        close: a sentence that explains how to close the server.
    """
    stranger = connection.stranger
    client = HttpClient(stranger)
    try:
        if (await client.request(method, path, body)).status != 200:
            return []
    except StoreError:
        return []
    finally:
        await client.aclose()
    return [f"{stranger} answers without a login, so that anyone who reaches it may change every route. {close}"]
