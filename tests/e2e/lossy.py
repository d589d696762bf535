"""A server in front of a store's HTTP API that loses an answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from kvproxy.testing.servers import free_port


class Lossy:
    """Passes requests on, and hangs up instead of giving back the next answer when it is told so."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.lose_next = False

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """One request to the store; its answer, or nothing."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, f"{self._url}{request.raw_path}", data=await request.read()) as answer,
        ):
            body = await answer.read()
        lost, self.lose_next = self.lose_next, False
        if lost:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=answer.status, body=body)


@contextlib.asynccontextmanager
async def lossy(url: str) -> AsyncIterator[Lossy]:
    """A running one before the store at that URL."""
    made = Lossy(url)
    runner = web.ServerRunner(web.Server(made.pass_on), shutdown_timeout=0.1)
    await runner.setup()
    host, _, port = made.endpoint.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    try:
        yield made
    finally:
        await runner.cleanup()
