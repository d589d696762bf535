"""Migrations between real stores, and from what jupyterhub-traefik-proxy has written into them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from kvproxy.proxy import KVTraefikProxy
from kvproxy.routing.route import make_route
from kvproxy.testing.servers import RedisServer, free_port
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_redis import TraefikRedisProxy

from .command import Done, documented, kvproxy, on_terminal, plain, write_config
from .proxies import Client, Doors, Start, making, port_of

KEYS: dict[str, str] = json.loads((Path(__file__).parents[1] / "data/jupyterhub-traefik-proxy-2.1.0.json").read_text())
SPECS = sorted(value for key, value in KEYS.items() if key.endswith("/routespec"))
PASSWORD = "store/pass-word"


class RedisKeys:
    """All keys of a Redis, by name."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.client = Redis(port=server.port, password=server.password or None, decode_responses=True)

    def put(self, keys: Mapping[str, str]) -> None:
        self.client.mset({**keys})

    def all(self) -> dict[str, Any]:
        return {
            key: self.client.hgetall(key) if self.client.type(key) == "hash" else self.client.get(key)
            for key in self.client.scan_iter()
        }

    def peers(self) -> set[str]:
        return self.all().keys() & KEYS.keys()


def configure(directory: Path, proxy_class: str, **settings: Any) -> None:
    """A hub on free ports."""
    common = {
        "JupyterHub.proxy_class": proxy_class,
        "JupyterHub.bind_url": f"http://127.0.0.1:{free_port()}",
        "JupyterHub.hub_bind_url": f"http://127.0.0.1:{free_port()}",
    }
    write_config(directory, {**common, **{name.replace("__", "."): value for name, value in settings.items()}})


async def migrate(directory: Path, *arguments: str, **environment: str) -> Done:
    return await asyncio.to_thread(kvproxy, directory, "migrate", *arguments, **environment)


@pytest.fixture
def redis(redis_factory: Callable[..., RedisServer], tmp_path: Path) -> RedisKeys:
    """A guarded Redis with the keys of jupyterhub-traefik-proxy, and a hub that is to use it."""
    keys = RedisKeys(redis_factory(password=PASSWORD))
    keys.put(KEYS)
    settings = {"TraefikRedisProxy__redis_url": keys.server.url, "TraefikRedisProxy__redis_password": PASSWORD}
    configure(tmp_path, "traefik_redis", **settings)
    return keys


async def test_nothing_is_written_unless_it_is_asked_for(redis: RedisKeys, tmp_path: Path) -> None:
    """The plan is said: what is added, and what has to be done about the old keys."""
    before = redis.all()
    done = await migrate(tmp_path, "--from-peer")
    assert (done.status, done.err) == (0, "")
    assert redis.all() == before
    assert "add     /user/ada/ -> http://127.0.0.1:4001" in done.out
    assert "9 to add." in done.out
    assert "--delete-old" in done.out
    assert "Nothing was written; --execute is refused until that is resolved." in done.out
    done = await migrate(tmp_path, "--from-peer", "--delete-old")
    assert done.out.endswith("9 to add.\nNothing was written; --execute does it.\n")
    assert redis.all() == before
    document = json.loads((await migrate(tmp_path, "--from-peer", "--json")).out)
    assert sorted(step["routespec"] for step in document["steps"]) == SPECS
    assert document["written"] is False


async def test_old_routes_that_would_win_are_not_left_beside_the_new(redis: RedisKeys, tmp_path: Path) -> None:
    """Traefik would go on leading to their targets when servers have moved."""
    before = redis.all()
    done = await migrate(tmp_path, "--from-peer", "--execute")
    assert done.status == 1
    assert "Remove them in the same run (--from-peer --delete-old)" in done.err
    assert redis.all() == before


async def test_a_hub_finds_all_routes_after_the_migration(
    redis: RedisKeys,
    make_proxy: Callable[..., TraefikRedisProxy],
    client_of: Callable[..., Client],
    doors: Doors,
    tmp_path: Path,
) -> None:
    """With their data, served, and nothing of the peer's is left."""
    door = await doors.open()
    redis.put({"jupyterhub/routes/router__2Fuser_2Fada_2F/target": door})
    printed = plain(await asyncio.to_thread(on_terminal, tmp_path, "migrate", "--from-peer", "--delete-old", "--yes"))
    assert "Writing keys" in printed
    assert "Written." in printed
    assert redis.peers() == set()
    again = await migrate(tmp_path, "--from-peer", "--execute")
    assert "none were found" in again.out
    assert again.out.endswith("There is nothing to do; nothing was written.\n")
    proxy = make_proxy(redis_url=redis.server.url, redis_password=PASSWORD)
    await proxy.start()
    routes = await proxy.get_all_routes()
    assert sorted(routes) == SPECS
    assert routes["/"]["data"] == {"hub": True}
    assert routes["/user/ada/gpu/"]["data"] == {"user": "ada", "server_name": "gpu"}
    assert await client_of(proxy).ask("/user/ada/lab") == (200, port_of(door))


async def test_routes_that_a_hub_has_gone_on_without_do_not_come_back(
    redis: RedisKeys, make_proxy: Callable[..., TraefikRedisProxy], doors: Doors, tmp_path: Path
) -> None:
    """Their servers may be elsewhere by now; what the hub has written stays, and the rest is only removed."""
    door = await doors.open()
    # The address at which the old router of Traefik's API answers, which knows another password.
    api = f"http://localhost:{free_port()}"
    proxy = make_proxy(redis_url=redis.server.url, redis_password=PASSWORD, traefik_api_url=api)
    await proxy.start()
    await proxy.add_route("/user/ada/", door, {"user": "ada"})
    assert proxy._reconciler is not None
    proxy._reconciler.prevail()
    await proxy.add_route("/", door, {"hub": True})
    await proxy.stop()
    done = await migrate(tmp_path, "--from-peer", "--delete-old", "--execute")
    assert (done.status, done.err) == (0, "")
    assert "Not copied: 9 outdated routes" in done.out
    assert redis.peers() == set()
    records = redis.all()["jupyterhub/routes"]
    assert sorted(records) == ["/", "/user/ada/", "setup"]
    assert door in records["/user/ada/"]


async def test_an_interrupted_migration_is_finished_by_running_it_again(redis: RedisKeys, tmp_path: Path) -> None:
    """Existing routes are kept, missing ones are added, and changes by the hub are not undone."""
    await migrate(tmp_path, "--from-peer", "--delete-old", "--execute")
    done = redis.all()
    redis.client.hdel("jupyterhub/routes", "/user/ada/")
    redis.put(KEYS)
    told = await migrate(tmp_path, "--from-peer", "--delete-old", "--execute")
    assert "1 to add, 8 there already." in told.out
    revision = next(key for key in done if "Revision" in key)
    assert {**redis.all(), revision: ""} == {**done, revision: ""}


async def test_prefixes_with_a_slash_are_the_peers_own(
    redis_factory: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """It keeps the one at the beginning, so that its records are elsewhere; rights for one's own keys are enough."""
    rights = "~traefik/* ~mine/* ~/mine/* &* +@read +@write +@transaction +@pubsub +@connection +info"
    keys = RedisKeys(redis_factory(password=PASSWORD, acl=[f"hub on >hub-pw {rights}"]))
    keys.put({key.replace("jupyterhub/", "/mine/", 1) if key.startswith("j") else key: v for key, v in KEYS.items()})
    login = {"TraefikRedisProxy__redis_username": "hub", "TraefikRedisProxy__redis_password": "hub-pw"}
    prefix = {"KVTraefikProxy__kv_jupyterhub_prefix": "/mine/"}
    configure(tmp_path, "traefik_redis", TraefikRedisProxy__redis_url=keys.server.url, **login, **prefix)
    done = await migrate(tmp_path, "--from-peer", "--delete-old", "--execute")
    assert (done.status, done.err) == (0, ""), done
    assert sorted(keys.all()["mine/routes"]) == SPECS
    assert not [key for key in keys.all() if key.startswith("/mine/")]


@asynccontextmanager
async def on_etcd(server: EtcdServer, directory: Path) -> AsyncIterator[KVTraefikProxy]:
    configure(directory, "traefik_etcd", TraefikEtcdProxy__etcd_url=server.url)
    async with making(TraefikEtcdProxy, directory, etcd_url=server.url) as make:
        yield make()


@asynccontextmanager
async def on_consul(server: ConsulServer, directory: Path) -> AsyncIterator[KVTraefikProxy]:
    configure(directory, "traefik_consul", TraefikConsulProxy__consul_url=server.url)
    async with making(TraefikConsulProxy, directory, consul_url=server.url) as make:
        yield make()


@pytest.mark.parametrize(("fixture", "opened"), [("etcd_server", on_etcd), ("consul_server", on_consul)])
async def test_the_peers_keys_in_other_stores(
    fixture: str, opened: Callable[..., Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Records are keys of their own there, beside kvproxy's."""
    server = request.getfixturevalue(fixture)
    for key, value in KEYS.items():
        server.put(key, value)
    async with opened(server, tmp_path) as proxy:
        done = await migrate(tmp_path, "--from-peer", "--delete-old", "--execute")
        assert (done.status, done.err) == (0, ""), done
        assert not server.all().keys() & KEYS.keys()
        await proxy.start()
        assert sorted(await proxy.get_all_routes()) == SPECS


async def test_the_peers_configuration_file(tmp_path: Path) -> None:
    """Where records are part of the configuration; foreign keys stay."""
    (tmp_path / "rules.toml").write_text(
        """
[http.routers.router__2Fuser_2Fada_2F]
service = "service__2Fuser_2Fada_2F"
rule = "( PathPrefix(`/user/ada/`) || Path(`/user/ada`) )"
entryPoints = ["http"]

[http.routers.mine]
service = "mine"
rule = "PathPrefix(`/mine`)"

[http.services.service__2Fuser_2Fada_2F.loadBalancer]
passHostHeader = true
[[http.services.service__2Fuser_2Fada_2F.loadBalancer.servers]]
url = "http://127.0.0.1:4001"

[jupyterhub.routes.router__2Fuser_2Fada_2F]
routespec = "/user/ada/"
target = "http://127.0.0.1:4001"
router = "router__2Fuser_2Fada_2F"
service = "service__2Fuser_2Fada_2F"

[jupyterhub.routes.router__2Fuser_2Fada_2F.data]
user = "ada"
server_name = ""
"""
    )
    file = str(tmp_path / "rules.toml")
    configure(tmp_path, "traefik_file", TraefikFileProviderProxy__dynamic_config_file=file)
    done = await migrate(tmp_path, "--from-peer", "--delete-old", "--execute")
    assert (done.status, done.err) == (0, ""), done
    text = (tmp_path / "rules.toml").read_text()
    assert "router_" not in text
    assert "PathPrefix(`/mine`)" in text
    assert '# kvproxy record "/user/ada/"' in text


# -- from one of kvproxy's stores to another


@pytest.fixture
async def old(start_proxy: Start) -> TraefikRedisProxy:
    """A hub's proxy on Redis with some routes, stopped."""
    proxy = await start_proxy(kv_traefik_prefix="old", kv_jupyterhub_prefix="hubold")
    for name in ("ada", "bob"):
        await proxy.add_route(f"/user/{name}/", "http://127.0.0.1:4001", {"user": name, "n": [1, True, None]})
    await proxy.stop()
    return proxy


FROM_OLD = ["--from-traefik-prefix", "old", "--from-jupyterhub-prefix", "hubold"]


async def test_routes_go_from_one_store_to_another(
    old: TraefikRedisProxy, redis_server: RedisServer, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    """Data and all; what else is below the root goes only if it is to."""
    keys = RedisKeys(redis_server)
    keys.put({"old/http/routers/mine/rule": "PathPrefix(`/mine`)"})
    before = keys.all()
    *_, [_, _, url, execute] = documented("from-jupyterhub-traefik-proxy.md")
    assert (url, execute) == ("redis://127.0.0.1:6379", "--execute")
    async with on_etcd(etcd_server, tmp_path) as proxy:
        done = await migrate(tmp_path, *FROM_OLD, execute, KVPROXY_MIGRATE_FROM=old.redis_url)
        assert (done.status, done.err) == (0, ""), done
        assert "1 key below the root there is not the proxy's" in done.out
        assert keys.all() == before
        done = await migrate(
            tmp_path, "--from", old.redis_url, *FROM_OLD, "--copy-foreign", "--delete-old", "--execute"
        )
        assert "2 there already." in done.out
        assert keys.all() == {"old/http/routers/mine/rule": "PathPrefix(`/mine`)"}
        assert etcd_server.get("traefik/http/routers/mine/rule") == "PathPrefix(`/mine`)"
        etcd_server.delete("traefik/http/routers/mine/rule")
        await proxy.start()
        routes = await proxy.get_all_routes()
    assert (
        routes["/user/ada/"]
        == make_route("/user/ada/", "http://127.0.0.1:4001", {"user": "ada", "n": [1, True, None]}).as_dict()
    )
    assert sorted(routes) == ["/user/ada/", "/user/bob/"]


async def test_one_hubs_configuration_names_the_source_too(
    old: TraefikRedisProxy, redis_server: RedisServer, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    """So that no password need be an argument."""
    (tmp_path / "before").mkdir()
    prefixes = {"KVTraefikProxy__kv_traefik_prefix": "old", "KVTraefikProxy__kv_jupyterhub_prefix": "hubold"}
    configure(tmp_path / "before", "traefik_redis", TraefikRedisProxy__redis_url=redis_server.url, **prefixes)
    async with on_etcd(etcd_server, tmp_path):
        done = await migrate(tmp_path, "--from", "before/jupyterhub_config.py")
    assert "2 to add." in done.out, done


async def test_a_store_is_not_migrated_to_itself(
    old: TraefikRedisProxy, redis_server: RedisServer, tmp_path: Path
) -> None:
    """However its address is spelt; with --delete-old all would be gone."""
    prefixes = {"KVTraefikProxy__kv_traefik_prefix": "old", "KVTraefikProxy__kv_jupyterhub_prefix": "hubold"}
    configure(tmp_path, "traefik_redis", TraefikRedisProxy__redis_url=redis_server.url, **prefixes)
    before = RedisKeys(redis_server).all()
    for url in (redis_server.url, redis_server.url.replace("127.0.0.1", "localhost")):
        done = await migrate(tmp_path, "--from", url, "--delete-old", "--execute")
        assert done.status == 2
        assert "store; name another one with --from." in done.err
    assert RedisKeys(redis_server).all() == before


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nosuch://x", "No installed backend takes a store_url with the scheme 'nosuch'"),
        ("nosuch.py", "--from names neither a store's URL, such as redis://host:6379, nor a file."),
        ("redis://127.0.0.1:1", "cannot be reached"),
    ],
)
async def test_sources_that_cannot_be_read_are_one_sentence(
    redis: RedisKeys, source: str, said: str, tmp_path: Path
) -> None:
    """On standard error."""
    done = await migrate(tmp_path, "--from", source)
    assert done.status in {1, 2}
    assert said in done.err
    assert len(done.err.splitlines()) == 1


async def test_a_store_that_a_hub_is_at_work_on_is_left_alone(
    redis: RedisKeys, make_proxy: Callable[..., TraefikRedisProxy], tmp_path: Path
) -> None:
    """Though no hub answers at its address: it may be on another machine."""
    proxy = make_proxy(redis_url=redis.server.url, redis_password=PASSWORD)
    await proxy.start()
    done = await migrate(tmp_path, "--from-peer", "--delete-old", "--execute")
    assert done.status == 1
    assert f"A hub (process {os.getpid()} on " in done.err
    await proxy.stop()
    assert (await migrate(tmp_path, "--from-peer", "--delete-old", "--execute")).status == 0
