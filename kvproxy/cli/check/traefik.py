"""The checks of `kvproxy check` on every Traefik, and on the program that the hub starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aiohttp

from ...errors import TraefikError
from ...process.launch import check_free
from ...proxy.hot import allows_tiers
from ...proxy.preparation import Prepared
from ...reconcile.startup import given_certificate
from ...routing.entry import SETUP
from ...routing.manifest import of_default_store
from ...routing.tiers import WORTHWHILE
from ...store.base import Store
from ...store.http import time_of
from ...traefik.api import UNKNOWN, TraefikApi, api_trust
from ...traefik.setup.certificate import CERTIFICATE_LOST
from ...traefik.static_config import parse_version
from ..hub.config import Hub
from ..routes.compare import StoreState
from ..routes.observe import Replicas, Tier, tiers_of
from . import findings
from .findings import Finding, Level, error, ok, warning
from .trials import trials

#: The end of a sentence about a program at the API's address that does not answer as the API does.
_NO_API = (
    "answers, but not as Traefik's API does: another program listens there, or Traefik has no router to its API, which "
    "the hub writes to the store."
)
#: Seconds that an answer may take if its time of arrival matters.
_QUICK = 5.0


def program(hub: Hub, prepared: Prepared | None, held: StoreState | None) -> list[Finding]:
    """Check the Traefik that the hub starts.

    Args:
        hub: the hub.
        prepared: that Traefik; None if the hub starts none, or its preparation has failed, which is reported already.
        held: the contents of the store, None if they are not known.
    """
    if not hub.proxy.should_start:
        return [ok("Traefik", "The hub does not start it (should_start is False).")]
    if prepared is None:
        return []
    path, version = prepared.binary, prepared.version
    return [
        ok("Traefik", f"The hub starts {path}, version {'.'.join(map(str, version))}."),
        *findings.reserved_names(path, version, held.routes.values() if held is not None else ()),
        *findings.advice("the public entry point", hub.proxy.advice(version)),
        *trials(hub, path, version),
    ]


def second_ports(hub: Hub, prepared: Prepared | None) -> list[Finding]:
    """Check the ports of a second Traefik that the hub does not need yet, but starts when there are many routes.

    Args:
        hub: the hub, which has one tier of routes.
        prepared: see :func:`program`.
    """
    if hub.proxy.route_tiers != "auto" or prepared is None or not allows_tiers(hub.proxy, prepared):
        return []
    advice = f"The hub needs it for two tiers of routes when there are {WORTHWHILE}."
    places = (place for tier in tiers_of(hub)[1:] for place in _places(tier))
    return [warning("ports", str(problem), advice) for *_, problem in places if problem is not None]


async def examine_traefik(
    hub: Hub, store: Store, held: StoreState | None, asked: Replicas, runs: bool
) -> list[Finding]:
    """Check that every Traefik answers and serves the routes in the store.

    Args:
        hub: the hub.
        store: its store.
        held: the contents of the store, None if they are not known.
        asked: the Traefiks.
        runs: True if the hub runs.
    """
    answers = [(name, api, await _answer(hub, api)) for name, api in asked]
    problems = [problem for _, _, problem in answers if problem]
    there = [(name, api) for name, api, problem in answers if not problem]
    if not there and hub.proxy.should_start and (ports := _ports(hub, runs)):
        if not runs:
            if any(one.level is Level.ERROR for one in ports):
                return ports
            return [ok("Traefik API", "It is not available until the hub starts Traefik."), *ports]
        return [
            *(error("Traefik API", problem, "The hub starts Traefik; see its log.") for problem in problems),
            *ports,
        ]
    if not there and _first_start(hub, held) and all(problem.endswith(_NO_API) for problem in problems):
        said = "It is not available yet: the hub writes its router to the store at its first start."
        return [ok("Traefik API", said)]
    found = [error("Traefik API", problem) for problem in problems]
    for name, api in there:
        found += await _look_at_public(hub, name, api)
        if hub.proxy.tracks_activity:
            found.append(findings.metrics(name, await _counts(hub, api)))
    if held is None:
        return found
    held, seen, rows = await Tier(hub, store, there).look_steadily()
    well = [one for one in seen if not one.problem]
    found += findings.versions(well, hub.proxy.route_layout)
    if not hub.proxy.should_start:
        for one in well:
            found += findings.reserved_names(one.name, parse_version(one.version), held.routes.values())
    found += findings.revisions(held, well)
    found += await _certificates(hub, held, there)
    return found + findings.served(rows, well)


def _first_start(hub: Hub, held: StoreState | None) -> bool:
    """Return True if the API of an external Traefik is not set up before the hub's first start."""
    proxy = hub.proxy
    return proxy.sets_up and not proxy.should_start and held is not None and held.revision is None


async def _look_at_public(hub: Hub, name: str, api: TraefikApi) -> list[Finding]:
    """Check a Traefik's entry points, and the effects of an external Traefik's public one on requests."""
    wanted, there = await _entry_points(hub, api)
    found, shown = findings.entry_points(name, wanted, there), there.get(hub.proxy.traefik_entrypoint)
    if shown is not None and not hub.proxy.should_start:
        found += findings.advice(name, hub.proxy.advice(parse_version(await api.version()), shown))
    return found


async def _certificates(hub: Hub, held: StoreState, there: Replicas) -> list[Finding]:
    """Check that every Traefik has a default certificate, and serves the one that the hub has set up."""
    found = findings.foreign_certificate(held.foreign, bool(hub.proxy.ssl_cert))
    if held.revision is None:
        return found
    given = given_certificate(held.entries)
    for name, api in there:
        overview = await api.overview()
        if given is not None and await api.has_certificate(given) is False:
            found.append(error("certificate", f"{name} {CERTIFICATE_LOST}"))
        elif not hub.proxy.gives_placeholder() and not any(map(of_default_store, (*held.foreign, *_setup(held)))):
            found += findings.no_certificate(name, overview, hub.proxy.provider_name)
    return found


def _setup(held: StoreState) -> Mapping[str, str]:
    entry = held.entries.get(SETUP)
    return entry.config if entry is not None else {}


async def _answer(hub: Hub, api: TraefikApi) -> str:
    """Return the reason that a Traefik cannot be asked; empty if it can."""
    try:
        known = await api.version() != UNKNOWN
    except TraefikError as problem:
        return " ".join(filter(None, (str(problem), "" if hub.access else hub.secret_problem)))
    return "" if known else f"{api.label} {_NO_API}"


def _ports(hub: Hub, runs: bool) -> list[Finding]:
    """Check the ports that the Traefik of a stopped hub needs.

    There are no findings if the program on the API's port may be the Traefik of this hub or of an earlier one.
    """
    found = []
    for address, setting, problem in _places(hub):
        if problem is None:
            found.append(ok("ports", f"{address} is free ({setting})."))
        elif "traefik_api_url" in setting and (runs or not hub.secret_from):
            return []
        else:
            found.append(error("ports", str(problem)))
    return found


def _places(hub: Hub) -> Iterator[tuple[str, str, TraefikError | None]]:
    """Yield each address where the hub's Traefik listens, the setting that gives it, and why it cannot listen there."""
    for (host, port), setting in hub.proxy.listen_addresses().items():
        problem = None
        try:
            check_free({(host, port): setting})
        except TraefikError as found:
            problem = found
        yield f"{host or '*'}:{port}", setting, problem


async def _entry_points(hub: Hub, api: TraefikApi) -> tuple[dict[str, str], dict[str, Mapping[str, Any]]]:
    proxy = hub.proxy
    wanted = {"traefik_entrypoint": proxy.traefik_entrypoint}
    if proxy.sets_up:
        wanted["traefik_api_entrypoint"] = proxy.traefik_api_entrypoint
    asked = await asyncio.gather(*map(api.entry_point, wanted.values()))
    return wanted, {name: said for name, said in zip(wanted.values(), asked, strict=True) if said is not None}


async def _counts(hub: Hub, api: TraefikApi) -> bool:
    """Return True if a Traefik has metrics; without kvproxy's setup they must be served beside the API."""
    return await api.has_metrics() if hub.proxy.sets_up else await api.sample() is not None


async def strangers(hub: Hub, urls: Sequence[str]) -> tuple[list[Finding], dict[str, float | None]]:
    """Ask Traefik's APIs without a password, and read their clocks.

    Args:
        hub: the hub.
        urls: URLs of the APIs.

    Returns:
        findings, and seconds by which each clock is ahead of this machine's.
    """
    found: list[Finding] = []
    offsets: dict[str, float | None] = {}
    timeout = aiohttp.ClientTimeout(total=_QUICK)
    tls = api_trust(hub.proxy.traefik_api_ca, hub.proxy.traefik_api_validate_cert)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        for url in urls:
            before = time.time()
            try:
                path = f"{url.rstrip('/')}/api/version"
                async with session.get(path, ssl=tls, allow_redirects=False) as answer:
                    is_open = answer.status == 200 and '"Version"' in await answer.text(errors="replace")
                    found += findings.open_api(f"Traefik's API at {url}", is_open)
                    told = time_of(answer.headers.get("Date", ""))
                    offsets[f"Traefik ({url})"] = None if told is None else told - (before + time.time()) / 2
            except (aiohttp.ClientError, asyncio.TimeoutError):
                # An API that does not answer has been reported already.
                continue
    return found, offsets
