"""The administrator's default certificate is served, wherever Traefik reads it, while routes come and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import trustme

from kvproxy.testing.servers import RedisServer, TraefikServer, free_port
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_redis import TraefikRedisProxy

from .proxies import Doors, Start, making, number_in, served_number, until_true

pytestmark = pytest.mark.timeout(180)

STORE = "tls/stores/default/defaultCertificate"


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """The administrator's certificate and its key."""
    made, chain, key = trustme.CA().issue_cert("own.example.org"), tmp_path / "own.pem", tmp_path / "own.key"
    made.cert_chain_pems[0].write_to_path(chain)
    made.private_key_pem.write_to_path(key)
    return {"certFile": str(chain), "keyFile": str(key)}


def in_file(own: dict[str, str], file: Path) -> None:
    """As the file provider has a default certificate."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(tomli_w.dumps({"tls": {"stores": {"default": {"defaultCertificate": own}}}}))


@pytest.fixture(params=["filename", "directory", "second store", "own store"])
def provided(
    request: pytest.FixtureRequest, own: dict[str, str], redis_server: RedisServer, tmp_path: Path
) -> dict[str, Any]:
    """The providers section with which Traefik finds the administrator's certificate."""
    if request.param == "filename":
        in_file(own, tmp_path / "certificates.toml")
        return {"file": {"filename": str(tmp_path / "certificates.toml")}}
    if request.param == "directory":
        in_file(own, tmp_path / "rules" / "any name.toml")
        return {"file": {"directory": str(tmp_path / "rules")}}
    if request.param == "second store":
        etcd: EtcdServer = request.getfixturevalue("etcd_server")
        for name, value in own.items():
            etcd.put(f"certificates/{STORE}/{name}", value)
        return {"etcd": {"endpoints": [f"127.0.0.1:{etcd.port}"], "rootKey": "certificates"}}
    for name, value in own.items():
        redis_server.command("SET", f"traefik/{STORE}/{name}", value)
    return {}


async def churn(proxy: Any, doors: Doors, port: int, number: int) -> None:
    """Routes come and go; the certificate stays."""
    for name in ("ada", "bob", "ada"):
        await proxy.add_route(f"/user/{name}/", await doors.open(), {})
        assert await served_number(port) == number
    await proxy.delete_route("/user/ada/")
    await proxy.get_all_routes()
    assert await served_number(port) == number


def external(providers: dict[str, Any], public: int, api: int) -> dict[str, Any]:
    """The static configuration of a Traefik that the hub does not start, with TLS at its public entry point."""
    points = {
        "http": {"address": f"127.0.0.1:{public}", "http": {"tls": {}}},
        "auth_api": {"address": f"127.0.0.1:{api}"},
    }
    return {"api": {}, "entryPoints": points, "providers": {"providersThrottleDuration": "0s", **providers}}


async def test_a_traefik_of_ones_own_keeps_its_certificate(
    provided: dict[str, Any],
    own: dict[str, str],
    make_proxy: Callable[..., TraefikRedisProxy],
    traefik_server: Callable[..., TraefikServer],
    redis_server: RedisServer,
    doors: Doors,
    tmp_path: Path,
) -> None:
    """Before the hub's first start, while it works, and after it."""
    public, api, number = free_port(), free_port(), number_in(Path(own["certFile"]))
    redis = {"endpoints": [f"127.0.0.1:{redis_server.port}"], "rootKey": "traefik"}
    file = tmp_path / "own.toml"
    file.write_text(tomli_w.dumps(external({"redis": redis, **provided}, public, api)))
    traefik_server(file, [public, api])

    async def served() -> bool:
        try:
            return await served_number(public) == number
        except OSError:
            return False  # it has loaded nothing yet

    await until_true(served, 20)
    urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://127.0.0.1:{api}"}
    proxy = make_proxy(should_start=False, **urls)
    await churn(proxy, doors, public, number)
    await proxy.stop()
    assert await served()


async def test_a_traefik_of_the_hub_keeps_what_else_it_is_given(
    provided: dict[str, Any], own: dict[str, str], start_proxy: Start, doors: Doors
) -> None:
    """By extra_static_config, or in the hub's own store."""
    public = free_port()
    extra = {"entryPoints": {"http": {"http": {"tls": {}}}}, "providers": provided}
    proxy = await start_proxy(public_url=f"http://127.0.0.1:{public}/", extra_static_config=extra)
    await churn(proxy, doors, public, number_in(Path(own["certFile"])))


@pytest.mark.parametrize("name", ["aaa.toml", "zzz.toml"])
async def test_a_file_beside_the_hubs_in_the_same_directory(
    name: str,
    own: dict[str, str],
    traefik_server: Callable[..., TraefikServer],
    doors: Doors,
    tmp_path: Path,
) -> None:
    """Whichever of the two Traefik reads first."""
    public, api, rules = free_port(), free_port(), tmp_path / "rules"
    in_file(own, rules / name)
    (rules / "rules.toml").touch()
    file = tmp_path / "own.toml"
    file.write_text(tomli_w.dumps(external({"file": {"directory": str(rules)}}, public, api)))
    traefik_server(file, [public, api])
    urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://127.0.0.1:{api}"}
    async with making(TraefikFileProviderProxy, tmp_path, dynamic_config_file=str(rules / "rules.toml")) as make:
        await churn(make(should_start=False, **urls), doors, public, number_in(Path(own["certFile"])))


async def test_one_that_comes_while_the_hub_works_is_served(
    own: dict[str, str], start_proxy: Start, redis_server: RedisServer, doors: Doors
) -> None:
    """Under the very keys that the hub has written, and so it stays."""
    public, number = free_port(), number_in(Path(own["certFile"]))
    proxy = await start_proxy(
        public_url=f"http://127.0.0.1:{public}/", extra_static_config={"entryPoints": {"http": {"http": {"tls": {}}}}}
    )
    await proxy.add_route("/", await doors.open(), {})
    assert await served_number(public) != number
    for name, value in own.items():
        redis_server.command("SET", f"traefik/{STORE}/{name}", value)

    async def served() -> bool:
        return await served_number(public) == number

    await until_true(served, 20)
    await churn(proxy, doors, public, number)


async def test_reloads_are_cheap_without_foreign_certificates(start_proxy: Start, doors: Doors) -> None:
    """Traefik of the hub, or any other that was told so: it has a certificate, so it makes no key."""
    public = free_port()
    proxy = await start_proxy(
        public_url=f"http://127.0.0.1:{public}/", extra_static_config={"entryPoints": {"http": {"http": {"tls": {}}}}}
    )
    await proxy.add_route("/", await doors.open(), {})
    first = await served_number(public)
    await proxy.add_route("/user/ada/", await doors.open(), {})
    assert await served_number(public) == first
