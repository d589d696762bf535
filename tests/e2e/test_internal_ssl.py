"""``internal_ssl``: Traefik speaks to the hub's servers with JupyterHub's certificates, and to none without them."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from certipy import Certipy

from kvproxy.routing.names import ALONE
from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import Certificates, RedisServer, TraefikServer, wait_until
from kvproxy.testing.servers.echo import EchoServer
from kvproxy.testing.servers.tls import TlsFront

pytestmark = [pytest.mark.hub, pytest.mark.timeout(300)]

#: A server's names in its certificate: those that JupyterHub gives its own, and those of another machine.
LOCAL = ["DNS:localhost", "IP:127.0.0.1"]
ELSEWHERE = ["DNS:elsewhere.invalid", "IP:192.0.2.1"]


@pytest.fixture
def internal(tmp_path: Path) -> dict[str, Any]:
    """The hub's settings; users' servers are started in directories of their own, so the location is absolute."""
    return {"JupyterHub.internal_ssl": True, "JupyterHub.internal_certs_location": str(tmp_path / "internal-ssl")}


async def refuses_strangers(url: str) -> bool:
    """True if a server ends the connection of a client without a certificate that has asked it for something."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url, ssl=False):
            return False
    except (aiohttp.ClientError, ssl.SSLError):
        return True


@pytest.mark.parametrize(
    "backend",
    [
        "redis",
        pytest.param("etcd", marks=pytest.mark.endurance),
        pytest.param("consul", marks=pytest.mark.endurance),
        pytest.param("file", marks=pytest.mark.endurance),
    ],
    indirect=True,
)
async def test_a_day_over_tls(
    hub_factory: Callable[..., HubProcess], backend: Mapping[str, Any], internal: Mapping[str, Any]
) -> None:
    """Pages, a kernel's websocket, a restart of the hub that leaves the server alone, and an end."""
    hub = hub_factory({**backend, **internal, "JupyterHub.cleanup_servers": False})
    hub.start()
    async with HubClient(hub, "ada") as user:
        assert (await user.log_in()).status == 200
        await user.spawn()
        assert (await user.browse(user.server_path() + "lab")).status == 200
        kernel = (await user.server("POST", "api/kernels", {"name": "python3"})).json()["id"]
        await user.run("x = 41", kernel=kernel)
        before = await user.routes()
        assert {route["target"].partition("://")[0] for route in before.values()} == {"https"}
        assert await refuses_strangers(await user.server_url())
    assert hub.end() == 0
    hub.start()
    async with HubClient(hub, "ada") as user:
        await user.log_in()
        assert await user.run("print(x + 1)", kernel=kernel) == "42\n"
        assert await user.routes() == before
        await user.stop_server()
    assert hub.end() == 0
    assert hub.log_text.partition("Traceback")[2][:3000] == ""


@pytest.fixture
def authorities(tmp_path: Path) -> Certipy:
    """JupyterHub's own authorities of the hub in this directory, made before it starts for the first time."""
    made = Certipy(store_dir=str(tmp_path / "internal-ssl"))
    for name in ("notebooks-ca", "proxy-client-ca"):
        made.create_ca(name)
    return made


@pytest.fixture
def front(echo_server: Callable[[str], EchoServer]) -> Iterator[Callable[[str, Certificates], TlsFront]]:
    """Puts TLS in front of an echo server of that name; clients must show a certificate of ``ca``."""
    with ExitStack() as stack:

        def make(name: str, certificates: Certificates) -> TlsFront:
            return stack.enter_context(TlsFront(echo_server(name).port, certificates, client_certificate=True))

        yield make


def certified(authorities: Certipy, name: str, names: list[str]) -> Certificates:
    """Like a user's server: a certificate of the notebooks' authority, for clients of the proxy's."""
    files = authorities.create_signed_pair(name, "notebooks-ca", alt_names=names)["files"]
    proxies = Path(authorities.store.get_record("proxy-client-ca")["files"]["cert"])
    certificate, key = Path(files["cert"]), Path(files["key"])
    return Certificates(proxies, certificate, key, certificate, key)


def with_certificates(certificates: Certificates, url: str) -> dict[str, Any]:
    """The same server for an administrator who trusts it, at ``/other``, as in docs/how-to/internal-ssl.md."""
    balancer = {"servers": [{"url": url}], "serversTransport": "other"}
    pair = {"certFile": str(certificates.client_certificate), "keyFile": str(certificates.client_key)}
    return {
        "http": {
            "routers": {"other": {"rule": "PathPrefix(`/other`)", "service": "other"}},
            "services": {"other": {"loadBalancer": balancer}},
            "serversTransports": {"other": {"rootCAs": [str(certificates.ca)], "certificates": [pair]}},
        }
    }


async def test_only_servers_with_certificates_of_jupyterhub_are_spoken_to(
    hub_factory: Callable[..., HubProcess],
    redis_server: RedisServer,
    internal: Mapping[str, Any],
    authorities: Certipy,
    certificates: Certificates,
    front: Callable[[str, Certificates], TlsFront],
) -> None:
    """Neither one of another authority nor one that is certified as another gets a request, unless told otherwise."""
    fronts = {
        "known": front("known", certified(authorities, "known", LOCAL)),
        "stranger": front("stranger", certificates),
        "impostor": front("impostor", certified(authorities, "impostor", ELSEWHERE)),
    }
    routes = {f"/{name}/": f"https://127.0.0.1:{it.port}" for name, it in fronts.items()}
    settings = {
        **internal,
        "TraefikRedisProxy.redis_url": redis_server.url,
        "Proxy.extra_routes": routes,
        "TraefikProxy.extra_dynamic_config": with_certificates(certificates, routes["/stranger/"]),
    }
    hub = hub_factory(settings)
    hub.start()
    assert await refuses_strangers(routes["/known/"])
    async with HubClient(hub, "ada") as user:
        # The hub may not have come to its extra routes yet.
        assert (await user.check_routes()).status == 200
        answer = await user.browse("/known/x")
        assert (answer.status, answer.json()["name"], answer.json()["path"]) == (200, "known", "/known/x")
        for name in ("stranger", "impostor"):
            assert (await user.browse(f"/{name}/x")).status == 500
        assert (await user.browse("/other/x")).json()["name"] == "stranger"
        wait_until(lambda: hub.log_text.count("failed to verify certificate") >= 2, "Traefik's reason is logged")
    keys = [redis_server.command("GET", key) for key in redis_server.command("KEYS", "traefik/*")]
    assert (hub.directory / "internal-ssl/proxy-client/proxy-client.key").read_text() not in keys
    assert hub.end() == 0


TOML = """
[api]

[entryPoints.http]
address = "127.0.0.1:{port}"

[entryPoints.auth_api]
address = "localhost:{api_port}"

[providers.redis]
endpoints = ["127.0.0.1:{redis_port}"]
rootKey = "traefik"

[providers.file]
directory = "{directory}"
"""

#: As in docs/how-to/internal-ssl.md.
OWN = """
[http.serversTransports.internal]
rootCAs = ["{certificates}/proxy-client-ca_trust.crt"]
maxIdleConnsPerHost = 200

[[http.serversTransports.internal.certificates]]
certFile = "{certificates}/proxy-client/proxy-client.crt"
keyFile = "{certificates}/proxy-client/proxy-client.key"
"""


@pytest.fixture
def beside(tmp_path: Path, redis_server: RedisServer) -> Iterator[Callable[[HubProcess], TraefikServer]]:
    """Starts the Traefik of a hub that starts none, with a file provider's directory ``own`` beside it."""
    (tmp_path / "own").mkdir()
    with ExitStack() as stack:

        def start(hub: HubProcess) -> TraefikServer:
            file = tmp_path / "external.toml"
            text = TOML.format(
                port=hub.port, api_port=hub.api_port, redis_port=redis_server.port, directory=tmp_path / "own"
            )
            file.write_text(text)
            return stack.enter_context(TraefikServer(file, [hub.port, hub.api_port]))

        yield start


async def spawn_and_compute(hub: HubProcess) -> None:
    """The actions of a user."""
    async with HubClient(hub, "ada") as user:
        assert (await user.log_in()).status == 200
        await user.spawn()
        assert await user.run("print(6*7)") == "42\n"
        await user.stop_server()


async def test_a_running_traefik_takes_new_certificates(
    hub_factory: Callable[..., HubProcess],
    redis_server: RedisServer,
    internal: Mapping[str, Any],
    beside: Callable[[HubProcess], TraefikServer],
) -> None:
    """JupyterHub has regenerated all of them, so the old ones would be refused, and refuse."""
    settings = {**internal, "TraefikRedisProxy.redis_url": redis_server.url, "TraefikRedisProxy.should_start": False}
    hub = hub_factory(settings)
    traefik = beside(hub)
    hub.start()
    await spawn_and_compute(hub)
    assert hub.end() == 0
    shutil.rmtree(hub.directory / "internal-ssl")
    hub.start()
    await spawn_and_compute(hub)
    assert traefik.running
    assert hub.end() == 0
    assert hub.log_text.partition("Traceback")[2][:3000] == ""


async def test_a_transport_of_the_administrators_own(
    hub_factory: Callable[..., HubProcess],
    redis_server: RedisServer,
    internal: Mapping[str, Any],
    beside: Callable[[HubProcess], TraefikServer],
    tmp_path: Path,
) -> None:
    """The certificates are files at Traefik's, and no part of them is in the store."""
    settings = {
        **internal,
        "TraefikRedisProxy.redis_url": redis_server.url,
        "TraefikRedisProxy.should_start": False,
        "TraefikProxy.traefik_servers_transport": "internal@file",
    }
    hub = hub_factory(settings)
    made = [sys.executable, "-m", "jupyterhub", "-f", str(tmp_path / "jupyterhub_config.py"), "--generate-certs"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "own" / "internal.toml").write_text(OWN.format(certificates=tmp_path / "internal-ssl"))
    beside(hub)
    hub.start()
    await spawn_and_compute(hub)
    assert [key for key in redis_server.command("KEYS", "traefik/*") if ALONE.transport in key] == []
    assert hub.end() == 0


def test_a_missing_transport_is_reported_at_start(
    hub_factory: Callable[..., HubProcess], redis_server: RedisServer, internal: Mapping[str, Any]
) -> None:
    """Rather than at each user's start."""
    settings = {
        **internal,
        "TraefikRedisProxy.redis_url": redis_server.url,
        "TraefikRedisProxy.should_start": False,
        "TraefikProxy.enable_setup_dynamic_config": False,
    }
    hub = hub_factory(settings)
    hub.launch()
    assert hub.wait(30) == 1
    assert "c.JupyterHub.internal_ssl needs a serversTransport" in hub.log_text
    assert redis_server.command("DBSIZE") == 0
