"""Sends each message of a websocket back.

To "who" it answers with its path and subprotocol, and at "enough" it closes with a code and a reason. It runs on the
library websockets, at the port that its argument names.
"""

from __future__ import annotations

import asyncio
import json
import sys

from websockets.asyncio.server import ServerConnection, serve


async def answer(socket: ServerConnection) -> None:
    async for message in socket:
        if message == "who":
            await socket.send(json.dumps({"path": socket.request.path, "subprotocol": socket.subprotocol}))
        elif message == "enough":
            await socket.close(4001, "it is late")
        else:
            await socket.send(message)


async def main() -> None:
    async with serve(answer, "127.0.0.1", int(sys.argv[1]), subprotocols=["second"]) as server:
        await server.serve_forever()


asyncio.run(main())
