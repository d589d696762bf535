"""Requests and websockets through a proxy that has come to rest; run in the contestant's worker."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from itertools import count as counting

import aiohttp

from benchmarks.workload import LARGE, ROOT, Place, Sample

_SCRIPT = ROOT / "benchmarks" / "requests.lua"
_PATHS = {"small": "", "large": "large"}
_COMPARED = 20  # answers that are compared byte by byte
_TIMEOUT = "30s"  # after which wrk gives a request up
_MESSAGE = "x" * 64


async def compare(session: aiohttp.ClientSession, place: Place, kind: str, users: int) -> None:
    """Look at answers for users all over the table. Raises ValueError if one is not what their server says."""
    for index in range(min(users, _COMPARED)):
        path = place.user_route(index * users // min(users, _COMPARED)).routespec + _PATHS[kind]
        async with session.get(place.public_url.rstrip("/") + path) as response:
            body = await response.read()
        right = body == LARGE if kind == "large" else json.loads(body).get("path") == path
        if response.status != 200 or not right:
            raise ValueError(f"{path} was answered with {response.status} and {body[:80]!r}")


async def requests(
    place: Place, kind: str, users: int, connections: int, seconds: int, first: int = 0
) -> dict[str, float]:
    """Have wrk ask for all users' servers in turn, from the first number on; gives back what its script tells.

    Raises ValueError if any answer was not there in full, or none of a user's server.
    """
    command = [place.wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", _TIMEOUT, "-s", str(_SCRIPT)]
    environment = {**os.environ, "LD_LIBRARY_PATH": place.libraries} if place.libraries else None
    command += [place.public_url, str(users), _PATHS[kind], str(first)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    output, _ = await process.communicate()
    if process.returncode:
        raise ValueError(f"wrk ended with status {process.returncode}: {output.decode()[-200:]}")
    told: dict[str, float] = json.loads(output.decode().strip().splitlines()[-1])
    if not told["requests"]:
        raise ValueError("wrk got no answer")
    if kind == "large" and told["bytes"] < told["requests"] * len(LARGE):
        raise ValueError("answers were cut short")
    return told


def as_sample(told: dict[str, float], cpu: float) -> Sample:
    """The figures that are kept. cpu: seconds that the proxy has used meanwhile."""
    return {
        "rate": told["requests"] / told["seconds"],
        "cpu_s": cpu / told["requests"],
        "p50_s": told["p50_us"] / 1e6,
        "p99_s": told["p99_us"] / 1e6,
        "failed": told["refused"] + told["broken"],
        "requests": told["requests"],
    }


async def websockets(place: Place, users: int, connections: int, seconds: float, cpu: Callable[[], float]) -> Sample:
    """Open websockets to many users' servers, then send messages over all of them, each when its last one is back.

    cpu: tells how many seconds the proxy has used so far. Raises ValueError if an echo is not what was sent.
    """
    connects: list[float] = []
    trips: list[float] = []
    async with aiohttp.ClientSession(trust_env=False, connector=aiohttp.TCPConnector(limit=0)) as session:
        opened = [await _open(session, place, index * users // connections, connects) for index in range(connections)]
        used, begin = cpu(), time.perf_counter()
        await asyncio.gather(*(_talk(socket, begin + seconds, trips) for socket in opened))
        lasted, used = time.perf_counter() - begin, cpu() - used
        for socket in opened:
            await socket.close()
    middle, slow = quantile(trips, 0.5), quantile(trips, 0.99)
    return {
        "rate": len(trips) / lasted,
        "cpu_s": used / len(trips),
        "p50_s": middle,
        "p99_s": slow,
        "connect_p50_s": quantile(connects, 0.5),
        "connect_p99_s": quantile(connects, 0.99),
    }


async def _open(
    session: aiohttp.ClientSession, place: Place, number: int, connects: list[float]
) -> aiohttp.ClientWebSocketResponse:
    begin = time.perf_counter()
    socket = await session.ws_connect(place.public_url.rstrip("/") + place.user_route(number).routespec + "ws")
    connects.append(time.perf_counter() - begin)
    return socket


async def _talk(socket: aiohttp.ClientWebSocketResponse, until: float, trips: list[float]) -> None:
    for number in counting():
        begin = time.perf_counter()
        if begin > until:
            return
        message = f"{number} {_MESSAGE}"
        await socket.send_str(message)
        if (await socket.receive_str()) != message:
            raise ValueError("a websocket's echo is not what was sent")
        trips.append(time.perf_counter() - begin)


def quantile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
