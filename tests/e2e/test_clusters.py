"""Clusters of etcd and of Consul: three real servers each, whose leader is killed, paused, cut off, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kvproxy.errors import RouteNotReadyError
from kvproxy.proxy import KVTraefikProxy
from kvproxy.store import Operation, Space, Transaction
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import within
from kvproxy.testing.servers.clusters import ConsulCluster, EtcdCluster
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy.testing.servers.haproxy import HaproxyServer
from kvproxy.testing.servers.network import Network
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.tls import Certificates
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy

from .load import under_load
from .proxies import Client, Doors, making, port_of
from .rights import CONSUL_HUB, CONSUL_TRAEFIK, etcd_rights

pytestmark = pytest.mark.endurance

DOCS = Path(__file__).parents[2] / "docs/how-to/etcd.md"
PASSWORD = "s3cret/with:odd@characters%,"
#: Seconds in which a route must be served whose adding began when the leader went.
_SECONDS = 45
#: Seconds in which Consul gives up a server that is silent, and some: it probes connections every 30 and waits for 10,
#: and asks one without a leader for 7 before it asks another.
_CONSUL_SECONDS = 120


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
def haproxy(endpoints: Sequence[str], authority: str = "") -> Iterator[str]:
    """HAProxy before three members of etcd, as the documentation has it; gives back where it listens."""
    [text] = re.findall(r"```text\n(.*?)```", DOCS.read_text(), re.DOTALL)
    text = text.replace("127.0.0.1:2379", f"127.0.0.1:{(port := free_port())}")
    for number, endpoint in enumerate(endpoints, 1):
        assert f"etcd-{number}.example.org:2379" in text
        text = text.replace(f"etcd-{number}.example.org:2379", endpoint)
    if authority:
        [check] = re.findall(r"`(check check-ssl ca-file) /\S+`", DOCS.read_text())
        text = text.replace("default-server check", f"default-server {check} {authority}")
    with HaproxyServer(text, port):
        yield f"127.0.0.1:{port}"


@pytest.fixture(params=["etcd", "consul"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three servers on this machine, ``apart`` with networks of their own, ``balanced`` with HAProxy before them."""
    kind, *options = request.param.split()
    separate = "apart" in options and Network.possible()
    if kind == "etcd":
        with contextlib.ExitStack() as stack:
            etcd = stack.enter_context(EtcdCluster(root_password="root", separate=separate))
            made = at_etcd(etcd)
            if "balanced" in options:
                made.traits["etcd_url"] = f"etcd://{stack.enter_context(haproxy(etcd.endpoints))}"
            yield made
    else:
        with ConsulCluster(acl=True, separate=separate) as consul:
            yield at_consul(consul)


@pytest.fixture
async def proxy(site: Site, tmp_path: Path) -> AsyncIterator[KVTraefikProxy]:
    """A proxy on the cluster."""
    async with making(site.proxy_class, tmp_path, **site.traits) as make:
        made = make(check_route_timeout=_CONSUL_SECONDS)
        await made.start()
        yield made


async def assert_added(
    proxy: KVTraefikProxy, spec: str, target: str, client_of: Callable[..., Client], seconds: float = _SECONDS
) -> None:
    """A new route is served, soon."""
    await within(proxy.add_route(spec, target, {}), seconds)
    assert await client_of(proxy).ask(spec) == (200, port_of(target))


async def assert_agreed(cluster: EtcdCluster | ConsulCluster) -> None:
    """All servers hold the same, and it is something."""
    await until(lambda: len({str(sorted((held or {}).items())) for held in cluster.contents()}) == 1, 60)
    assert cluster.contents()[0]


def watched(cluster: EtcdCluster | ConsulCluster) -> int:
    """Number of the member of etcd that tells Traefik of changes."""
    assert isinstance(cluster, EtcdCluster)
    watchers = [node.metric("etcd_debugging_mvcc_watcher_total") for node in cluster.nodes]
    return watchers.index(1)


# -- one server of three


@pytest.mark.parametrize(
    ("site", "victim"), [("etcd", "leader"), ("etcd", "watched"), ("consul", "leader")], indirect=["site"]
)
async def test_users_do_not_notice_that_a_server_is_killed(
    victim: str, site: Site, proxy: KVTraefikProxy, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """The leader, or the one that Traefik watches; many routes that are added meanwhile are served."""
    cluster = site.cluster
    async with under_load(proxy, doors, client_of) as target:
        old = watched(cluster) if victim == "watched" else cluster.wait_for_leader()
        cluster.nodes[old].kill()
        many = [assert_added(proxy, f"/user/meanwhile{n}/", target, client_of) for n in range(30)]
        await asyncio.gather(*many)
        assert await asyncio.to_thread(cluster.wait_for_leader, old) != old
        await asyncio.to_thread(cluster.nodes[old].start)
        await assert_added(proxy, "/user/later/", target, client_of)
        assert len(await proxy.get_all_routes()) == len(many) + 21
    await assert_agreed(cluster)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", ["etcd balanced", "consul"], indirect=True)
async def test_users_do_not_notice_that_the_leader_is_paused(
    site: Site, proxy: KVTraefikProxy, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Its connections stay open and nothing comes. When it goes on, it undoes nothing of what happened meanwhile."""
    async with under_load(proxy, doors, client_of) as target:
        old = site.cluster.wait_for_leader()
        site.cluster.pause(old)
        await assert_added(proxy, "/user/meanwhile/", target, client_of, _CONSUL_SECONDS)
        await proxy.delete_route("/user/meanwhile/")
        site.cluster.go_on(old)
        await assert_added(proxy, "/user/later/", target, client_of)
        await assert_agreed(site.cluster)
        assert "/user/meanwhile/" not in await proxy.get_all_routes()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("site", "cut", "mend"),
    [
        ("etcd balanced apart", "isolate", "reunite"),
        ("etcd balanced apart", "cut", "join"),
        ("consul apart", "isolate", "reunite"),
    ],
    indirect=["site"],
)
async def test_users_do_not_notice_that_the_leader_is_cut_off(
    cut: str, mend: str, site: Site, proxy: KVTraefikProxy, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """From the other servers, or from all. Machines with networks of their own need root: else it is paused."""
    cluster = site.cluster
    cut, mend = (cut, mend) if Network.possible() else ("pause", "go_on")
    async with under_load(proxy, doors, client_of) as target:
        old = cluster.wait_for_leader()
        getattr(cluster, cut)(old)
        await assert_added(proxy, "/user/meanwhile/", target, client_of, _CONSUL_SECONDS)
        getattr(cluster, mend)(old)
        await assert_added(proxy, "/user/later/", target, client_of)
    await assert_agreed(cluster)


@pytest.mark.parametrize("site", ["etcd"], indirect=True)
async def test_traefik_does_not_leave_a_member_of_etcd_that_hangs(
    site: Site, proxy: KVTraefikProxy, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Which is why the documentation puts HAProxy before a cluster: a Traefik that can do it makes this test fail."""
    cluster = site.cluster
    async with under_load(proxy, doors, client_of) as target:
        number = watched(cluster)
        cluster.pause(number)
        proxy.check_route_timeout = 15
        with pytest.raises(RouteNotReadyError, match="Traefik has not loaded the store's latest contents"):
            await proxy.add_route("/user/meanwhile/", target, {})
        assert "/user/meanwhile/" not in await proxy.get_all_routes()
        cluster.go_on(number)
        await assert_added(proxy, "/user/later/", target, client_of)


@pytest.mark.parametrize("site", ["consul"], indirect=True)
async def test_traefik_follows_only_the_first_of_several_endpoints_of_consul(
    site: Site,
    tmp_path: Path,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the hub asks whichever answers; what is away is named at start."""
    cluster, target = site.cluster, await doors.open()
    first, last = cluster.nodes[0], cluster.nodes[2]
    last.kill()
    await asyncio.to_thread(cluster.wait_for_leader, 2)
    traits = {**site.traits, "consul_url": f"consul://{','.join(cluster.endpoints)}"}
    async with making(TraefikConsulProxy, tmp_path, **traits) as make:
        proxy = make()
        await proxy.start()
        assert re.search(f"{last.endpoint} cannot be reached .*The others are asked", caplog.text)
        await asyncio.to_thread(last.start)
        await assert_added(proxy, "/user/ada/", target, client_of)
        first.kill()
        await asyncio.to_thread(cluster.wait_for_leader, 0)
        proxy.check_route_timeout = 5
        with pytest.raises(RouteNotReadyError, match="Traefik has not loaded the store's latest contents"):
            await proxy.add_route("/user/bob/", target, {})
        assert set(await proxy.get_all_routes()) == {"/user/ada/"}
        proxy.check_route_timeout = _SECONDS
        await asyncio.to_thread(first.start)
        await assert_added(proxy, "/user/bob/", target, client_of)


async def test_haproxy_lets_tls_through(
    etcd_factory: Callable[..., EtcdServer],
    certificates: Certificates,
    tmp_path: Path,
    doors: Doors,
    client_of: Callable[..., Client],
) -> None:
    """And asks for the members' health by TLS as well; two of them are away."""
    ends = [etcd_factory(certificates=certificates).endpoint, *(f"127.0.0.1:{free_port()}" for _ in range(2))]
    with haproxy(ends, str(certificates.ca)) as endpoint:
        traits = {"etcd_url": f"etcds://{endpoint}", "etcd_client_ca_cert": str(certificates.ca)}
        async with making(TraefikEtcdProxy, tmp_path, **traits) as make:
            proxy = make()
            await proxy.start()
            await assert_added(proxy, "/user/ada/", await doors.open(), client_of)


# -- two servers of three


async def test_without_a_majority_routes_go_on_and_new_ones_wait(
    site: Site,
    proxy: KVTraefikProxy,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And say what they wait for; when the servers are back, all is as it should be."""
    caplog.set_level(logging.INFO)
    cluster = site.cluster
    async with under_load(proxy, doors, client_of) as target:
        first = cluster.wait_for_leader()
        lost = [first, (first + 1) % 3]
        for number in lost:
            cluster.nodes[number].kill()
        proxy.check_route_timeout = 12
        with pytest.raises(RouteNotReadyError, match=r"cannot be reached|cannot help|no leader|does not answer"):
            await proxy.add_route("/user/impatient/", target, {})
        proxy.check_route_timeout = _CONSUL_SECONDS
        waiting = asyncio.create_task(proxy.add_route("/user/patient/", target, {}))
        for number in lost:
            cluster.nodes[number].launch()
        await within(waiting, _CONSUL_SECONDS)
        assert await client_of(proxy).ask("/user/patient/") == (200, port_of(target))
        assert "/user/impatient/" not in await proxy.get_all_routes()
        await assert_added(proxy, "/user/later/", target, client_of)
    assert "The store answers again" in caplog.text
    await assert_agreed(cluster)


# -- what was sent long ago


@pytest.mark.parametrize("site", ["etcd apart", "consul apart"], indirect=True)
@pytest.mark.parametrize("list_between", [False, True])
async def test_a_transaction_passed_on_late_undoes_nothing(list_between: bool, site: Site, tmp_path: Path) -> None:
    """A follower that the others do not hear keeps what it is told, and hands it to the leader when it is back."""
    cluster = site.cluster
    follower = (cluster.wait_for_leader() + 1) % 3
    scheme, setting = site.proxy_class.provider_name, f"{site.proxy_class.provider_name}_url"
    order = [cluster.endpoints[number % 3] for number in range(follower, follower + 3)]
    async with making(site.proxy_class, tmp_path, **{**site.traits, setting: f"{scheme}://{','.join(order)}"}) as make:
        proxy = make()
        store = proxy.open_store(proxy.roots)
        try:
            await store.snapshot()
            await store.apply(value("first"))
            await asyncio.to_thread(cluster.isolate if Network.possible() else cluster.pause, follower)
            if list_between:
                late = asyncio.create_task(store.apply(value("late")))
                await asyncio.wait([late], timeout=1)
                late.cancel()
                await asyncio.gather(late, return_exceptions=True)
                assert (await store.snapshot()).config == {"a": "first"}
                wanted = "first"
            else:
                await store.apply(value("late"))
                await store.apply(value("wanted"))
                wanted = "wanted"
            await asyncio.to_thread(cluster.reunite if Network.possible() else cluster.go_on, follower)
            # Behind the late one, by the same way.
            await until(lambda: told(cluster, follower), 60)
            await assert_agreed(cluster)
            assert (await store.snapshot()).config == {"a": wanted}
        finally:
            await store.aclose()


def value(text: str) -> Transaction:
    """Sets one key."""
    return Transaction((Operation(Space.CONFIG, "a", text),))


def told(cluster: EtcdCluster | ConsulCluster, number: int) -> bool:
    """True if a server passes on what it is told now."""
    try:
        cluster.nodes[number].put("zz", "1")
    except OSError:
        return False
    return True
