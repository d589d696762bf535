"""What `kvproxy check` asks every Traefik, and looks for where the hub is to start one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from ..errors import KVProxyError, TraefikError
from ..http_store import time_of
from ..launcher import check_free, find_traefik, traefik_version
from ..static import groups_allowed
from ..store import Store
from ..traefik import TraefikApi
from . import findings
from .comparison import Held
from .findings import Finding, error, ok, warning
from .hub_configuration import Hub
from .looking import Replicas, look_steadily

#: Seconds that an answer may take whose time of arrival matters.
_QUICK = 5.0


def program(hub: Hub) -> list[Finding]:
    """Whether there is a Traefik that the hub can start."""
    if not hub.proxy.should_start:
        return [ok("Traefik", "The hub does not start it (should_start is False).")]
    try:
        path = find_traefik()
        version = traefik_version(path)
        groups_allowed(hub.proxy.route_layout, version)
    except KVProxyError as problem:
        return [error("Traefik", str(problem))]
    return [ok("Traefik", f"The hub starts {path}, version {'.'.join(map(str, version))}.")]


async def examine_traefik(hub: Hub, store: Store, held: Held | None, asked: Replicas) -> list[Finding]:
    """Whether every Traefik answers, and serves what the store wants."""
    answers = [(name, api, await _answer(hub, api)) for name, api in asked]
    problems = [problem for _, _, problem in answers if problem]
    there = [(name, api) for name, api, problem in answers if not problem]
    if not there and hub.proxy.should_start and (ports := _ports(hub)):
        advice = "The hub starts Traefik; if the hub is running, see its log."
        return [*(warning("Traefik API", problem, advice) for problem in problems), *ports]
    found = [error("Traefik API", problem) for problem in problems]
    for name, api in there:
        found += findings.entry_points(name, *await _entry_points(hub, api))
        if hub.proxy.tracks_activity:
            found.append(findings.metrics(name, await _counts(hub, api)))
    if held is None:
        return found
    held, seen, rows = await look_steadily(hub, store, there)
    well = [one for one in seen if not one.problem]
    found += findings.versions(well, hub.proxy.route_layout)
    found += findings.revisions(held, well)
    return found + findings.served(rows, well)


async def _answer(hub: Hub, api: TraefikApi) -> str:
    """Why a Traefik cannot be asked; empty if it can."""
    try:
        await api.version()
    except TraefikError as problem:
        return " ".join(filter(None, (str(problem), "" if hub.access else hub.secret_problem)))
    return ""


def _ports(hub: Hub) -> list[Finding]:
    """Whether the Traefik that does not run yet could listen where it has to; nothing if somebody is at its API's."""
    found = []
    for (host, port), setting in hub.proxy.listen_addresses().items():
        try:
            check_free({(host, port): setting})
            found.append(ok("ports", f"{host or '*'}:{port} is free ({setting})."))
        except TraefikError as problem:
            if "traefik_api_url" in setting:
                return []
            found.append(error("ports", str(problem)))
    return found


async def _entry_points(hub: Hub, api: TraefikApi) -> tuple[dict[str, str], dict[str, object]]:
    proxy = hub.proxy
    wanted = {"traefik_entrypoint": proxy.traefik_entrypoint}
    if proxy.sets_up:
        wanted["traefik_api_entrypoint"] = proxy.traefik_api_entrypoint
    asked = await asyncio.gather(*map(api.entry_point, wanted.values()))
    return wanted, {name: said for name, said in zip(wanted.values(), asked, strict=True) if said is not None}


async def _counts(hub: Hub, api: TraefikApi) -> bool:
    """Whether a Traefik has metrics; those that kvproxy does not set up must be beside the API."""
    return await api.has_metrics() if hub.proxy.sets_up else await api.sample() is not None


async def strangers(hub: Hub, urls: Sequence[str]) -> tuple[list[Finding], dict[str, float | None]]:
    """What Traefik's APIs say to somebody without a password, and their clocks.

    Args:
        hub: whose Traefiks they are.
        urls: where the APIs are.

    Returns:
        findings, and seconds by which each clock is ahead of this machine's.
    """
    found: list[Finding] = []
    offsets: dict[str, float | None] = {}
    timeout = aiohttp.ClientTimeout(total=_QUICK)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        for url in urls:
            before = time.time()
            try:
                path, tls = f"{url.rstrip('/')}/api/version", hub.proxy.traefik_api_validate_cert
                async with session.get(path, ssl=tls, allow_redirects=False) as answer:
                    found += findings.open_api(f"Traefik's API at {url}", answer.status == 200)
                    told = time_of(answer.headers.get("Date", ""))
                    offsets[f"Traefik ({url})"] = None if told is None else told - (before + time.time()) / 2
            except (aiohttp.ClientError, asyncio.TimeoutError):
                # That it does not answer is said already.
                continue
    return found, offsets
