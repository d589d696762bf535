"""The contestants, their names and their stores."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contestants import Contestant, Floor, Kvproxy, Noisy, NoisyFloor, Paged, Paired, Uncounted
from benchmarks.rivals import Chp, Peer


@dataclass(frozen=True)
class Entrant:
    """One contestant of a run.

    label: its name in tables and plots. make: its class. store: kind of its store, empty if it has none. quiet: its
    Traefik has a user of its own in Redis, which may not switch keyspace notifications on. socket: Redis is reached by
    its unix socket instead of by TCP. edited: whether routes are added and removed; not where only requests differ.
    loaded: whether requests through it are measured; the floors' Traefiks would only repeat what those of kvproxy say,
    and by TCP they are the same. grown: whether it is looked at how requests at some sizes compare with those at
    others.
    """

    label: str
    make: type[Contestant]
    store: str = "redis"
    quiet: bool = False
    socket: bool = False
    edited: bool = True
    loaded: bool = True
    grown: bool = False


ROSTER = {
    "kvproxy-quiet": Entrant("kvproxy, quiet Redis", Kvproxy, quiet=True, socket=True, grown=True),
    "kvproxy-uncounted": Entrant(
        "kvproxy, quiet Redis, no last_activity", Uncounted, quiet=True, socket=True, edited=False, grown=True
    ),
    "kvproxy-pages": Entrant(
        "kvproxy, quiet Redis, the hub's pages", Paged, quiet=True, socket=True, edited=False, loaded=False
    ),
    "kvproxy-two": Entrant(
        "kvproxy, quiet Redis, two tiers", Paired, quiet=True, socket=True, edited=False, loaded=False
    ),
    "kvproxy-tcp": Entrant("kvproxy, quiet Redis by TCP", Kvproxy, quiet=True, loaded=False),
    "kvproxy": Entrant("kvproxy, noisy Redis", Noisy),
    "kvproxy-etcd": Entrant("kvproxy, etcd", Kvproxy, "etcd"),
    "kvproxy-consul": Entrant("kvproxy, Consul", Kvproxy, "consul"),
    "kvproxy-file": Entrant("kvproxy, file", Kvproxy, "file"),
    "peer": Entrant("jupyterhub-traefik-proxy", Peer),
    "chp": Entrant("configurable-http-proxy", Chp, ""),
    "floor-quiet": Entrant("floor, quiet Redis", Floor, quiet=True, socket=True, loaded=False),
    "floor": Entrant("floor, noisy Redis", NoisyFloor, loaded=False),
}
