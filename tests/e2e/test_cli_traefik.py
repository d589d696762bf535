"""Certificates, entry points, and programs that are not Traefik, as `kvproxy check` and the hub's log name them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from aiohttp import web

from kvproxy.testing.servers import Certificates, RedisServer, TraefikServer, free_port
from kvproxy.traefik.static_config import deep_merge
from kvproxy_redis import TraefikRedisProxy

from .command import write_config
from .proxies import Doors, Start, serving
from .test_cli import PASSWORD, SECRET, check, levels, never_started, settings_of

pytestmark = pytest.mark.timeout(180)

Own = Callable[..., TraefikRedisProxy]


@pytest.fixture
def own(
    make_proxy: Callable[..., TraefikRedisProxy],
    traefik_server: Callable[..., TraefikServer],
    redis_server: RedisServer,
    tmp_path: Path,
) -> Own:
    """Makes a proxy beside a Traefik that it does not start, of which nothing is to be said but what is changed."""

    def start(changes: dict[str, Any] | None = None, **traits: Any) -> TraefikRedisProxy:
        public, api = free_port(), free_port()
        good = {
            "api": {},
            "ping": {"manualRouting": True},
            "metrics": {"prometheus": {"manualRouting": True}},
            "entryPoints": {
                "http": {
                    "address": f"127.0.0.1:{public}",
                    "http": {"sanitizePath": False, "encodeQuerySemicolons": True},
                    "transport": {"respondingTimeouts": {"readTimeout": "1h"}},
                },
                "auth_api": {"address": f"127.0.0.1:{api}"},
            },
            "providers": {
                "providersThrottleDuration": "0s",
                "redis": {"endpoints": [f"127.0.0.1:{redis_server.port}"], "rootKey": "traefik"},
            },
        }
        file = tmp_path / "own.toml"
        file.write_text(tomli_w.dumps(deep_merge(good, changes or {})))
        traefik_server(file, [public, api])
        urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://127.0.0.1:{api}"}
        return make_proxy(should_start=False, traefik_api_password=PASSWORD, **urls, **traits)

    return start


def about(printed: str, what: str) -> list[str]:
    """The warnings and errors about something."""
    lines = [line for line in printed.splitlines() if line.startswith(("warning", "error"))]
    return [line for line in lines if line[8:].startswith(f"{what}:")]


async def test_a_traefik_without_a_default_certificate(own: Own, tmp_path: Path, doors: Doors) -> None:
    """The cost and the remedy are reported; once mended, nothing is."""
    proxy = own()
    await proxy.add_route("/", await doors.open(), {})
    write_config(tmp_path, settings_of(proxy))
    [said] = about((await check(tmp_path)).out, "certificate")
    assert "has no default certificate, so it makes an RSA key at each reload" in said
    assert "set c.TraefikProxy.placeholder_certificate = True" in said
    await proxy.stop()
    proxy.placeholder_certificate = True
    await proxy.add_route("/user/ada/", await doors.open(), {})
    write_config(tmp_path, settings_of(proxy, **{"TraefikProxy.placeholder_certificate": True}))
    done = await check(tmp_path)
    assert about(done.out, "certificate") + about(done.out, "entry points") == [], done.out


async def test_two_default_certificates(
    own: Own, certificates: Certificates, tmp_path: Path, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """Traefik serves neither: the hub's log and check say so."""
    caplog.set_level(logging.INFO)
    pair = {"certFile": str(certificates.server_certificate), "keyFile": str(certificates.server_key)}
    file = tmp_path / "certificates.toml"
    file.write_text(tomli_w.dumps({"tls": {"stores": {"default": {"defaultCertificate": pair}}}}))
    proxy = own({"providers": {"file": {"filename": str(file)}}}, placeholder_certificate=True)
    await proxy.add_route("/", await doors.open(), {})
    assert proxy._session is not None
    assert proxy._session.first_look is not None
    await proxy._session.first_look
    assert "does not serve the default certificate that the hub gives it" in caplog.text
    write_config(tmp_path, settings_of(proxy, **{"TraefikProxy.placeholder_certificate": True}))
    [said] = about((await check(tmp_path)).out, "certificate")
    assert said.startswith("error")
    assert "of two Traefik serves neither" in said


async def test_a_foreign_certificate_in_the_store_is_named(
    own: Own, redis_server: RedisServer, certificates: Certificates, tmp_path: Path, doors: Doors
) -> None:
    """A warning where the hub has one of its own, which is not served."""
    redis_server.command("SET", "traefik/tls/stores/default/defaultCertificate/certFile", "/etc/ssl/own.pem")
    proxy = own()
    await proxy.add_route("/", await doors.open(), {})
    write_config(tmp_path, settings_of(proxy))
    done = await check(tmp_path)
    assert "ok      certificate: The store holds a default certificate for Traefik that is not the hub's" in done.out
    files = {"ssl_cert": str(certificates.server_certificate), "ssl_key": str(certificates.server_key)}
    write_config(tmp_path, settings_of(proxy, **{f"JupyterHub.{name}": value for name, value in files.items()}))
    assert any("So ssl_cert is not served." in line for line in about((await check(tmp_path)).out, "certificate"))


async def test_an_entry_point_that_changes_requests(
    own: Own, tmp_path: Path, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """Each sentence once in the hub's log, and in check, with the line that mends it."""
    changes = {"sanitizePath": True, "encodeQuerySemicolons": False}
    timeouts = {"respondingTimeouts": {"readTimeout": "90s"}}
    proxy = own({"entryPoints": {"http": {"http": changes, "transport": timeouts}}}, placeholder_certificate=True)
    await proxy.add_route("/", await doors.open(), {})
    assert proxy._session is not None
    assert proxy._session.first_look is not None
    await proxy._session.first_look
    lines = [
        "entryPoints.http.http.sanitizePath = false",
        "entryPoints.http.http.encodeQuerySemicolons = true",
        'entryPoints.http.transport.respondingTimeouts.readTimeout = "1h"',
    ]
    assert [caplog.text.count(line) for line in lines] == [1, 1, 1]
    settings = {"TraefikProxy.placeholder_certificate": True, "JupyterHub.public_url": "https://hub.example.org/"}
    write_config(tmp_path, settings_of(proxy, **settings))
    said = "\n".join(about((await check(tmp_path)).out, "entry points"))
    lines.append("entryPoints.http.forwardedHeaders.trustedIPs")
    assert [said.count(line) for line in lines] == [1, 1, 1, 1]


async def test_tls_that_ends_in_front_of_the_hubs_traefik(start_proxy: Start, tmp_path: Path) -> None:
    """Check names the hub's own setting, until it is set."""
    proxy = await start_proxy(traefik_api_password=PASSWORD)
    settings = settings_of(proxy, **{"JupyterHub.public_url": "https://hub.example.org/"})
    write_config(tmp_path, settings)
    [said] = about((await check(tmp_path)).out, "entry points")
    assert "c.TraefikProxy.trusted_proxies" in said
    write_config(tmp_path, {**settings, "TraefikProxy.trusted_proxies": ["10.0.0.0/8"]})
    assert about((await check(tmp_path)).out, "entry points") == []


async def test_an_https_url_without_a_certificate(redis_server: RedisServer, tmp_path: Path) -> None:
    """Would be plain HTTP."""
    write_config(tmp_path, never_started(redis_server, **{"JupyterHub.bind_url": f"https://127.0.0.1:{free_port()}"}))
    [said] = about((await check(tmp_path)).out, "entry points")
    assert "does not make Traefik speak https: without c.JupyterHub.ssl_key and ssl_cert" in said


async def test_nothing_is_wrong_before_the_first_start_nor_while_the_hub_is_stopped(
    redis_factory: Callable[..., RedisServer], make_proxy: Callable[..., TraefikRedisProxy], tmp_path: Path
) -> None:
    """Even by the strict count."""
    redis = redis_factory(appendonly=True, password=SECRET)
    more = {
        "TraefikProxy.traefik_api_url": f"http://localhost:{free_port()}",
        "TraefikRedisProxy.redis_password": SECRET,
    }
    write_config(tmp_path, never_started(redis, **more))
    done = await check(tmp_path, "--strict")
    assert done.status == 0, done.out
    assert "cookie secret: There is none yet; the hub creates " in done.out
    proxy = make_proxy(redis_url=redis.url, redis_password=SECRET)
    await proxy.start()
    await proxy.stop()
    (tmp_path / "jupyterhub_cookie_secret").write_text("ab" * 32)
    (tmp_path / "jupyterhub_cookie_secret").chmod(0o600)
    done = await check(tmp_path, "--strict")
    assert done.status == 0, done.out
    (tmp_path / "jupyterhub_cookie_secret").unlink()
    assert levels((await check(tmp_path)).out)["warning"] == {"cookie secret"}


async def test_a_traefik_of_ones_own_before_the_hubs_first_start(own: Own, tmp_path: Path) -> None:
    """It has no API yet, as the hub writes the router of that."""
    write_config(tmp_path, settings_of(own()))
    done = await check(tmp_path)
    assert about(done.out, "Traefik API") == []
    assert (
        "Traefik API: It is not available yet: the hub writes its router to the store at its first start." in done.out
    )


@pytest.mark.parametrize("status", [200, 404])
async def test_a_stranger_at_the_place_of_the_api(status: int, redis_server: RedisServer, tmp_path: Path) -> None:
    """Is named as one, and not taken for a Traefik without entry points."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text="<h1>It works</h1>", status=status)

    async with serving(answer) as url:
        write_config(tmp_path, never_started(redis_server, **{"TraefikProxy.traefik_api_url": url}))
        done = await check(tmp_path)
    [said] = [line for line in done.out.splitlines() if line.startswith("error")]
    assert said.startswith(f"error   Traefik API: Traefik's API at {url} ")
    assert "another program listens there" in said
    assert "entry point" not in done.out


async def test_a_traefik_that_is_away_is_said_without_addresses(
    redis_server: RedisServer, make_proxy: Callable[..., TraefikRedisProxy], tmp_path: Path
) -> None:
    """The reason in two words, also where a name has several addresses."""
    url = f"http://localhost:{free_port()}"
    proxy = make_proxy(should_start=False, traefik_api_url=url)
    write_config(tmp_path, settings_of(proxy))
    [said] = about((await check(tmp_path)).out, "Traefik API")
    assert said.startswith(f"error   Traefik API: Traefik's API at {url} cannot be reached (Connection refused).")
