"""Every set-up that jupyterhub-traefik-proxy documents, with real hubs, stores and Traefiks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import bcrypt
import pytest
import requests
from traitlets.config.loader import PyFileConfigLoader

from kvproxy.testing.hub import HubProcess
from kvproxy.testing.servers import Certificates, RedisServer, TraefikServer
from kvproxy.testing.servers.ports import free_port
from kvproxy_redis import TraefikRedisProxy

from .peer_set_ups import LETS_ENCRYPT, SET_UPS, SetUp
from .proxies import Doors, port_of, until_true
from .test_documented_settings import HUB, AcmeServer, acme, fetch, secure  # noqa: F401 - a fixture

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]

PASSWORD = "s3cret"
API = ("api_admin", "api-secret")


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "from-jupyterhub-traefik-proxy.md"


@dataclass(frozen=True)
class Store:
    """A store of one kind that asks for credentials.

    Args:
        values: its address, and what to log in with.
        held: asks for the keys that it holds.
    """

    values: dict[str, str]
    held: Callable[[], Iterable[str]]


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Callable[[str], Store]:
    """Starts a store of a kind."""

    def start(kind: str) -> Store:
        if kind == "redis":
            acl = [f"ada on >{PASSWORD} ~* &* +@all"]
            redis = request.getfixturevalue("redis_factory")(password="unused", acl=acl)
            login = {"store": f"127.0.0.1:{redis.port}", "user": "ada", "password": PASSWORD}
            return Store(login, lambda: redis.command("KEYS", "*"))
        if kind == "etcd":
            etcd = request.getfixturevalue("etcd_factory")(root_password=PASSWORD)
            return Store({"store": etcd.endpoint, "user": "root", "password": PASSWORD}, etcd.all)
        if kind == "consul":
            consul = request.getfixturevalue("guarded_consul")
            return Store({"store": consul.endpoint, "password": consul.token}, consul.all)
        return Store({}, tuple)

    return start


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.mark.parametrize("name", SET_UPS)
def test_a_hub_works_as_it_is_configured_there(
    name: str,
    store: Callable[[str], Store],
    certificates: Certificates,
    tmp_path: Path,
    stack: ExitStack,
) -> None:
    """Its page is served at the public URL, the API takes the user that is named there, and nothing is ignored."""
    set_up = SET_UPS[name]
    ends_tls = certificates if "ssl_cert" in set_up.config else None
    hub, used = HubProcess(tmp_path, certificates=ends_tls), store(set_up.store)
    values = {
        "public": str(hub.port),
        "api": str(hub.api_port),
        "dir": str(tmp_path),
        "cert": str(certificates.server_certificate),
        "key": str(certificates.server_key),
        "hashed": bcrypt.hashpw(API[1].encode(), bcrypt.gensalt(4)).decode(),
        **used.values,
    }
    # Where the former name of the static configuration's file is tested, the kit's own line must not win.
    removed = 'c.TraefikProxy.pop("static_config_file")\n' if "toml_static" in set_up.config else ""
    with (tmp_path / "jupyterhub_config.py").open("a") as file:
        file.write(removed + Template(set_up.config).substitute(values))
    if set_up.static:
        start_traefik(set_up, values, hub, tmp_path, stack)
    stack.callback(hub.close)
    hub.start()

    reply = requests.get(f"http://127.0.0.1:{hub.api_port}/api/overview", auth=API, timeout=10)
    assert reply.status_code == 200
    assert reply.json()["http"]["routers"]["errors"] == 0
    assert requests.get(f"http://127.0.0.1:{hub.api_port}/api/overview", timeout=10).status_code == 401
    entry_point = "for_users" if "for_users" in set_up.config else "https" if ends_tls else "http"
    points = requests.get(f"http://127.0.0.1:{hub.api_port}/api/entrypoints", auth=API, timeout=10).json()
    assert entry_point in {point["name"] for point in points}

    assert "not recognized" not in hub.log_text
    assert "is not used" not in hub.log_text
    former = re.findall(r"is the former name of (?:the proxy class )?'?([\w.]+\w)", hub.log_text)
    assert set(former) == {name.replace("c.TraefikToml", "c.TraefikFileProvider") for name in expected(set_up)}
    assert PASSWORD not in hub.log_text
    if set_up.store != "file":
        roots = {found[1] for key in used.held() if (found := re.match(r"(mine/\w+|\w+)/", key))}
        assert roots == ({"mine/traefik", "mine/hub"} if "prefix" in set_up.config else {"traefik", "jupyterhub"})
    for file in re.findall(r'(?:static|dynamic)_config_file = "\$dir/(.*)"', set_up.config):
        assert (tmp_path / file).exists()
    assert hub.end() == 0
    assert hub.log_text.partition("Traceback")[2][:3000] == ""


def expected(set_up: SetUp) -> set[str]:
    """The present names that the log names."""
    return {"traefik_file" if name == "TraefikTomlProxy" else name for name in set_up.former}


def start_traefik(set_up: SetUp, values: dict[str, str], hub: HubProcess, directory: Path, stack: ExitStack) -> None:
    """Start the administrator's Traefik, with its own dynamic configuration if there is one."""
    (directory / "dynamic").mkdir()
    if set_up.dynamic:
        (directory / "dynamic" / "own.toml").write_text(Template(set_up.dynamic).substitute(values))
    file = directory / "own-traefik.toml"
    file.write_text(Template(set_up.static).substitute(values))
    stack.enter_context(TraefikServer(file, [hub.port, hub.api_port]))


@pytest.mark.parametrize("name", LETS_ENCRYPT)
async def test_lets_encrypt_by_settings(
    name: str,
    make_proxy: Callable[..., TraefikRedisProxy],
    redis_server: RedisServer,
    acme: AcmeServer,  # noqa: F811
    doors: Doors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stack: ExitStack,
) -> None:
    """The default certificate is the one that comes from an ACME server, asked for by extra_dynamic_config."""
    # Traefik's way to trust the ACME server of the tests.
    monkeypatch.setenv("LEGO_CA_CERTIFICATES", str(acme.ca))
    set_up, port, api, plain = LETS_ENCRYPT[name], free_port(), free_port(), free_port()
    places = {"public": str(port), "api": str(api), "plain": str(plain), "dir": str(tmp_path)}
    values = {**places, "store": f"127.0.0.1:{redis_server.port}", "name": HUB, "acme": acme.url}
    file = tmp_path / "documented.py"
    file.write_text(Template(set_up.config).substitute(values))
    settings = dict(PyFileConfigLoader(str(file)).load_config().TraefikProxy)
    urls = {"public_url": f"http://127.0.0.1:{port}/", "traefik_api_url": f"http://localhost:{api}"}
    proxy = make_proxy(**urls, **settings)
    if set_up.static:
        own = tmp_path / "own-traefik.toml"
        own.write_text(Template(set_up.static).substitute(values))
        stack.enter_context(TraefikServer(own, [port, api]))
    else:
        await proxy.start()
    target = await doors.open()
    await proxy.add_route("/", target, {})
    trust = secure(await acme.root(secure(acme.ca), tmp_path / "root.pem"))

    async def served() -> bool:
        try:
            ask = {"ssl": trust, "server_hostname": HUB, "headers": {"Host": HUB}}
            return (await fetch(f"https://127.0.0.1:{port}/", **ask))[:2] == (200, port_of(target))
        except OSError:
            return False  # another certificate, until that one has come

    await until_true(served, 60)


def test_the_documented_table_leads_here_for_these_set_ups_only() -> None:
    """By their names."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()

    def leading_to(test: Callable[..., Any]) -> set[str]:
        return {line.split(" | ")[0].strip("| ") for line in lines if f'"{test.__name__}"' in line}

    assert leading_to(test_a_hub_works_as_it_is_configured_there) == set(SET_UPS)
    assert leading_to(test_lets_encrypt_by_settings) == set(LETS_ENCRYPT)
