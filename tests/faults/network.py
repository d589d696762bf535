"""A real network between hub, Traefik and store, in which connections can be made bad."""

from __future__ import annotations

import json
from typing import Any

from traitlets import Dict

from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.servers import TcpProxy
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_redis import TraefikRedisProxy


def redirect(settings: dict[str, Any], ports: dict[int, int]) -> dict[str, Any]:
    """The same settings with other ports in their URLs and addresses.

    ports: what stands for a port.
    """
    text = json.dumps(settings)
    for port, other in ports.items():
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")
    changed: dict[str, Any] = json.loads(text)
    return changed


class Apart(KVTraefikProxy):
    """A proxy whose own Traefik comes to the store by another way than the hub."""

    # A setting, so that the second Traefik of two tiers has it, too.
    traefik_ports = Dict(config=True)

    def traefik_provider(self) -> dict[str, Any]:
        """See `KVTraefikProxy`."""
        return redirect(super().traefik_provider(), {int(port): other for port, other in self.traefik_ports.items()})


class ApartRedis(Apart, TraefikRedisProxy):
    """In Redis."""


class ApartEtcd(Apart, TraefikEtcdProxy):
    """In etcd."""


class ApartConsul(Apart, TraefikConsulProxy):
    """In Consul."""


_SLOW = 0.2  # seconds that a slow network takes longer, each way

#: Of each class one whose Traefik comes by another way.
APART: dict[type[KVTraefikProxy], type[Apart]] = {
    TraefikRedisProxy: ApartRedis,
    TraefikEtcdProxy: ApartEtcd,
    TraefikConsulProxy: ApartConsul,
}


class Network:
    """Three connections: the hub's to the store, Traefik's to the store, and the hub's to Traefik's API.

    store, api: the ports that they lead to.
    """

    def __init__(self, store: int, api: int) -> None:
        self.hub, self.traefik, self.api = TcpProxy(store), TcpProxy(store), TcpProxy(api)

    @property
    def to_store(self) -> tuple[TcpProxy, TcpProxy]:
        """Those of hub and Traefik."""
        return self.hub, self.traefik

    @property
    def all(self) -> tuple[TcpProxy, TcpProxy, TcpProxy]:
        """Every one."""
        return self.hub, self.traefik, self.api

    def slow(self, bandwidth: int = 0) -> None:
        """Have all be slow, as to another continent; bandwidth: bytes a second, 0 for no limit."""
        for connection in self.all:
            connection.latency, connection.bandwidth = _SLOW, bandwidth

    def silence_store(self) -> None:
        """Let nothing pass between the store and the others; no connection ends."""
        for connection in self.to_store:
            connection.silent = True

    def refuse_store(self) -> None:
        """Reset connections to the store, and refuse new ones."""
        for connection in self.to_store:
            connection.refuse()

    def silence_api(self) -> None:
        """Let nothing pass between the hub and Traefik's API."""
        self.api.silent = True

    def lose_answers(self) -> None:
        """Lose the store's answers to the hub on connections that are open."""
        self.hub.forget(answers_only=True)

    def heal(self) -> None:
        """End all of it; what was forgotten or lost stays so."""
        for connection in self.all:
            connection.heal()

    def start(self) -> None:
        """Let them pass."""
        for connection in self.all:
            connection.start()

    def stop(self) -> None:
        """Close them."""
        for connection in self.all:
            connection.stop()
