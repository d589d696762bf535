"""Faults of a store, of Traefik and of the hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import psutil

from kvproxy.store import Operation, Space
from tests.faults.hub_process import HubError
from tests.faults.network import Network
from tests.faults.site import FOREIGN, ROUTE_TIMEOUT, Site, foreign
from tests.faults.stores import Killable

_AWAY = 1.0  # seconds that a part is away, at least: a restart takes a moment
_CHANGES = 20  # that a store has seen before it loses them
_NARROW = 500_000  # bytes a second of a slow network
_GLANCE = 0.002  # seconds between two looks at whether routes are being moved
_MOVED = 70  # new routes, of which some are moved at once
_IMPATIENT = 6  # seconds after which a hub gives up a route that Traefik does not come to serve

#: A fault as it takes its course. It yields twice: when all is ready, the routes that it is going to hit itself; and in
#: the midst of it, when a user comes. When it ends, it is over.
Steps: TypeAlias = AsyncGenerator[list[str], None]


@dataclass(frozen=True)
class Fault:
    """Something that happens.

    title: in the table. happen: its course, given the site and the seconds for which a part stands still. killable:
    whether it needs a store with processes. managed: whether the Traefik is the hub's own. network: whether the
    parts are connected by a network that can be made bad. tiers: whether it needs two tiers of routes.
    """

    title: str
    happen: Callable[[Site, float], Steps]
    killable: bool = False
    managed: bool = False
    network: bool = False
    tiers: bool = False


async def store_killed(site: Site, _: float) -> Steps:
    """The store crashes and comes back with its data."""
    yield []
    await down(site)
    yield []
    await asyncio.sleep(_AWAY)
    await asyncio.to_thread(site.store.start)


async def store_emptied(site: Site, _: float) -> Steps:
    """The store comes back without its data."""
    await a_past(site)
    yield []
    await down(site)
    yield []
    await asyncio.to_thread(site.store.start_empty)


async def store_aged(site: Site, _: float) -> Steps:
    """The store comes back with the data of a moment ago: what has changed since is hit, the rest is not."""
    await asyncio.to_thread(site.store.save)
    await a_past(site)
    late = [f"/user/late{number}/" for number in range(5)]
    await asyncio.gather(*map(site.log_in, late))
    await site.log_out("/user/student00000/")
    yield late
    await down(site)
    yield []
    await asyncio.to_thread(site.store.start_old)


async def store_paused(site: Site, seconds: float) -> Steps:
    """The store stands still and goes on."""
    store = killable(site)
    yield []
    store.pause()
    yield []
    await asyncio.sleep(seconds)
    store.resume()


async def keys_deleted(site: Site, _: float) -> Steps:
    """A program deletes keys: all or one of a route's, records, Traefik's API, the certificate, the revision."""
    hit = some(site)
    found = await site.contents()
    names = site.proxy.names
    setup = ("tls/", f"http/routers/{names.api}")
    config = {names.revision_key, *(key for key in found.config if key.startswith(setup))}
    for number, spec in enumerate(hit):
        keys = site.keys_of(found, spec)
        config |= set(keys if number % 2 else [key for key in keys if key.startswith("http/services/")])
    yield hit
    gone = [Operation(Space.CONFIG, key, None) for key in sorted(config)]
    await site.by_hand([*gone, *(Operation(Space.RECORDS, spec, None) for spec in hit[::2])])
    yield []


async def keys_changed(site: Site, _: float) -> Steps:
    """A program changes where routes lead, and what leads to them."""
    hit = some(site)
    found = await site.contents()
    yield hit
    await site.by_hand(changes(site.keys_of(found, spec) for spec in hit))
    yield []


def changes(routes: Iterable[list[str]]) -> Iterator[Operation]:
    """The target of one route, the rule of the next."""
    for number, keys in enumerate(routes):
        kind, value = ("rule", "Path(`/nowhere`)") if number % 2 else ("url", "http://127.0.0.1:1")
        yield from (Operation(Space.CONFIG, key, value) for key in keys if key.endswith(f"/{kind}"))


async def foreign_key(site: Site, _: float) -> Steps:
    """A program writes a key that Traefik cannot decode, and removes it later."""
    yield []
    await site.by_hand([foreign("x")])
    yield []
    try:
        await site.log_in("/user/impatient/", _IMPATIENT)
    except HubError as error:
        if FOREIGN not in str(error):
            raise
    else:
        if site.proxy.route_tiers == "one":
            raise HubError(f"A route was added although Traefik cannot decode {FOREIGN}.")
        await site.log_out("/user/impatient/")
    await site.by_hand([foreign(None)])


async def traefik_killed(site: Site, _: float) -> Steps:
    """The hub's own Traefik crashes; the hub starts it again."""
    yield list(site.table)
    psutil.Process(await site.traefik_pid()).kill()
    yield []


async def traefik_paused(site: Site, seconds: float) -> Steps:
    """Traefik stands still and goes on: requests have to wait."""
    yield []
    process = psutil.Process(await site.traefik_pid())
    process.suspend()
    yield []
    await asyncio.sleep(seconds)
    process.resume()


async def hot_killed(site: Site, _: float) -> Steps:
    """The second Traefik crashes, which all new routes are in; the hub starts it again."""
    fresh = [f"/user/fresh{number}/" for number in range(5)]
    await asyncio.gather(*map(site.log_in, fresh))
    yield ["/", *site.gone, *fresh, "/user/first/"]
    psutil.Process(await site.traefik_pid(hot=True)).kill()
    yield []


async def hot_paused(site: Site, seconds: float) -> Steps:
    """The second Traefik stands still and goes on: requests to new servers have to wait."""
    yield []
    process = psutil.Process(await site.traefik_pid(hot=True))
    process.suspend()
    yield []
    await asyncio.sleep(seconds)
    process.resume()


async def pair_killed(site: Site, _: float) -> Steps:
    """Both Traefiks crash at the same moment; the hub starts them again."""
    yield list(site.table)
    for pid in [await site.traefik_pid(), await site.traefik_pid(hot=True)]:
        psutil.Process(pid).kill()
    yield []


async def hub_killed_amid_move(site: Site, _: float) -> Steps:
    """The hub crashes while routes are moved from tier to tier, and users log in; it is started again."""
    yield []
    users = [f"/user/moved{number}/" for number in range(_MOVED)]
    logins = [asyncio.create_task(site.seconds_to_log_in(user, ROUTE_TIMEOUT)) for user in users]
    while not await site.hub.call("moving"):
        await asyncio.sleep(_GLANCE)
    await site.hub.kill()
    await site.hub.start()
    await asyncio.gather(*logins)
    yield []
    if wrong := await site.wrong():
        raise HubError(f"Routes are wrong after the move: {', '.join(wrong[:3])}.")
    await asyncio.gather(*map(site.log_out, users))


async def hub_restarted(site: Site, _: float) -> Steps:
    """The hub is stopped, its Traefik with it, and started again."""
    yield list(site.table)
    await site.hub.stop()
    await site.hub.start()
    yield []


async def hub_killed(site: Site, _: float) -> Steps:
    """The hub crashes beside a Traefik that is not its own, and is started again."""
    yield []
    await site.hub.kill()
    await site.hub.start()
    yield []


async def both_killed(site: Site, _: float) -> Steps:
    """Store and Traefik crash at the same moment; the store is started again, and the hub sees to its Traefik."""
    yield list(site.table)
    pid = await site.traefik_pid()
    await down(site)
    psutil.Process(pid).kill()
    yield []
    await asyncio.sleep(_AWAY)
    await asyncio.to_thread(site.store.start)


async def all_killed(site: Site, _: float) -> Steps:
    """All parts crash, as if their one machine had, and are started again."""
    yield list(site.table)
    pid = await site.traefik_pid()
    await site.hub.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).kill()
    await down(site)
    await asyncio.to_thread(site.store.start)
    await site.hub.start()
    yield []


async def store_emptied_and_hub_restarted(site: Site, seconds: float) -> Steps:
    """The node of the store and the hub is lost and comes back empty; JupyterHub's services take their time."""
    yield []
    await site.hub.kill()
    await down(site)
    await asyncio.to_thread(site.store.start_empty)
    await site.hub.start()
    await site.hub.call("routes")
    await asyncio.sleep(seconds)
    await site.check_routes()
    yield []


def bad_for_a_while(spoil: Callable[[Network], None]) -> Callable[[Site, float], Steps]:
    """The course of a network that gets bad and then good again."""

    async def happen(site: Site, seconds: float) -> Steps:
        network = network_of(site)
        yield []
        spoil(network)
        yield []
        await asyncio.sleep(seconds)
        network.heal()

    return happen


async def answers_lost(site: Site, _: float) -> Steps:
    """The store receives the hub's requests on open connections and its answers are lost; new connections work."""
    yield []
    network_of(site).lose_answers()
    yield []


async def connections_forgotten(site: Site, _: float) -> Steps:
    """A firewall has forgotten the connections to the store: they stay open, and nothing passes on them any more."""
    yield list(site.table)
    for connection in network_of(site).to_store:
        connection.forget()
    yield []


async def a_past(site: Site) -> None:
    """Changes, one after another: a store that comes back counts its changes from the start; followers must cope."""
    for _ in range(_CHANGES):
        await site.log_in("/user/guest/")
        await site.log_out("/user/guest/")
    await site.settle()
    await site.until_read()


async def down(site: Site) -> None:
    """Kill the store, if it has processes."""
    if isinstance(site.store, Killable):
        await asyncio.to_thread(site.store.kill)


def killable(site: Site) -> Killable:
    """The store, which has processes."""
    assert isinstance(site.store, Killable)
    return site.store


def network_of(site: Site) -> Network:
    """The network between the parts."""
    assert site.network is not None
    return site.network


def some(site: Site) -> list[str]:
    """A few users."""
    users = [spec for spec in site.table if spec.startswith("/user/student")]
    return users[:: max(len(users) // 10, 1)]


#: By the names that the results have.
FAULTS = {
    "store-killed": Fault("store killed, started again", store_killed, killable=True),
    "store-emptied": Fault("store restarted empty", store_emptied),
    "store-aged": Fault("store restarted with old data", store_aged),
    "store-paused": Fault("store stands still", store_paused, killable=True),
    "keys-deleted": Fault("keys deleted by hand", keys_deleted),
    "keys-changed": Fault("keys changed by hand", keys_changed),
    "foreign-key": Fault("a key that Traefik cannot decode", foreign_key),
    "traefik-paused": Fault("Traefik stands still", traefik_paused),
    "network-slow": Fault("slow network", bad_for_a_while(lambda network: network.slow(_NARROW)), network=True),
    "network-silent": Fault("silent network to the store", bad_for_a_while(Network.silence_store), network=True),
    "network-refusing": Fault("store refuses connections", bad_for_a_while(Network.refuse_store), network=True),
    "answers-lost": Fault("store's answers to the hub lost", answers_lost, network=True),
    "api-silent": Fault("silent network to Traefik's API", bad_for_a_while(Network.silence_api), network=True),
    "hub-killed": Fault("hub killed, started again", hub_killed),
    "store-and-hub-lost": Fault("store restarted empty, and the hub with it", store_emptied_and_hub_restarted),
    "traefik-killed": Fault("Traefik killed", traefik_killed, managed=True),
    "hot-killed": Fault("second Traefik killed", hot_killed, managed=True, tiers=True),
    "hot-paused": Fault("second Traefik stands still", hot_paused, managed=True, tiers=True),
    "pair-killed": Fault("both Traefiks killed", pair_killed, managed=True, tiers=True),
    "hub-killed-amid-move": Fault("hub killed amid a move of routes", hub_killed_amid_move, managed=True, tiers=True),
    "hub-restarted": Fault("hub restarted, its Traefik with it", hub_restarted, managed=True),
    "connections-forgotten": Fault(
        "connections to the store forgotten", connections_forgotten, managed=True, network=True
    ),
    "both-killed": Fault("store and Traefik killed", both_killed, killable=True, managed=True),
    "all-killed": Fault("store, Traefik and hub killed", all_killed, managed=True),
}
