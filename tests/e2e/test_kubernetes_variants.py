"""Changes to the example for Kubernetes that the pages describe, taken from the pages and run."""

from __future__ import annotations

import functools
import re
import ssl
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from traitlets.config.loader import PyFileConfigLoader

from kvproxy.testing.servers import Certificates, EchoServer, RedisServer
from kvproxy_redis import TraefikRedisProxy

from .deployed import HUB_PASSWORD, ExampleTraefik, example_redis
from .proxies import making, until_true

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.timeout(120)

DOCS = Path(__file__).parents[2] / "docs" / "how-to"


def block(page: str, language: str, holding: str) -> str:
    """The first block of a page in a language that holds this text."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return next(textwrap.dedent(text) for _, text in found if holding in text)


def settings(page: str, holding: str, directory: Path) -> dict[str, Any]:
    """The settings of TraefikProxy in a Python block."""
    file = directory / "documented.py"
    file.write_text(block(page, "python", holding), encoding="utf-8")
    return dict(PyFileConfigLoader(str(file)).load_config().TraefikProxy)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with example_redis() as server:
        yield server


@pytest.fixture
async def make(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Callable[..., TraefikRedisProxy]]:
    """Makes the proxy of a hub beside a Traefik."""
    login = {"redis_url": redis.url, "redis_username": "hub", "redis_password": HUB_PASSWORD, "should_start": False}
    async with making(TraefikRedisProxy, tmp_path, **login) as made:
        yield lambda traefik, **traits: made(public_url=f"{traefik.url}/", traefik_api_url=traefik.api_url, **traits)


async def fetch(url: str, trust: ssl.SSLContext | bool = True) -> tuple[int, str, str]:
    """Status, text and Location."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, ssl=trust, allow_redirects=False) as answer,
    ):
        return answer.status, await answer.text(), answer.headers.get("Location", "")


async def _answers(url: str, trust: ssl.SSLContext | bool) -> bool:
    return (await fetch(url, trust))[0] == 200


async def test_a_certificate_in_traefik(
    tmp_path: Path, redis: RedisServer, make: Callable[..., TraefikRedisProxy], certificates: Certificates
) -> None:
    """Users come by https; the probe asks by https, for whatever name; http is redirected."""
    static = tomllib.loads(block("kubernetes.md", "toml", "tls = {}"))
    own = settings("kubernetes.md", "defaultCertificate", tmp_path)
    certificate = own["extra_dynamic_config"]["tls"]["stores"]["default"]["defaultCertificate"]
    assert set(certificate) == {"certFile", "keyFile"}
    certificate.update(certFile=str(certificates.server_certificate), keyFile=str(certificates.server_key))
    trust = ssl.create_default_context(cafile=certificates.ca)
    with (
        ExampleTraefik(tmp_path, "traefik", "kubernetes", redis.port, extra=static) as traefik,
        EchoServer("ada") as echo,
    ):
        proxy = make(traefik, **own)
        await proxy.add_route("/user/ada/", echo.url, {})
        status, text, _ = await fetch(f"https://127.0.0.1:{traefik.port}/user/ada/", trust)
        assert (status, '"name": "ada"' in text) == (200, True)
        probe = traefik.probe_url.replace("http://", "https://")
        await until_true(functools.partial(_answers, probe, False), 10)
        status, _, location = await fetch(f"http://127.0.0.1:{traefik.ports_of['web']}/user/ada/")
        assert (status, location) == (301, "https://127.0.0.1/user/ada/")


async def test_a_port_for_prometheus(
    tmp_path: Path, redis: RedisServer, make: Callable[..., TraefikRedisProxy]
) -> None:
    """Traefik's own metrics, without the password that its API asks for; the hub finds its own as before."""
    static = tomllib.loads(block("metrics.md", "toml", "entryPoints.metrics"))
    with (
        ExampleTraefik(tmp_path, "traefik", "kubernetes", redis.port, extra=static) as traefik,
        EchoServer("ada") as echo,
    ):
        proxy = make(traefik, placeholder_certificate=True, **settings("metrics.md", "prometheus@internal", tmp_path))
        await proxy.add_route("/user/ada/", echo.url, {})
        assert (await fetch(f"{traefik.url}/user/ada/"))[0] == 200
        status, text, _ = await fetch(f"http://127.0.0.1:{traefik.ports_of['metrics']}/metrics")
        assert status == 200
        assert 'traefik_service_requests_total{code="200"' in text
        assert (await fetch(f"{traefik.api_url}/metrics"))[0] in {401, 404}
