"""``traefik_kv``: the backend is whatever ``store_url`` leads to, through the real Traefik."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from traitlets.config import Application, Config

from kvproxy.errors import ConfigurationError
from kvproxy.proxy.any_store import TraefikKVProxy
from kvproxy.testing.servers import RedisServer, free_port
from kvproxy.testing.servers.redis import TRAEFIK_RIGHTS

from .proxies import Client, Doors, port_of

Make: TypeAlias = Callable[..., TraefikKVProxy]


@pytest.fixture
async def make_proxy(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a proxy on free ports, with this configuration of the hub; all are stopped in the end."""
    async with AsyncExitStack() as stack:

        def make(config: dict[str, Any], **traits: Any) -> TraefikKVProxy:
            settings = {
                "public_url": f"http://127.0.0.1:{free_port()}/",
                "traefik_api_url": f"http://127.0.0.1:{free_port()}",
                "static_config_file": str(tmp_path / "traefik.toml"),
                "check_route_timeout": 20,
                "log": logging.getLogger("kvproxy.test"),
            }
            proxy = TraefikKVProxy(parent=Application(config=Config(config)), **{**settings, **traits})
            stack.push_async_callback(proxy.stop)
            return proxy

        yield make


@pytest.mark.parametrize("kind", ["redis", "file"])
@pytest.mark.parametrize("section", ["KVTraefikProxy", "TraefikKVProxy"])
async def test_a_url_picks_the_backend(
    kind: str,
    section: str,
    make_proxy: Make,
    redis_server: RedisServer,
    doors: Doors,
    client_of: Callable[..., Client],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Set in the hub's configuration, under either name; no class complains about another's setting."""
    caplog.set_level(logging.INFO)
    file = tmp_path / "my rules.toml"
    url = redis_server.url if kind == "redis" else f"file://{file}".replace(" ", "%20")
    proxy = make_proxy({section: {"store_url": url}})
    assert (proxy.store_url, proxy.provider_name) == (url, kind)
    await proxy.start()
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {"user": "ada"})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    kept = redis_server.command("HEXISTS", "jupyterhub/routes", "/user/ada/") == 1
    assert (kept, file.exists()) == (kind == "redis", kind == "file")
    await proxy.stop()
    assert [r.getMessage() for r in caplog.records if "not recognized" in r.getMessage()] == []
    place = "below 'traefik' and 'jupyterhub'" if kind == "redis" else f"in {file}"
    assert f"Leaving 1 route in the store, {place}" in caplog.text
    again = make_proxy({section: {"store_url": url}})
    await again.start()
    assert set(await again.get_all_routes()) == {"/user/ada/"}


async def test_the_backends_own_settings_count(
    make_proxy: Make, redis_factory: Callable[..., RedisServer], doors: Doors
) -> None:
    """As its own class has them; prefixes are those of the proxy itself."""
    redis = redis_factory(
        password="secret", acl=[f"traefik on >quiet {TRAEFIK_RIGHTS.replace('traefik*', 'a/traefik*')}"]
    )
    url = f"redis://127.0.0.1:{redis.port}"
    config = {
        "KVTraefikProxy": {"store_url": url, "kv_traefik_prefix": "a/traefik"},
        "TraefikRedisProxy": {
            "redis_password": "secret",
            "redis_traefik_username": "traefik",
            "redis_traefik_password": "quiet",
        },
    }
    proxy = make_proxy(config)
    await proxy.start()
    assert proxy.store_secrets() == ["secret", "quiet"]
    assert " user=traefik " in str(redis.command("CLIENT", "LIST"))
    await proxy.add_route("/user/ada/", await doors.open(), {})
    keys = redis.command("KEYS", "*")
    assert isinstance(keys, list)
    places = {str(key).split("/http/")[0].split("/tls/")[0] for key in keys}
    assert places == {"a/traefik", "jupyterhub/fence", "jupyterhub/hub", "jupyterhub/routes"}


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nosuch://host", "No installed backend takes a store_url with the scheme 'nosuch'.*file://.*redis://"),
        ("", "c.KVTraefikProxy.store_url is not set"),
        ("file://host/rules.toml", "names no file on this machine"),
        ("file:///rules.json", "must end in .toml, .yaml or .yml"),
    ],
)
async def test_a_url_that_leads_nowhere_is_one_sentence(
    url: str, sentence: str, make_proxy: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log and in the error; nothing is left behind."""
    with pytest.raises(ConfigurationError, match=sentence):
        await make_proxy({"KVTraefikProxy": {"store_url": url}}).start()
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "\n" not in record.getMessage()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind"), [("traefik_kv", "TraefikKVProxy"), ("traefik_file", "TraefikFileProviderProxy")]
)
def test_the_names_that_users_type(name: str, kind: str) -> None:
    """``c.JupyterHub.proxy_class = "traefik_kv"``."""
    (found,) = entry_points(group="jupyterhub.proxies", name=name)
    assert found.load().__name__ == kind
