"""Clusters of etcd and of Consul: three real servers each, whose leader is killed, paused, cut off, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kvproxy.errors import RouteNotReadyError
from kvproxy.proxy import KVTraefikProxy
from kvproxy.testing.clusters import ConsulCluster, EtcdCluster
from kvproxy.testing.haproxy_server import HaproxyServer
from kvproxy.testing.network import Network
from kvproxy.testing.programs import free_port
from kvproxy.testing.traefik_conformance import until
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy

from .load import under_load
from .proxies import Client, Doors, making, port_of
from .rights import CONSUL_HUB, CONSUL_TRAEFIK, etcd_rights

DOCS = Path(__file__).parents[2] / "docs/how-to/etcd.md"
PASSWORD = "s3cret/with:odd@characters%,"
#: Seconds in which a route must be served whose adding began when the leader went.
_SECONDS = 20

APART = pytest.mark.parametrize("site", ["etcd apart", "consul apart"], indirect=True)


@dataclass(frozen=True)
class Site:
    """A cluster, and the settings that lead to it."""

    cluster: EtcdCluster | ConsulCluster
    proxy_class: type[KVTraefikProxy]
    traits: dict[str, Any]


def at_etcd(cluster: EtcdCluster) -> Site:
    """The hub and Traefik come as users of their own, with the documented rights, and know all members."""
    users = {"hub": PASSWORD, "traefik": f"{PASSWORD}-too"}
    for name, password in users.items():
        cluster.nodes[0].add_user(name, password, rights=etcd_rights(name))
    # The leader is the one that the hub asks first.
    leader = cluster.nodes[cluster.wait_for_leader()].endpoint
    others = [endpoint for endpoint in cluster.endpoints if endpoint != leader]
    traits = {
        "etcd_url": f"etcd://{','.join([leader, *others])}",
        "etcd_username": "hub",
        "etcd_password": users["hub"],
        "etcd_traefik_username": "traefik",
        "etcd_traefik_password": users["traefik"],
    }
    return Site(cluster, TraefikEtcdProxy, traits)


def at_consul(cluster: ConsulCluster) -> Site:
    """The hub and Traefik come with tokens of their own, with the documented rights, by the agent of their machine."""
    traits = {
        "consul_url": f"consul://{cluster.agent.endpoint}",
        "consul_token": cluster.agent.add_token(CONSUL_HUB),
        "consul_traefik_token": cluster.agent.add_token(CONSUL_TRAEFIK),
    }
    return Site(cluster, TraefikConsulProxy, traits)


@contextlib.contextmanager
def balanced(site: Site) -> Iterator[Site]:
    """The same with HAProxy before the cluster, as the documentation has it."""
    [text] = re.findall(r"```haproxy\n(.*?)```", DOCS.read_text(), re.DOTALL)
    text = text.replace("127.0.0.1:2379", f"127.0.0.1:{(port := free_port())}")
    for number, endpoint in enumerate(site.cluster.endpoints, 1):
        assert f"etcd-{number}.example.org:2379" in text
        text = text.replace(f"etcd-{number}.example.org:2379", endpoint)
    with HaproxyServer(text, port):
        yield Site(site.cluster, site.proxy_class, {**site.traits, "etcd_url": f"etcd://127.0.0.1:{port}"})


@pytest.fixture(params=["etcd", "consul"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three servers on this machine, ``apart`` with networks of their own, ``balanced`` with HAProxy before them."""
    kind, *options = request.param.split()
    separate = "apart" in options and Network.possible()
    if kind == "etcd":
        with contextlib.ExitStack() as stack:
            made = at_etcd(stack.enter_context(EtcdCluster(root_password="root", separate=separate)))
            yield stack.enter_context(balanced(made)) if "balanced" in options else made
    else:
        with ConsulCluster(acl=True, separate=separate) as consul:
            yield at_consul(consul)


@pytest.fixture
async def proxy(site: Site, tmp_path: Path) -> AsyncIterator[KVTraefikProxy]:
    """A proxy on the cluster."""
    async with making(site.proxy_class, tmp_path, **site.traits) as make:
        made = make()
        await made.start()
        yield made


async def assert_added(proxy: KVTraefikProxy, spec: str, target: str, client_of: Callable[..., Client]) -> None:
    """A new route is served, soon."""
    await asyncio.wait_for(proxy.add_route(spec, target, {}), _SECONDS)
    assert await client_of(proxy).ask(spec) == (200, port_of(target))


async def assert_agreed(cluster: EtcdCluster | ConsulCluster) -> None:
    """All servers hold the same, and it is something."""
    await until(lambda: len({str(sorted((held or {}).items())) for held in cluster.contents()}) == 1, 60)
    assert cluster.contents()[0]


async def test_nobody_notices_that_the_leader_is_killed(
    site: Site, proxy: KVTraefikProxy, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """A route that is added meanwhile is served when there is a new leader; the old one comes back and has it too."""
    async with under_load(proxy, doors, client_of) as target:
        old = site.cluster.wait_for_leader()
        site.cluster.nodes[old].kill()
        await assert_added(proxy, "/user/meanwhile/", target, client_of)
        assert await asyncio.to_thread(site.cluster.wait_for_leader, old) != old
        await asyncio.to_thread(site.cluster.nodes[old].start)
        await assert_added(proxy, "/user/later/", target, client_of)
    await assert_agreed(site.cluster)


async def test_without_a_majority_routes_go_on_and_new_ones_wait(
    site: Site,
    proxy: KVTraefikProxy,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And say what they wait for; when the servers are back, all is as it should be."""
    cluster = site.cluster
    async with under_load(proxy, doors, client_of) as target:
        first = cluster.wait_for_leader()
        lost = [first, (first + 1) % 3]
        for number in lost:
            cluster.nodes[number].kill()
        proxy.check_route_timeout = 12
        with pytest.raises(RouteNotReadyError, match=r"cannot be reached|cannot help at the moment|does not answer"):
            await proxy.add_route("/user/impatient/", target, {})
        proxy.check_route_timeout = 60
        waiting = asyncio.create_task(proxy.add_route("/user/patient/", target, {}))
        for number in lost:
            cluster.nodes[number].launch()
        await asyncio.wait_for(waiting, 60)
        assert await client_of(proxy).ask("/user/patient/") == (200, port_of(target))
        assert "/user/impatient/" not in await proxy.get_all_routes()
        await assert_added(proxy, "/user/later/", target, client_of)
    assert "The store answers again" in caplog.text
    await assert_agreed(cluster)
