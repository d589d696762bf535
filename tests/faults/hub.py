"""The hub's side: a proxy object in a process of its own, which can be killed and whose memory can be weighed.

    python -m tests.faults.hub

The first line that it reads says which proxy: ``{"class": "module:name", "traits": {…}}``. Each further line is one
call, ``{"id": 1, "op": "add", …}``, and calls run side by side; their answers come as lines with the same id. It ends
in an orderly way when there are no more. All is read from a pipe, as every user can see a command line.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
from types import SimpleNamespace
from typing import Any, TextIO

from kvproxy.errors import KVProxyError

#: Bytes of one line at most.
LINE = 2**26
#: A hub keeps its secret; from it come the API's password and the certificate that stand in the store.
_SECRET = b"the same at each start, as a hub's is"


class Calls:
    """Questions to the proxy."""

    def __init__(self, proxy: Any):
        self.proxy = proxy

    async def start(self) -> None:
        """Begin to work, with a Traefik of its own or for one that is there."""
        if self.proxy.should_start:
            await self.proxy.start()
        else:
            await self.proxy.get_all_routes()

    async def add(self, routespec: str, target: str, timeout: int) -> None:
        """A user's server has been started."""
        self.proxy.check_route_timeout = timeout
        await self.proxy.add_route(routespec, target, {"user": routespec, "server_name": ""})

    async def delete(self, routespec: str) -> None:
        """A user's server has been stopped."""
        await self.proxy.delete_route(routespec)

    async def check(self, table: dict[str, str]) -> None:
        """All servers that run have been found, so that JupyterHub checks all routes, as at the end of its start."""
        self.proxy.hub.host = table.pop("/")
        self.proxy.extra_routes = table
        await self.proxy.check_routes({}, {})

    async def routes(self) -> dict[str, str]:
        """Where all routes lead, after a full read."""
        return {spec: route["target"] for spec, route in (await self.proxy.get_all_routes()).items()}

    async def desired(self) -> dict[str, dict[str, str]]:
        """The keys that the store is to hold, but for the revision; nothing is read."""
        entries = self.proxy._reconciler.desired.values()
        spaces = {"config": [entry.config for entry in entries], "records": [entry.records for entry in entries]}
        return {space: {k: v for keys in parts for k, v in keys.items()} for space, parts in spaces.items()}

    async def traefik(self, hot: bool) -> int | None:
        """Process id of the Traefik that it has started, or of the second one of two tiers."""
        pids: list[int] = self.proxy._session.traefik_pids
        return pids[-1 if hot else 0] if pids else None

    async def moving(self) -> list[str]:
        """The routes that are just being moved to the first of two tiers: they are in both."""
        tiers = self.proxy._session.tiers
        return [spec.key for spec in tiers.hot if tiers._base.route(spec) is not None]


def make_proxy(settings: dict[str, Any]) -> Any:
    """The proxy as JupyterHub makes it, but with settings as they come."""
    module, _, name = settings["class"].partition(":")
    hub = SimpleNamespace(routespec="/", host="")
    app = SimpleNamespace(hub=hub, cookie_secret=_SECRET, cleanup_proxy=True, subdomain_host="", internal_ssl=False)
    return getattr(importlib.import_module(module), name)(
        app=app, hub=hub, log=logging.getLogger("kvproxy"), **settings["traits"]
    )


async def answer(calls: Calls, request: dict[str, Any], answers: TextIO) -> None:
    """Do what a line asks for."""
    number, operation = request.pop("id"), request.pop("op")
    reply: dict[str, Any] = {"id": number}
    try:
        reply["value"] = await getattr(calls, operation)(**request)
    except (KVProxyError, ValueError, TimeoutError, asyncio.TimeoutError) as error:
        reply |= {"error": type(error).__name__, "text": str(error)}
    print(json.dumps(reply), file=answers, flush=True)


async def serve(requests: int, answers: TextIO) -> None:
    """Answer until there is nothing more to read."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(requests, "rb"))
    calls = Calls(make_proxy(json.loads(await reader.readline())))
    running: set[asyncio.Task[None]] = set()
    try:
        await calls.start()
        while line := await reader.readline():
            task = asyncio.create_task(answer(calls, json.loads(line), answers))
            running.add(task)
            task.add_done_callback(running.discard)
    finally:
        await calls.proxy.stop()
        await asyncio.gather(*running)


def main() -> None:
    """Keep the pipes from what the proxy starts."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    requests, answers = os.dup(0), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    asyncio.run(serve(requests, answers))


if __name__ == "__main__":
    main()
