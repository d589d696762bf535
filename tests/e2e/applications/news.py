"""Streams two events, and does not send the second before a POST asks for it.

It runs on aiohttp, at the port that its argument names.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

asked = asyncio.Event()


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    asked.clear()
    await response.write(b"data: first\n\n")
    await asked.wait()
    await response.write(b"data: second\n\n")
    return response


async def ask(_: web.Request) -> web.Response:
    asked.set()
    return web.Response(text="asked")


application = web.Application()
application.add_routes([web.get("/events", events), web.post("/events", ask)])
web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)
