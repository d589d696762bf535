"""Traefik's API over TLS, with a certificate of an authority of one's own (``traefik_api_ca``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kvproxy.errors import ConfigurationError, TraefikError
from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import Certificates, RedisServer, free_port
from kvproxy.testing.servers.tls import TlsFront
from kvproxy.traefik.api import TraefikApi, api_trust

from .command import write_config
from .proxies import Doors, Start, serving
from .test_cli import PASSWORD, check, levels, settings_of

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def other(tmp_path: Path) -> Certificates:
    """Certificates for the same names, of another authority."""
    (directory := tmp_path / "other").mkdir()
    return Certificates.make(directory)


def over_tls(certificates: Certificates, ca: Path | None = None) -> dict[str, Any]:
    """Traits of a proxy whose Traefik has this certificate, at its public address and at its API."""
    return {
        "public_url": f"https://localhost:{free_port()}/",
        "ssl_cert": str(certificates.server_certificate),
        "ssl_key": str(certificates.server_key),
        "traefik_api_url": f"https://127.0.0.1:{free_port()}",
        "traefik_api_ca": str(ca or certificates.ca),
    }


async def test_the_hub_and_the_commands_trust_the_named_authority(
    start_proxy: Start, certificates: Certificates, doors: Doors, tmp_path: Path
) -> None:
    """A route is served, and `kvproxy check` finds nothing wrong with the API."""
    traits = over_tls(certificates)
    proxy = await start_proxy(**traits, traefik_api_password=PASSWORD)
    await proxy.add_route("/", await doors.open(), {})
    names = {"traefik_api_ca": "TraefikProxy", "ssl_cert": "JupyterHub", "ssl_key": "JupyterHub"}
    settings = settings_of(proxy, **{f"{section}.{name}": traits[name] for name, section in names.items()})
    write_config(tmp_path, settings)
    done = await check(tmp_path)
    assert "error" not in levels(done.out), done.out
    write_config(tmp_path, {name: value for name, value in settings.items() if not name.endswith("_ca")})
    said = (await check(tmp_path)).out
    assert "not trusted (unable to get local issuer certificate); give its authority with traefik_api_ca" in said
    write_config(tmp_path, settings | {"TraefikProxy.traefik_api_ca": str(tmp_path / "none.pem")})
    done = await check(tmp_path)
    assert (done.status, "none.pem' cannot be used (No such file" in done.err) == (2, True), done.err


async def test_a_server_of_another_authority_is_told_nothing(certificates: Certificates, other: Certificates) -> None:
    """No password reaches it; one of the named authority is asked."""
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.headers["Authorization"])
        return web.json_response({"Version": "3.7.15"})

    async with serving(answer) as url:
        for certificate, trusted in [(other, False), (certificates, True)]:
            with TlsFront(int(url.rpartition(":")[2]), certificate) as front:
                tls = api_trust(str(certificates.ca), True)
                place = f"https://127.0.0.1:{front.port}"
                api = TraefikApi(place, "redis", username="kvproxy", password="token", tls=tls)
                try:
                    if trusted:
                        assert await api.version() == "3.7.15"
                    else:
                        with pytest.raises(
                            TraefikError, match=r"not trusted .* give its authority with traefik_api_ca"
                        ):
                            await api.version()
                finally:
                    await api.aclose()
                assert len(asked) == trusted


async def test_a_wrong_file_ends_the_start_before_anything_runs(
    start_proxy: Start, certificates: Certificates, redis_server: RedisServer, tmp_path: Path
) -> None:
    """One sentence with the setting; neither Traefik nor the store is touched."""
    with pytest.raises(ConfigurationError, match=r"traefik_api_ca = .*server-key.*cannot be used"):
        await start_proxy(**over_tls(certificates, certificates.server_key))
    assert redis_server.command("DBSIZE") in {0, "0", b"0"}
    assert not (tmp_path / "traefik.toml").exists()


@pytest.mark.hub
async def test_beside_internal_ssl(
    hub_factory: Callable[..., HubProcess], certificates: Certificates, redis_server: RedisServer, tmp_path: Path
) -> None:
    """JupyterHub's own authorities are for the hub and users' servers, and this one for the API."""
    hub = hub_factory(
        {
            "TraefikRedisProxy.redis_url": redis_server.url,
            "JupyterHub.internal_ssl": True,
            "JupyterHub.internal_certs_location": str(tmp_path / "internal-ssl"),
            "TraefikProxy.traefik_api_url": f"https://127.0.0.1:{free_port()}",
            "TraefikProxy.traefik_api_ca": str(certificates.ca),
        },
        certificates=certificates,
    )
    hub.start()
    async with HubClient(hub, "ada") as user:
        assert (await user.log_in()).status == 200
        assert {route["target"].partition("://")[0] for route in (await user.routes()).values()} == {"https"}
    assert hub.end() == 0
    assert "not trusted" not in hub.log_text
