"""A hub on a store that jupyterhub-traefik-proxy has used, and that was not migrated."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import RedisServer, TraefikServer, free_port
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer

from .command import documented, process
from .load import Load
from .peer import peer_document, peer_file, peer_keys
from .proxies import Client, until_true

pytestmark = [pytest.mark.hub, pytest.mark.timeout(300)]

STALE = {"/user/bob/": {"target": f"http://127.0.0.1:{free_port()}", "data": {"user": "bob", "server_name": ""}}}


class Used(ABC):
    """A store that both proxies use."""

    settings: Mapping[str, Any]

    @abstractmethod
    def leave(self, routes: Mapping[str, Any]) -> None:
        """Have what the peer leaves behind, and nothing else."""

    @abstractmethod
    def left(self, routes: Mapping[str, Any]) -> bool:
        """True if that is all there, unchanged."""

    @abstractmethod
    def text(self) -> str:
        """All keys of any kind."""


class UsedRedis(Used):
    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.settings = {"JupyterHub.proxy_class": "traefik_redis", "TraefikRedisProxy.redis_url": server.url}

    def leave(self, routes: Mapping[str, Any]) -> None:
        keys = peer_keys(routes)
        self.server.command("MSET", *(text for pair in keys.items() for text in pair))
        self.server.command("DEL", *(key for key in self._all() if key not in keys))

    def left(self, routes: Mapping[str, Any]) -> bool:
        keys = peer_keys(routes)
        return self.server.command("MGET", *keys) == [*keys.values()]

    def _all(self) -> list[str]:
        found = self.server.command("KEYS", "*")
        assert isinstance(found, list)
        return [str(key) for key in found]

    def text(self) -> str:
        return "\n".join(self._all())


class UsedKeys(Used):
    def __init__(self, server: EtcdServer | ConsulServer, settings: Mapping[str, Any]) -> None:
        self.server, self.settings = server, settings

    def leave(self, routes: Mapping[str, Any]) -> None:
        keys = peer_keys(routes)
        for key, value in keys.items():
            self.server.put(key, value)
        for key in self.server.all().keys() - keys.keys():
            self.server.delete(key)

    def left(self, routes: Mapping[str, Any]) -> bool:
        return peer_keys(routes).items() <= self.server.all().items()

    def text(self) -> str:
        return "\n".join(self.server.all())


class UsedFile(Used):
    def __init__(self, file: Path) -> None:
        self.file = file
        self.settings = {
            "JupyterHub.proxy_class": "traefik_file",
            "TraefikFileProviderProxy.dynamic_config_file": str(file),
        }
        file.touch(0o600)

    def leave(self, routes: Mapping[str, Any]) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(peer_file(routes))
        new.chmod(0o600)
        new.replace(self.file)

    def left(self, routes: Mapping[str, Any]) -> bool:
        return _within(peer_document(routes), tomllib.loads(self.text()))

    def text(self) -> str:
        return self.file.read_text()


def _within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return all(name in whole and _within(below, whole[name]) for name, below in part.items())
    return bool(part == whole)


@pytest.fixture(
    params=[
        "redis",
        pytest.param("etcd", marks=pytest.mark.endurance),
        pytest.param("consul", marks=pytest.mark.endurance),
        "file",
    ]
)
def used(request: pytest.FixtureRequest, tmp_path: Path) -> Used:
    """A store of each kind."""
    if request.param == "file":
        return UsedFile(tmp_path / "rules.toml")
    server = request.getfixturevalue(f"{request.param}_server")
    if request.param == "redis":
        return UsedRedis(server)
    name = request.param.capitalize()
    url = {f"Traefik{name}Proxy.{request.param}_url": server.url}
    return UsedKeys(server, {"JupyterHub.proxy_class": f"traefik_{request.param}", **url})


@asynccontextmanager
async def at_work(hub: HubProcess) -> AsyncIterator[Load]:
    """A user's server is asked all the time."""
    client = Client(hub.port)
    status, body = await client.ask("/user/ada/api")
    assert status == 200
    async with Load([client], {"/user/ada/api": body}) as load:
        yield load
    await client.close()


async def answering(hub: HubProcess, path: str, status: int) -> None:
    """Wait until Traefik answers so."""
    client = Client(hub.port)

    async def answers() -> bool:
        return (await client.ask(path))[0] == status

    await until_true(answers, 20)
    await client.close()


def told(hub: HubProcess) -> list[list[str]]:
    """The commands that the log says take over what is left."""
    lines = re.findall(r"still holds 3 routes of jupyterhub-traefik-proxy.*, run: kvproxy (.*), and", hub.log_text)
    return [shlex.split(line) for line in lines]


async def test_users_at_work_do_not_notice_a_hub_that_starts_after_another_proxy(
    hub_factory: Callable[..., HubProcess], traefik_server: Callable[..., TraefikServer], used: Used
) -> None:
    """Its routes serve until the hub has its own, and none of its keys is changed before the command does it."""
    hub = hub_factory({**used.settings, "TraefikProxy.should_start": False, "JupyterHub.cleanup_servers": False})
    make, *_ = documented("external-traefik.md")
    assert (await asyncio.to_thread(process, hub.directory, *make)).status == 0
    traefik_server(hub.directory / "traefik.toml", [hub.port, hub.api_port])
    hub.start()
    assert told(hub) == []
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
        routes = {**(await ada.routes()), **STALE}
    assert hub.end() == 0
    used.leave(routes)
    assert "-kvp" not in used.text()
    await answering(hub, "/user/bob/", 502)

    async with at_work(hub) as load:
        await asyncio.to_thread(hub.start)
        [command] = told(hub)
        assert used.left(routes)
        # The hub knows no such server, and says so itself.
        await answering(hub, "/user/bob/", 302)
        async with HubClient(hub, "ada") as ada:
            assert sorted(await ada.routes()) == ["/", "/user/ada/"]
            assert (await ada.check_routes()).status == 200
        checked = await asyncio.to_thread(process, hub.directory, "check")
        assert shlex.join(command) in checked.out
        assert await asyncio.to_thread(hub.end) == 0
        # The API's old router, which knows another password, is not asked.
        assert "refuses the credentials" not in hub.log_text
        assert hub.log_text.partition("Traceback")[2][:3000] == ""
        done = await asyncio.to_thread(process, Path("/"), *command)
        assert (done.status, done.err) == (0, "")
        assert "router_" not in used.text()
        assert "route_api" not in used.text()
    assert load.failures == []
    assert load.requests > 100
