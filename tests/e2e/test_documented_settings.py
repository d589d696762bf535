"""Settings that docs/how-to/https.md and from-configurable-http-proxy.md show, on the real Traefik."""

from __future__ import annotations

import json
import shutil
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from traitlets.config.loader import PyFileConfigLoader

from kvproxy.testing.servers import Certificates, EchoServer, RedisServer, TraefikServer
from kvproxy.testing.servers.debian import debian_program
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, accepts
from kvproxy.traefik.static_config import deep_merge
from kvproxy_redis import TraefikRedisProxy

from .proxies import Doors, Start, number_in, port_of, served_number, until_true

DOCS = Path(__file__).parents[2] / "docs" / "how-to"
HUB = "hub.example.org"

pytestmark = pytest.mark.timeout(300)


def documented(page: str, holding: str, directory: Path) -> dict[str, Any]:
    """The settings of TraefikProxy in the first Python block of a page that holds this text."""
    blocks = (DOCS / page).read_text(encoding="utf-8").split("```python\n")[1:]
    text = next(block for block in (block.partition("```")[0] for block in blocks) if holding in block)
    file = directory / "documented.py"
    file.write_text(text, encoding="utf-8")
    return dict(PyFileConfigLoader(str(file)).load_config().TraefikProxy)


def secure(ca: Path, **options: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    for name, value in options.items():
        setattr(context, name, value)
    return context


def entry_points(**addresses: int) -> dict[str, Any]:
    """Entry points on ports of this test."""
    return {"entryPoints": {name: {"address": f"127.0.0.1:{port}"} for name, port in addresses.items()}}


@pytest.fixture
def own_certificate(certificates: Certificates) -> dict[str, str]:
    """The hub's ssl_key and ssl_cert."""
    return {"ssl_key": str(certificates.server_key), "ssl_cert": str(certificates.server_certificate)}


async def fetch(url: str, **options: Any) -> tuple[int, str, Mapping[str, str]]:
    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False, **options) as answer:
        return answer.status, await answer.text(), answer.headers


async def test_http_is_redirected_to_https(
    start_proxy: Start, own_certificate: dict[str, str], certificates: Certificates, doors: Doors, tmp_path: Path
) -> None:
    """To the public port, with the path, and it is served there."""
    port, plain = free_port(), free_port()
    extra = documented("https.md", '"web"', tmp_path)["extra_static_config"]
    proxy = await start_proxy(
        public_url=f"https://localhost:{port}/",
        extra_static_config=deep_merge(extra, entry_points(web=plain)),
        **own_certificate,
    )
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    status, _, headers = await fetch(f"http://localhost:{plain}/user/ada/lab?x=1")
    assert (status, headers["Location"]) == (301, f"https://localhost:{port}/user/ada/lab?x=1")
    assert (await fetch(headers["Location"], ssl=secure(certificates.ca)))[:2] == (200, port_of(target))


async def test_a_renewed_certificate_is_served_with_the_next_route(
    start_proxy: Start, doors: Doors, tmp_path: Path
) -> None:
    """Traefik reads the files again; nothing is restarted."""
    port, key, chain = free_port(), tmp_path / "hub.key", tmp_path / "hub.pem"

    def renew() -> int:
        leaf = trustme.CA().issue_cert("localhost")
        leaf.private_key_pem.write_to_path(key)
        leaf.cert_chain_pems[0].write_to_path(chain)
        return number_in(chain)

    first = renew()
    proxy = await start_proxy(public_url=f"https://localhost:{port}/", ssl_key=str(key), ssl_cert=str(chain))
    await proxy.add_route("/", await doors.open(), {})
    assert await served_number(port) == first
    second = renew()
    await proxy.add_route("/user/ada/", await doors.open(), {})
    assert await served_number(port) == second != first


async def test_further_certificates_and_the_least_version(
    start_proxy: Start, own_certificate: dict[str, str], certificates: Certificates, doors: Doors, tmp_path: Path
) -> None:
    """By the name that is asked for; TLS 1.2 is refused as documented."""
    extra = documented("https.md", "VersionTLS13", tmp_path)["extra_dynamic_config"]
    assert extra["tls"]["certificates"] == [{"certFile": "/etc/ssl/other.pem", "keyFile": "/etc/ssl/other.key"}]
    other, chain, key = trustme.CA().issue_cert("other.example.org"), tmp_path / "other.pem", tmp_path / "other.key"
    other.cert_chain_pems[0].write_to_path(chain)
    other.private_key_pem.write_to_path(key)
    extra["tls"]["certificates"] = [{"certFile": str(chain), "keyFile": str(key)}]
    port = free_port()
    proxy = await start_proxy(public_url=f"https://localhost:{port}/", extra_dynamic_config=extra, **own_certificate)
    await proxy.add_route("/", await doors.open(), {})
    own = number_in(certificates.server_certificate)
    for name, number in {"localhost": own, "other.example.org": number_in(chain), "third.example.org": own}.items():
        assert await served_number(port, name) == number
    old = secure(certificates.ca, maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(aiohttp.ClientConnectorError, match="protocol"):
        await fetch(proxy.public_url, ssl=old)


async def test_a_traefik_of_ones_own_serves_the_hubs_certificate(
    make_proxy: Callable[..., TraefikRedisProxy],
    traefik_server: Callable[..., TraefikServer],
    redis_server: RedisServer,
    own_certificate: dict[str, str],
    certificates: Certificates,
    doors: Doors,
    tmp_path: Path,
) -> None:
    """It needs an entry point named https that speaks TLS, and nothing else."""
    port, api = free_port(), free_port()
    file = tmp_path / "own.toml"
    file.write_text(
        f"""
[api]
[entryPoints.https]
address = "127.0.0.1:{port}"
[entryPoints.https.http.tls]
[entryPoints.auth_api]
address = "127.0.0.1:{api}"
[providers.redis]
endpoints = ["127.0.0.1:{redis_server.port}"]
rootKey = "traefik"
"""
    )
    traefik_server(file, [port, api])
    urls = {"public_url": f"https://localhost:{port}/", "traefik_api_url": f"http://127.0.0.1:{api}"}
    proxy = make_proxy(should_start=False, **urls, **own_certificate)
    target = await doors.open()
    await proxy.add_route("/", target, {})
    assert (await fetch(proxy.public_url, ssl=secure(certificates.ca)))[:2] == (200, port_of(target))


class AcmeServer:
    """Pebble, Let's Encrypt's own server for tests; it believes every answer to a challenge.

    directory: where its files are. url: of its directory. ca: to trust for `url`.
    """

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        self.port, self.management, self.ca = free_port(), free_port(), certificates.ca
        self.url = f"https://localhost:{self.port}/dir"
        settings = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(certificates.server_certificate),
            "privateKey": str(certificates.server_key),
        }
        file = directory / "pebble.json"
        file.write_text(json.dumps({"pebble": settings}))
        program = shutil.which("pebble") or debian_program("pebble", "bookworm", "usr/bin/pebble")
        always = {"PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        self._program = Program([str(program), "-config", str(file)], directory / "pebble.log", always)

    def __enter__(self) -> AcmeServer:
        self._program.start()
        self._program.wait_ready(lambda: accepts(self.port) and accepts(self.management), 20)
        return self

    def __exit__(self, *error: object) -> None:
        self._program.stop()

    async def root(self, trust: ssl.SSLContext, file: Path) -> Path:
        """The certificate of the authority that it makes at each start."""
        file.write_text((await fetch(f"https://localhost:{self.management}/roots/0", ssl=trust))[1])
        return file


@pytest.fixture
def acme(tmp_path: Path, certificates: Certificates) -> Iterator[AcmeServer]:
    with AcmeServer(tmp_path, certificates) as server:
        yield server


async def test_a_certificate_comes_from_an_acme_server(
    start_proxy: Start, acme: AcmeServer, doors: Doors, tmp_path: Path
) -> None:
    """With the documented resolver, but for ports, the server's address and where keys are kept."""
    port, plain = free_port(), free_port()
    settings = documented("https.md", "certificatesResolvers", tmp_path)
    assert settings.pop("traefik_entrypoint") == "https"
    resolver = {"caServer": acme.url, "caCertificates": [str(acme.ca)], "storage": str(tmp_path / "acme.json")}
    extra = deep_merge(settings.pop("extra_static_config"), entry_points(web=plain))
    extra = deep_merge(extra, {"certificatesResolvers": {"letsencrypt": {"acme": resolver}}})
    assert settings == {}
    proxy = await start_proxy(
        public_url=f"http://127.0.0.1:{port}/", traefik_entrypoint="https", extra_static_config=extra
    )
    target = await doors.open()
    await proxy.add_route("/", target, {})
    trust = secure(await acme.root(secure(acme.ca), tmp_path / "root.pem"))
    ask = {"ssl": trust, "server_hostname": HUB, "headers": {"Host": HUB}}

    async def served() -> bool:
        try:
            return (await fetch(f"https://127.0.0.1:{port}/", **ask))[:2] == (200, port_of(target))
        except aiohttp.ClientConnectorCertificateError:
            return False  # the placeholder

    await until_true(served, 60)
    assert (tmp_path / "acme.json").stat().st_mode & 0o077 == 0
    status, _, headers = await fetch(f"http://127.0.0.1:{plain}/x", headers={"Host": HUB})
    assert (status, headers["Location"]) == (301, f"https://{HUB}:{port}/x")


async def test_metrics_and_a_header_for_all(
    start_proxy: Start, echo_server: Callable[..., EchoServer], tmp_path: Path
) -> None:
    """As from-configurable-http-proxy.md has them."""
    settings = documented("from-configurable-http-proxy.md", "metrics", tmp_path)
    port = free_port()
    settings["extra_static_config"] = deep_merge(settings["extra_static_config"], entry_points(metrics=port))
    proxy = await start_proxy(**settings)
    await proxy.add_route("/", echo_server().url, {})
    assert "jupyterhub" in (await fetch(proxy.public_url))[1]
    assert (
        'traefik_entrypoint_requests_total{code="200",entrypoint="http"'
        in (await fetch(f"http://127.0.0.1:{port}/metrics"))[1]
    )
