"""Wrong configurations: each ends in one sentence, which names the setting and the remedy.

The sentence is the same from a start of the hub's proxy and from ``kvproxy check``, which never says that all is well
where the hub would not start. Both run in this process: a hub of its own is tests/e2e/test_hub_start_failures.py's.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kvproxy.cli.hub.config import load_hub
from kvproxy.errors import KVProxyError
from kvproxy.testing.servers import RedisServer, free_port

from .command import kvproxy

pytestmark = pytest.mark.timeout(120)

SECRET = "wr0ng-0ne"
R, T, K, J = "TraefikRedisProxy", "TraefikProxy", "KVTraefikProxy", "JupyterHub"
ETCD = {f"{J}.proxy_class": "traefik_etcd"}
CONSUL = {f"{J}.proxy_class": "traefik_consul"}
FILE = {f"{J}.proxy_class": "traefik_file"}
ANY = {f"{J}.proxy_class": "traefik_kv"}
EXTERNAL = {f"{T}.should_start": False}


def middleware(**kinds: Any) -> dict[str, Any]:
    return {f"{T}.extra_dynamic_config": {"http": {"middlewares": {"mine": kinds}}}}


def static(**sections: Any) -> dict[str, Any]:
    return {f"{T}.extra_static_config": sections}


#: Settings that are wrong, and what the sentence about them holds.
TRAITS: list[tuple[dict[str, Any], str]] = [
    ({f"{T}.traefik_log_level": "verbose"}, r"'traefik_log_level' .* any of .*'WARN'"),
    ({f"{T}.traefik_entrypoint": "web x"}, r"traefik_entrypoint = 'web x' .* use letters, digits"),
    ({f"{T}.traefik_api_entrypoint": "a,b"}, r"traefik_api_entrypoint = 'a,b' .* use letters, digits"),
    ({f"{T}.traefik_api_url": "ftp://127.0.0.1:1"}, r"traefik_api_url"),
    ({f"{T}.traefik_api_url": "127.0.0.1:8099"}, r"traefik_api_url"),
    ({f"{T}.traefik_api_url": ["http://a:1/x", "http://b:1/y"]}, r"traefik_api_url .* same api\.basePath"),
    ({f"{T}.traefik_api_url": []}, r"'traefik_api_url'"),
    ({f"{T}.hub_id": "Big Hub"}, r"hub_id = 'Big Hub'"),
    ({f"{T}.hub_host": "a b"}, r"hub_host = 'a b' is not a host name"),
    ({f"{T}.hub_host": "https://hub.example.org"}, r"hub_host = .* is not a host name"),
    ({f"{T}.static_config_file": "traefik.json"}, r"static_config_file = .* must end in \.toml, \.yaml or \.yml"),
    ({f"{T}.error_pages_except": ["services"]}, r"error_pages_except"),
    ({f"{T}.trusted_proxies": ["10.0.0.0/33"]}, r"trusted_proxies .*10\.0\.0\.0/33"),
    ({f"{T}.route_layout": "trees"}, r"'route_layout' .*'tree'"),
    ({f"{T}.route_tiers": "three"}, r"'route_tiers' .*'two'"),
    (
        {f"{T}.hot_traefik_url": "http://0.0.0.0:8097"},
        r"hot_traefik_url = .* must look like 'http://127\.0\.0\.1:8097'",
    ),
    (
        {f"{T}.route_tiers": "two", f"{T}.hot_traefik_api_url": "http://traefik:8098"},
        r"hot_traefik_api_url = .* must look like 'http://127\.0\.0\.1:8097'",
    ),
    (
        {f"{T}.route_tiers": "two", f"{T}.should_start": False},
        r"needs a second Traefik beside each one .*; set c\.TraefikProxy\.hot_traefik_api_url",
    ),
    (
        {f"{T}.hot_traefik_api_url": ["http://a:1/x", "http://b:1/y"]},
        r"hot_traefik_api_url names several URLs with different paths",
    ),
    (
        {f"{T}.route_tiers": "two", "JupyterHub.hub_routespec": "/hub/"},
        r"route_tiers = 'two' works only if c.JupyterHub.hub_routespec has the paths of all users below it",
    ),
    (
        {f"{T}.route_tiers": "two", f"{T}.traefik_servers_transport": "own@file"},
        r"route_tiers = 'two' does not work with",
    ),
    ({f"{T}.check_route_timeout": 0}, r"'check_route_timeout'"),
    ({f"{T}.check_route_timeout": "long"}, r"'check_route_timeout'"),
    ({f"{T}.concurrency": 0}, r"'concurrency'"),
    ({f"{T}.read_timeout": -1}, r"'read_timeout'"),
    ({f"{T}.traefik_stuck_timeout": "never"}, r"'traefik_stuck_timeout'"),
    ({f"{T}.traefik_replica_grace": -1}, r"'traefik_replica_grace'"),
    ({f"{T}.traefik_providers_throttle_duration": "soon"}, r"throttle_duration = 'soon' .* such as '2s'"),
    ({f"{K}.store_timeout": -1}, r"'store_timeout'"),
    ({f"{K}.store_check_interval": "often"}, r"'store_check_interval'"),
    ({f"{T}.should_start": "maybe"}, r"'should_start'"),
    ({f"{T}.extra_static_config": "x.toml"}, r"'extra_static_config'"),
    ({f"{T}.extra_dynamic_config": ["rules.toml"]}, r"'extra_dynamic_config'"),
    ({f"{T}.traefik_env": "GOGC=100"}, r"'traefik_env'"),
    ({f"{R}.redis_notifications": "on"}, r"'redis_notifications' .*'off'"),
    ({f"{J}.proxy_class": "traefik_reids"}, r"proxy_class = 'traefik_reids'\. Did you mean \"traefik_redis\"\?"),
    ({f"{J}.proxy_class": "redis"}, r"finds no proxy class in .* = 'redis'\. .*\"traefik_redis\""),
    ({f"{J}.bind_url": "http://127.0.0.1:70000"}, r"bind_url"),
    ({f"{T}.traefik_api_ca": "/none/ca.pem"}, r"traefik_api_ca = '/none/ca\.pem' .*PEM file"),
    ({f"{K}.kv_traefik_prefix": "/"}, r"kv_traefik_prefix = '/' leaves no name; give one"),
    ({f"{K}.kv_traefik_prefix": "my routes"}, r"kv_traefik_prefix = 'my routes' cannot be used"),
    ({f"{K}.kv_jupyterhub_prefix": "traefik"}, r"begins with kv_traefik_prefix .* choose another"),
    ({f"{K}.kv_jupyterhub_prefix": "/traefik/hub/"}, r"begins with kv_traefik_prefix .* choose another"),
    ({"TKvProxy.kv_separator": "."}, r"kv_separator is not supported: .* Remove c\.TKvProxy\.kv_separator"),
]
STORES: list[tuple[dict[str, Any], str]] = [
    ({f"{R}.redis_url": "http://127.0.0.1"}, r"redis_url must begin with redis://.*, not with http://"),
    ({f"{R}.redis_url": "127.0.0.1:6379"}, r"redis_url must begin with redis://"),
    ({f"{R}.redis_url": "redis://a:1,b:2"}, r"redis_url names several servers.*redis_sentinels"),
    ({f"{R}.redis_url": "redis://127.0.0.1:99999"}, r"redis_url is not a valid URL; it should look like redis://"),
    ({f"{R}.redis_url": "redis://127.0.0.1/hub"}, r"db 'hub' is not a number"),
    ({f"{R}.redis_url": "redis://127.0.0.1/3?db=5"}, r"redis_url names two databases.*leave one of them out"),
    ({f"{R}.redis_url": "redis://127.0.0.1?socket_timeout=long"}, r"socket_timeout = 'long' is not a number"),
    ({f"{R}.redis_url": "unix://redis.sock"}, r"absolute path of the socket, as in unix:///"),
    ({f"{R}.redis_url": "rediss://127.0.0.1", f"{R}.redis_client_kwargs": {"ssl_ca_certs": "/none"}}, r"ssl_ca_certs"),
    ({f"{R}.redis_url": "rediss://127.0.0.1", f"{R}.redis_client_kwargs": {"ssl_certfile": "/none"}}, r"ssl_certfile"),
    ({f"{R}.redis_client_kwargs": {"tls": True}}, r"redis_client_kwargs holds an option"),
    ({f"{R}.redis_client_kwargs": {"decode_responses": True}}, r"decode_responses"),
    ({f"{R}.redis_username": "hub"}, r"redis_password"),
    ({f"{R}.redis_traefik_username": "traefik"}, r"redis_traefik_username is set without redis_traefik_password"),
    ({f"{R}.redis_traefik_password": SECRET}, r"redis_traefik_password is set without redis_traefik_username"),
    ({f"{R}.redis_admit_traefik": True}, r"redis_admit_traefik .* with both redis_traefik_username and"),
    ({f"{R}.redis_sentinels": ["127.0.0.1:port"]}, r"redis_sentinels"),
    ({f"{R}.redis_sentinels": ["127.0.0.1"], f"{R}.redis_url": "redis://10.0.0.1"}, r"Leave host and port out"),
    ({**ETCD, "TraefikEtcdProxy.etcd_url": "ftp://127.0.0.1"}, r"etcd_url must begin with etcd://"),
    ({**ETCD, "TraefikEtcdProxy.etcd_url": "etcd://127.0.0.1/hub"}, r"etcd_url has a path.* give only host and port"),
    ({**ETCD, "TraefikEtcdProxy.etcd_username": "hub"}, r"etcd_password"),
    ({**ETCD, "TraefikEtcdProxy.etcd_url": "etcds://h", "TraefikEtcdProxy.etcd_client_ca_cert": "/none"}, r"ca_cert"),
    ({**CONSUL, "TraefikConsulProxy.consul_url": "redis://127.0.0.1"}, r"consul_url must begin with consul://"),
    ({**CONSUL, "TraefikConsulProxy.consul_url": "consul://127.0.0.1:0"}, r"port '?0'? of Consul is not a number"),
    ({**FILE, "TraefikFileProviderProxy.dynamic_config_file": "rules.json"}, r"dynamic_config_file"),
    ({**FILE, "TraefikFileProviderProxy.dynamic_config_file": "/none/rules.toml"}, r"/none .*create it"),
    (ANY, r"store_url is not set; give it a URL, such as redis://"),
    ({**ANY, f"{K}.store_url": "mysql://127.0.0.1"}, r"mysql"),
    ({**ANY, f"{K}.store_url": "redis://127.0.0.1/hub"}, r"db 'hub' is not a number"),
]
TRAEFIK: list[tuple[dict[str, Any], str]] = [
    (
        {f"{T}.traefik_api_url": ["http://127.0.0.1:1", "http://127.0.0.1:2"]},
        r"several replicas.*should_start = False",
    ),
    ({f"{T}.static_config_file": "none/traefik.toml"}, r"static_config_file = .* create it, or correct the setting"),
    ({f"{T}.static_config_file": "jupyterhub_config.py/x.toml"}, r"static_config_file = .*jupyterhub_config\.py"),
    (static(entryPoints={"http": {"adress": "x"}}), r"node: adress\); correct c\.TraefikProxy\.extra_static_config"),
    (
        static(api={"dashbord": True}),
        r"node: dashbord\); correct c\.TraefikProxy\.extra_static_config",
    ),
    (static(providers={"redis": {"endpoint": ["x"]}}), r"node: endpoint\); correct c\.TraefikProxy\.extra_static"),
    (static(providers={"dokcer": {}}), r"node: dokcer\); correct c\.TraefikProxy\.extra_static_config"),
    (static(log={"lvl": "INFO"}), r"node: lvl\); correct c\.TraefikProxy\.extra_static_config"),
    (static(accessLog={"bufferingSize": "many"}), r"correct c\.TraefikProxy\.extra_static_config"),
    (static(entryPoints={"http": {"transport": {"lifeCycle": {"graceTimeOut": "soon"}}}}), r"extra_static_config"),
    (middleware(headers={"customRequestHeader": {"X": "y"}}), r"Header, .*\(is customRequestHeaders meant\?\)"),
    (
        middleware(ratelimit={"average": "many"}),
        r"extra_dynamic_config has http\.middlewares\.mine\.rateLimit\.average",
    ),
    (middleware(buffering={"maxRequestBodyBytes": True}), r"extra_dynamic_config has .*maxRequestBodyBytes"),
    (middleware(compress=[]), r"extra_dynamic_config has http\.middlewares\.mine\.compress"),
    ({f"{T}.extra_dynamic_config": {"htpp": {}}}, r"extra_dynamic_config has htpp, .*\(is http meant\?\)"),
    ({f"{T}.extra_dynamic_config": {"http": {"routers": {"a": {"rool": "x"}}}}}, r"rool, which .*it knows .*\brule\b"),
    ({f"{T}.extra_dynamic_config": {"http": {"routers": {"a/b": {"rule": "x"}}}}}, r"name 'a/b'"),
    ({f"{J}.ssl_cert": "/none/cert.pem"}, r"ssl_cert and ssl_key go together; one is missing"),
    ({f"{J}.ssl_key": "/none/key.pem"}, r"ssl_cert and ssl_key go together; one is missing"),
    ({f"{J}.ssl_key": __file__, f"{J}.ssl_cert": "/none/cert.pem"}, r"ssl_cert = '/none/cert\.pem' cannot be read"),
    (
        {**EXTERNAL, f"{J}.internal_ssl": True, f"{T}.enable_setup_dynamic_config": False},
        r"traefik_servers_transport",
    ),
]
#: Code in the configuration file, and what the sentence about it holds.
CODE: list[tuple[str, str]] = [
    (
        "import jupyterhub_traefik_proxy",
        r"jupyterhub_config\.py:\d+ cannot be run: .* set c\.JupyterHub\.proxy_class to",
    ),
    ("c.JupyterHub.port = prot", r"jupyterhub_config\.py:\d+ cannot be run: NameError: name 'prot'"),
    ("c.JupyterHub.port = = 1", r"jupyterhub_config\.py:\d+ cannot be run: SyntaxError"),
    ("async def h(r, x): pass\nc.TraefikProxy.route_hook = h", r"route_hook is asynchronous"),
    ("c.TraefikProxy.route_hook = 5", r"'route_hook'"),
    ("c.TraefikProxy.route_hook = lambda r, x: 1 / 0", r"route_hook failed for the route '/': ZeroDivisionError"),
    ("c.TraefikProxy.route_hook = lambda r: None", r"route_hook failed for the route '/': TypeError"),
    ("c.TraefikProxy.route_hook = lambda r, x: []", r"route_hook gives the route '/' a list instead of"),
    ("c.TraefikProxy.route_hook = lambda r, x: x['router'].update(rule='x')", r"router\.rule, which is kvproxy's"),
    ("c.TraefikProxy.route_hook = lambda r, x: x['router'].update(foo=1)", r"router\.foo, which Traefik does not know"),
    ("c.TraefikProxy.route_hook = lambda r, x: x['service'].clear()", r"a service without a loadBalancer"),
    (
        "c.TraefikProxy.route_hook = lambda r, x: x['middlewares'].update({'a b': {}})",
        r"middleware with the name 'a b'",
    ),
]


installed = functools.cache(importlib.metadata.entry_points)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # JupyterHub reads what all packages say at each start, which is half of the work of these tests.
    monkeypatch.setattr("jupyterhub.traitlets.entry_points", installed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_COOKIE_SECRET", raising=False)
    return tmp_path


def configure(directory: Path, settings: dict[str, Any], code: str = "") -> None:
    base = {
        f"{J}.proxy_class": "traefik_redis",
        f"{J}.bind_url": f"http://127.0.0.1:{free_port()}",
        f"{J}.hub_bind_url": f"http://127.0.0.1:{free_port()}",
        f"{J}.cookie_secret": b"0123456789abcdef0123456789abcdef",
        f"{T}.traefik_api_url": f"http://127.0.0.1:{free_port()}",
        f"{R}.redis_url": "redis://127.0.0.1:1",
        f"{K}.store_timeout": 0,
    }
    lines = "".join(f"c.{name} = {value!r}\n" for name, value in {**base, **settings}.items())
    (directory / "jupyterhub_config.py").touch(0o600)
    (directory / "jupyterhub_config.py").write_text(f"{lines}{code}\n")


async def said_by_start() -> str:
    """The sentence with which the hub ends: at reading its configuration, or at the start of its proxy."""
    try:
        proxy = load_hub("jupyterhub_config.py").proxy
    except KVProxyError as error:
        return str(error)
    try:
        await (proxy.start() if proxy.should_start else proxy.get_all_routes())
    except KVProxyError as error:
        return str(error)
    finally:
        await proxy.stop()
    return ""


#: The words of a start about a store that it has waited for; check does not wait, and has none.
GAVE_UP = re.compile(r" Gave up after 0 s \(c\.KVTraefikProxy\.store_timeout\)\.$")


async def said_by_check(directory: Path) -> list[str]:
    """The sentences of all errors that ``kvproxy check`` finds."""
    done = await asyncio.to_thread(kvproxy, directory, "check")
    assert done.status == (2 if done.err else 1), done.out
    assert SECRET not in done.out + done.err
    errors = re.findall(r"^error   [^:]*: (.*)$", done.out, re.MULTILINE)
    return [*errors, *re.findall(r"^Error: (.*)$", done.err, re.MULTILINE)]


async def assert_both_say(directory: Path, pattern: str) -> None:
    sentence = await said_by_start()
    assert re.search(pattern, sentence), sentence
    assert SECRET not in sentence
    assert GAVE_UP.sub("", sentence) in await said_by_check(directory)
    assert [path.name for path in directory.iterdir()] == ["jupyterhub_config.py"]


@pytest.mark.parametrize(("settings", "pattern"), [*TRAITS, *STORES, *TRAEFIK], ids=lambda value: str(value)[:60])
async def test_a_wrong_setting_is_named_with_its_remedy(
    directory: Path, settings: dict[str, Any], pattern: str
) -> None:
    configure(directory, settings)
    await assert_both_say(directory, pattern)


@pytest.mark.parametrize(("code", "pattern"), CODE)
async def test_wrong_code_in_the_configuration_is_named(directory: Path, code: str, pattern: str) -> None:
    configure(directory, {}, code)
    await assert_both_say(directory, pattern)


async def test_a_login_that_redis_refuses_is_named(directory: Path, redis_factory: Any) -> None:
    redis = redis_factory(
        password="right",
        acl=[
            "traefik on >right ~traefik* resetchannels &__keyspace*:traefik* +@connection",
            "poor on >right ~none +get",
        ],
    )
    traefik = {f"{R}.redis_password": "right", f"{R}.redis_traefik_username": "traefik"}
    cases = [
        ({}, r"asks for a password; set redis_password\."),
        ({f"{R}.redis_password": SECRET}, r"refuses the credentials; check redis_username and redis_password\."),
        ({f"{R}.redis_username": "hub", f"{R}.redis_password": SECRET}, r"check redis_username and redis_password\."),
        (
            {f"{R}.redis_username": "poor", f"{R}.redis_password": "right"},
            r"does not let the user 'poor' do what .*ACL",
        ),
        (
            {**traefik, f"{R}.redis_traefik_password": SECRET},
            r"refuses Traefik's user 'traefik'; check redis_traefik_us",
        ),
        (
            {**traefik, f"{R}.redis_traefik_password": "right"},
            r"does not let Traefik's user 'traefik' .* give it the ri",
        ),
    ]
    for settings, pattern in cases:
        configure(directory, {f"{R}.redis_url": redis.url, **settings})
        await assert_both_say(directory, pattern)
    assert redis.command("KEYS", "*") == []


async def test_a_server_that_cannot_be_used_is_named(directory: Path, redis_server: RedisServer) -> None:
    secured = f"rediss://127.0.0.1:{redis_server.port}"
    configure(directory, {f"{R}.redis_url": secured})
    await assert_both_say(directory, r"TLS")
    for backend, url in ((ETCD, "TraefikEtcdProxy.etcd_url"), (CONSUL, "TraefikConsulProxy.consul_url")):
        configure(directory, {**backend, url: f"http://127.0.0.1:{free_port()}"})
        await assert_both_say(directory, r"cannot be reached")
    configure(directory, {f"{R}.redis_url": redis_server.url})
    redis_server.command("REPLICAOF", "127.0.0.1", "1")
    await assert_both_say(directory, r"is a read-only replica; name the master in redis_url")


class Silent(BaseHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def stranger() -> Iterator[str]:
    """Another program's HTTP server; gives back its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        serving = threading.Thread(target=server.serve_forever, args=[0.05])
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("setting", [f"{J}.bind_url", f"{T}.traefik_api_url"])
async def test_a_port_that_a_stranger_listens_on_is_named(
    directory: Path, redis_server: RedisServer, setting: str
) -> None:
    with stranger() as url:
        configure(directory, {f"{R}.redis_url": redis_server.url, setting: url})
        await assert_both_say(
            directory, rf"cannot listen on .* \(c\.{re.escape(setting)}\): another program listens there"
        )


async def test_external_traefik_may_come_as_another_user_than_that_which_redis_refuses(
    directory: Path, redis_server: RedisServer
) -> None:
    """So it is a warning, at start and by check."""
    login = {f"{R}.redis_traefik_username": "nobody", f"{R}.redis_traefik_password": SECRET}
    configure(directory, {f"{R}.redis_url": redis_server.url, **EXTERNAL, **login})
    done = await asyncio.to_thread(kvproxy, directory, "check")
    assert re.search("^warning store: Redis at .* refuses Traefik's user 'nobody'", done.out, re.MULTILINE), done.out
    assert SECRET not in done.out


async def test_traefiks_own_user_should_not_run_config(directory: Path, redis_server: RedisServer) -> None:
    redis_server.command("ACL", "SETUSER", "traefik", "on", ">right", "~*", "&*", "+@all")
    login = {f"{R}.redis_traefik_username": "traefik", f"{R}.redis_traefik_password": "right"}
    configure(directory, {f"{R}.redis_url": redis_server.url, **login})
    done = await asyncio.to_thread(kvproxy, directory, "check")
    assert (done.status, "ACL SETUSER traefik -config" in done.out) == (0, True), done.out


async def test_check_of_a_sound_hub_that_is_stopped_has_no_complaint(directory: Path, redis_factory: Any) -> None:
    redis = redis_factory(password="right", appendonly=True)
    configure(directory, {f"{R}.redis_url": redis.url, f"{R}.redis_password": "right"})
    done = await asyncio.to_thread(kvproxy, directory, "check", "--strict")
    assert (done.status, "warning" in done.out) == (0, False), done.out


@pytest.mark.parametrize(
    ("http", "pattern"),
    [
        ({"routers": {"mine": {"rule": "Host(`a`", "service": "api@internal"}}}, r"parsing rule.* \(mine\)"),
        ({"routers": {"mine": {"rule": "Host(`a`)", "service": "nobody"}}}, r"nobody.* does not exist"),
        (
            {"routers": {"mine": {"rule": "Host(`a`)", "service": "api@internal", "middlewares": ["x@redis"]}}},
            r"\"x\" does not exist",
        ),
        ({"routers": {"mine": {"rule": "Host(`a`)", "service": "x@docker"}}}, ""),
        ({"routers": {"mine": {"rule": "Host(`a`)", "service": "api@internal", "middlewares": ["x@file"]}}}, ""),
        ({"middlewares": {"mine": {"stripPrefixRegex": {"regex": ["("]}}}}, ""),
        ({"routers": {"mine": {"rule": "Host(`a`)", "service": "api@internal"}}}, ""),
    ],
)
async def test_check_lets_traefik_try_the_dynamic_configuration(
    directory: Path, redis_server: RedisServer, http: dict[str, Any], pattern: str
) -> None:
    """The hub starts with such a router, which Traefik does not serve; what others bring is none of its business."""
    configure(directory, {f"{R}.redis_url": redis_server.url, f"{T}.extra_dynamic_config": {"http": http}})
    done = await asyncio.to_thread(kvproxy, directory, "check")
    found = re.findall(r"^error   Traefik: It does not accept extra_dynamic_config: (.*)$", done.out, re.MULTILINE)
    assert (len(found), done.status) == (bool(pattern), int(bool(pattern))), done.out
    assert not pattern or re.search(pattern, found[0]), found
    assert [path.name for path in directory.iterdir()] == ["jupyterhub_config.py"]


#: A hook, with the resolver and the other provider that it may name.
HOOK = """
def route_hook(route, configuration):
    if {condition}:
        configuration[{part!r}].update({given})

c.TraefikProxy.route_hook = route_hook
c.TraefikProxy.extra_static_config = {{
    "certificatesResolvers": {{"mine": {{"acme": {{"storage": "acme.json", "tlsChallenge": {{}}}}}}}},
    "providers": {{"file": {{"filename": "/nowhere.toml"}}}},
}}
c.JupyterHub.services = [{{"name": "grades", "url": "http://127.0.0.1:1"}}]
"""


@pytest.mark.parametrize(
    ("condition", "part", "given", "pattern"),
    [
        (
            "'user' in route.data",
            "middlewares",
            {"allowed": {"ipAllowList": {"sourceRange": ["everybody"]}}},
            r"error   hooks: Traefik does not accept the route '/user/kvproxy-check/': cannot parse CIDRs "
            r"\[everybody\].* Correct c\.TraefikProxy\.route_hook\.$",
        ),
        (
            "route.data.get('service') == 'grades'",
            "middlewares",
            {"strip": {"stripPrefixRegex": {"regex": ["("]}}},
            r"error   hooks: Traefik does not accept the route '/services/grades/': error parsing regexp",
        ),
        ("'user' in route.data", "router", {"middlewares": ["zip"]}, r"error   hooks: .*\"zip\" does not exist"),
        (
            "1 / ('user' not in route.data)",
            "middlewares",
            {},
            r"warning hooks: .*: ZeroDivisionError: .* not be served\.",
        ),
        ("True", "router", {"middlewares": ["zip@file"]}, ""),
        ("True", "router", {"tls": {"certResolver": "mine"}}, ""),
        ("True", "middlewares", {"limit": {"rateLimit": {"average": 20, "burst": 40}}}, ""),
    ],
)
async def test_check_lets_traefik_try_hooks(
    directory: Path, redis_server: RedisServer, condition: str, part: str, given: Any, pattern: str
) -> None:
    """Traefik accepts such a configuration from a store, but does not serve the route."""
    configure(directory, {f"{R}.redis_url": redis_server.url})
    with (directory / "jupyterhub_config.py").open("a") as file:
        file.write(HOOK.format(condition=condition, part=part, given=given))
    done = await asyncio.to_thread(kvproxy, directory, "check")
    found = [line for line in done.out.splitlines() if re.match(r"\w+ +hooks: ", line)]
    assert len(found) == bool(pattern), done.out
    assert not pattern or re.match(pattern, found[0]), found
    assert done.status == pattern.startswith("error"), done.out
