"""Routes in Consul: the store by itself, and every way to reach one, taken by the hub's client and the real Traefik."""

from __future__ import annotations

import asyncio
import base64
import logging
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from kvproxy.errors import StoreAuthError, StoreError, StoreUnavailableError
from kvproxy.proxy.any_store import TraefikKVProxy
from kvproxy.store import Operation, Snapshot, Space, Transaction
from kvproxy.testing.conformance import StoreCredentialsConformance, StoreServer, StoreServerConformance
from kvproxy.testing.conformance.proxy import TraefikServerConformance
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest, until
from kvproxy.testing.servers import Certificates, free_port, within
from kvproxy.testing.servers.clusters import ConsulCluster
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy_consul import TraefikConsulProxy
from kvproxy_consul.connection import parse_connection
from kvproxy_consul.store import ConsulStore

from .lossy import lossy
from .proxies import Client, Doors, Start, making, port_of, until_true
from .rights import CONSUL_HUB, CONSUL_TRAEFIK

READ = 'key_prefix "" { policy = "read" }'
ONE = Transaction((Operation(Space.CONFIG, "a", "1"), Operation(Space.RECORDS, "/x/", "2")))


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[ConsulStore]:
    """A store with the roots that are the default."""
    store = ConsulStore(parse_connection(url, **settings), "traefik", "jupyterhub")
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def make_proxy(consul_server: ConsulServer, tmp_path: Path) -> AsyncIterator[Callable[..., TraefikConsulProxy]]:
    """As that of the other tests, with Consul for Redis."""
    async with making(TraefikConsulProxy, tmp_path, consul_url=consul_server.url) as make:
        yield make


async def assert_works(proxy: TraefikConsulProxy, doors: Doors, client_of: Callable[..., Client]) -> None:
    """Routes reach Traefik by way of Consul."""
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {"user": "ada"})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    await proxy.delete_route("/user/ada/")
    assert await proxy.get_all_routes() == {}


class TestConsulStore(StoreServerConformance, StoreCredentialsConformance):
    """The conformance kit for stores."""

    subject = "Consul"

    @pytest.fixture
    def server(self, guarded_consul: ConsulServer) -> StoreServer:
        def connect(token: str, traefik: str, hub: str) -> ConsulStore:
            return ConsulStore(parse_connection(guarded_consul.url, token=token), traefik, hub)

        return StoreServer(
            open=lambda traefik, hub: connect(guarded_consul.token, traefik, hub),
            stop=guarded_consul.stop,
            start=guarded_consul.start,
            open_refused=lambda: connect("", "traefik", "jupyterhub"),
        )


class TestConsul(TraefikServerConformance):
    """The conformance kit for backends, with a token."""

    subject = "Consul"

    @pytest.fixture
    def backend(self, guarded_consul: ConsulServer) -> BackendUnderTest:
        traits = {"consul_url": guarded_consul.url, "consul_token": guarded_consul.token}
        return BackendUnderTest(TraefikConsulProxy, traits, guarded_consul.stop, guarded_consul.start)


# -- ways to connect


@pytest.mark.parametrize("way", ["plain", "token", "password", "userinfo", "kwargs"])
async def test_ways_to_name_a_consul(
    way: str,
    consul_server: ConsulServer,
    guarded_consul: ConsulServer,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Traefik is told the same as the hub's client, whatever Consul's own variables say."""
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "not-this-one")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    traits: dict[str, Any] = {
        "plain": {"consul_url": f"consul://{consul_server.endpoint}"},
        "token": {"consul_url": guarded_consul.url, "consul_token": guarded_consul.token},
        "password": {"consul_url": guarded_consul.url, "consul_password": guarded_consul.token},
        "userinfo": {"consul_url": f"consul://:{guarded_consul.token}@{guarded_consul.endpoint}"},
        "kwargs": {
            "consul_url": "https://nowhere.invalid",
            "consul_client_kwargs": {
                "host": "127.0.0.1",
                "port": guarded_consul.port,
                "token": guarded_consul.token,
                "scheme": "http",
            },
        },
    }[way]
    await assert_works(await start_proxy(**traits), doors, client_of)


async def test_traefik_kv_finds_it_by_its_scheme(
    consul_server: ConsulServer, tmp_path: Path, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """And asks the right one of Traefik's providers."""
    async with making(TraefikKVProxy, tmp_path, store_url=f"consul://{consul_server.endpoint}") as make:
        proxy = make()
        await proxy.start()
        await assert_works(proxy, doors, client_of)


async def test_tls_with_client_certificates(
    consul_factory: Callable[..., ConsulServer],
    certificates: Certificates,
    consul_server: ConsulServer,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
) -> None:
    """``consuls://`` with authority, certificate and key; what does not fit fails at once and says what to set."""
    consul = consul_factory(certificates=certificates, client_certificate=True)
    pair = (str(certificates.client_certificate), str(certificates.client_key))
    url, ca = f"consuls://{consul.endpoint}", {"consul_client_ca_cert": str(certificates.ca)}
    proxy = await start_proxy(consul_url=url, consul_client_kwargs={"cert": pair}, **ca)
    await assert_works(proxy, doors, client_of)
    await proxy.stop()
    with pytest.raises(StoreAuthError, match="asks for a client certificate"):
        await within(start_proxy(consul_url=url, **ca), 5)
    with pytest.raises(StoreError, match="consul_client_ca_cert"):
        await within(start_proxy(consul_url=url), 5)
    with pytest.raises(StoreError, match="begin consul_url with consuls://"):
        await within(start_proxy(consul_url=f"consul://{consul.endpoint}"), 5)
    with pytest.raises(StoreError, match="does it speak TLS there"):
        await within(start_proxy(consul_url=f"consuls://{consul_server.endpoint}", store_timeout=0.1), 5)


async def test_basic_authentication_in_front_of_consul(
    guarded_consul: ConsulServer, start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Traefik's configuration has no place for it, so it comes by an environment variable; a token may come besides."""
    login = "Basic " + base64.b64encode("wächter:odd:pass%word".encode()).decode()

    async def pass_on(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != login:
            return web.Response(status=401)
        url = f"{guarded_consul.url}{request.raw_path}"
        headers = {"X-Consul-Token": request.headers.get("X-Consul-Token", "")}
        async with session.request(request.method, url, data=await request.read(), headers=headers) as answer:
            index = {name: value for name, value in answer.headers.items() if name.startswith("X-Consul")}
            return web.Response(status=answer.status, body=await answer.read(), headers=index)

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", pass_on)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := free_port())
    await site.start()
    try:
        async with aiohttp.ClientSession() as session:
            traits = {"consul_url": f"http://127.0.0.1:{port}", "consul_token": guarded_consul.token}
            with pytest.raises(StoreAuthError, match="consul_username and consul_password"):
                await within(start_proxy(**traits, consul_username="wächter", consul_password="wrong"), 5)
            proxy = await start_proxy(**traits, consul_username="wächter", consul_password="odd:pass%word")
            await assert_works(proxy, doors, client_of)
            await proxy.stop()
    finally:
        await runner.cleanup()


# -- rights


async def test_an_unknown_token_fails_at_once_without_repeating_it(
    guarded_consul: ConsulServer, start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """However long the store may be late."""
    token = "7f0d4f62-0000-4000-8000-00000000beef"
    with pytest.raises(StoreAuthError, match="consul_token") as failed:
        await within(start_proxy(consul_url=guarded_consul.url, consul_token=token, store_timeout=60), 5)
    assert token not in str(failed.value) + caplog.text


@pytest.mark.parametrize(
    "rules",
    [
        None,
        "",
        READ,
        'key_prefix "traefik/" { policy = "write" }',
        'key_prefix "jupyterhub/" { policy = "write" }',
        'key_prefix "traefik/" { policy = "read" } key_prefix "jupyterhub/" { policy = "write" }',
    ],
)
async def test_missing_rights_are_an_error_and_never_an_empty_table(
    rules: str | None, guarded_consul: ConsulServer, start_proxy: Start
) -> None:
    """Consul itself answers with fewer keys, or none, and no word about it."""
    guarded_consul.put("traefik/a", "1")
    guarded_consul.put("jupyterhub/routes//x/", "2")
    token = "" if rules is None else guarded_consul.add_token(rules)
    async with opened(guarded_consul.url, token=token) as store:
        for call in (store.check, store.snapshot):
            with pytest.raises(StoreAuthError, match="'traefik/' and 'jupyterhub/routes/'"):
                await call()
    with pytest.raises(StoreAuthError, match="key_prefix"):
        await within(start_proxy(consul_url=guarded_consul.url, consul_token=token), 5)
    assert guarded_consul.all() == {"traefik/a": "1", "jupyterhub/routes//x/": "2"}


async def read_until_it_fails(store: ConsulStore, wanted: Snapshot) -> None:
    """For ten seconds at most."""
    deadline = asyncio.get_running_loop().time() + 10
    while asyncio.get_running_loop().time() < deadline:
        assert await store.snapshot() == wanted


async def test_rights_that_are_taken_away_are_an_error(guarded_consul: ConsulServer) -> None:
    """In the middle of a hub's life as well."""
    token = guarded_consul.add_token(CONSUL_HUB)
    async with opened(guarded_consul.url, token=token) as store:
        await store.apply(ONE)
        assert await store.snapshot() == Snapshot({"a": "1"}, {"/x/": "2"})
        guarded_consul.change_rights(token, READ)
        # Consul keeps what it knows of a token for a while; until then all is there, and never only a part.
        with pytest.raises(StoreAuthError):
            await read_until_it_fails(store, Snapshot({"a": "1"}, {"/x/": "2"}))


@pytest.mark.parametrize("own_token", [False, True])
async def test_the_documented_least_rights_are_enough_and_nothing_secret_is_shown(
    own_token: bool,
    guarded_consul: ConsulServer,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in the log, nor in a file that others may read. Traefik comes as the hub, or with a token that only reads."""
    caplog.set_level(logging.DEBUG)
    token, reading = guarded_consul.add_token(CONSUL_HUB), guarded_consul.add_token(CONSUL_TRAEFIK)
    own = {"consul_traefik_token": reading} if own_token else {}
    proxy = await start_proxy(consul_url=guarded_consul.url, consul_token=token, traefik_log_level="DEBUG", **own)
    await assert_works(proxy, doors, client_of)
    for file in tmp_path.rglob("*"):
        if file.is_file() and any(secret in file.read_text() for secret in (token, reading)):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = (tmp_path / "traefik.toml").read_text()
    assert (reading in told, token in told) == (own_token, not own_token)
    await proxy.stop()
    assert "answers without a login" not in caplog.text
    assert token not in caplog.text
    assert reading not in caplog.text
    async with opened(guarded_consul.url, token=reading) as store:
        with pytest.raises(StoreAuthError, match="'write'"):
            await store.apply(ONE)


async def test_a_token_of_traefiks_that_consul_refuses_ends_the_start_at_once(
    guarded_consul: ConsulServer, start_proxy: Start
) -> None:
    """One that is not known, and one that may read nothing of it; what the setting is is said."""
    login = {"consul_url": guarded_consul.url, "consul_token": guarded_consul.add_token(CONSUL_HUB)}
    poor = guarded_consul.add_token('key_prefix "none" { policy = "read" }')
    for token in ("11111111-2222-3333-4444-555555555555", poor):
        with pytest.raises(StoreAuthError, match=r"does not let Traefik read .* check consul_traefik_token"):
            await start_proxy(**login, consul_traefik_token=token)


async def test_access_control_that_is_off_is_named_once_at_start(
    consul_server: ConsulServer, start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """With what switches it on."""
    await start_proxy(consul_url=consul_server.url)
    assert caplog.text.count("answers without a login") == 1
    assert 'default_policy = "deny"' in caplog.text


# -- servers that are late, gone, or no Consul


async def test_a_late_consul_is_waited_for_and_said_once(
    consul_server: ConsulServer,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also in the seconds in which it answers but has no leader yet."""
    consul_server.stop()
    starting = asyncio.create_task(start_proxy(store_timeout=30))
    await until(lambda: "Waiting for it" in caplog.text)
    await asyncio.get_running_loop().run_in_executor(None, consul_server.start)
    await assert_works(await starting, doors, client_of)
    assert caplog.text.count("cannot be reached") == 1


async def test_an_absent_consul_is_given_up_with_a_clear_error(start_proxy: Start) -> None:
    """After the configured time."""
    with pytest.raises(StoreUnavailableError, match=r"cannot be reached \(Connection refused\).*Gave up after 0.5 s"):
        await within(start_proxy(consul_url=f"consul://127.0.0.1:{free_port()}", store_timeout=0.5), 5)


async def test_a_consul_without_a_leader_is_told_at_once_and_its_return_too() -> None:
    """Consul itself holds a request for seconds then, and looks for a leader at moments of chance."""
    with ConsulCluster() as cluster:
        for node in cluster.nodes[1:]:
            node.kill()
        async with opened(cluster.nodes[0].url) as store:
            with pytest.raises(StoreUnavailableError):
                await read_until_it_fails(store, Snapshot())
            # The one that is left takes a moment to find out.
            await until_true(store.unreachable, 20)
            for call in (store.snapshot, store.check, lambda: store.apply(ONE)):
                with pytest.raises(StoreUnavailableError, match="knows of no leader at the moment"):
                    await within(call(), 2)
            await asyncio.to_thread(cluster.nodes[1].start)
            assert not await store.unreachable()
            assert await store.snapshot() == Snapshot()


async def test_another_server_is_told_from_consul(echo_server: Callable[..., Any]) -> None:
    """With any answer."""
    async with opened(echo_server().url) as store:
        with pytest.raises(StoreError, match="consul_url"):
            await store.check()


@pytest.mark.parametrize("told", [False, True])
async def test_of_several_endpoints_traefik_gets_the_first_or_its_own(
    told: bool,
    consul_server: ConsulServer,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Which is said at start, with what to do; the hub asks whichever answers."""
    nowhere = f"127.0.0.1:{free_port()}"
    own = {"extra_static_config": {"providers": {"consul": {"endpoints": [consul_server.endpoint]}}}}
    first, second = (nowhere, consul_server.endpoint) if told else (consul_server.endpoint, nowhere)
    proxy = await start_proxy(consul_url=f"consul://{first},{second}", **(own if told else {}))
    await assert_works(proxy, doors, client_of)
    warned = f"Traefik takes only one and gets the first, {first}" in caplog.text
    assert warned is not told


# -- how the keys lie in Consul


async def test_a_transaction_whose_answer_was_lost_is_no_error(consul_server: ConsulServer) -> None:
    """It was applied, and cannot be again."""
    async with lossy(consul_server.url) as front, opened(f"consul://{front.endpoint}") as store:
        for lose in (False, True, False):
            front.lose_next = lose
            await store.apply(ONE)
            consul_server.delete("traefik/a")
        assert await store.snapshot() == Snapshot({}, {"/x/": "2"})


async def test_one_index_of_consul_a_commit_and_none_a_read(
    start_proxy: Start, consul_server: ConsulServer, doors: Doors
) -> None:
    """So Traefik is woken once a commit, and by no read, although a read asks for the right to write."""
    proxy, target = await start_proxy(), await doors.open()
    before = consul_server.indices()
    await proxy.add_route("/user/ada/", target, {})
    new = consul_server.indices() - before
    assert len(new) == 1
    await proxy.get_all_routes()
    assert consul_server.indices() - before == new


@pytest.mark.parametrize("prefix", ["/traefik/", "deep/er"])
async def test_nothing_outside_of_the_roots_is_touched(
    prefix: str, start_proxy: Start, consul_server: ConsulServer, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Keys beside it stay as they are."""
    root = prefix.strip("/")
    others = {root[:-1]: "x", "jupyterhub/other": "x", "zz": "x", "jupyterhub": ""}
    for key, value in others.items():
        consul_server.put(key, value)
    proxy = await start_proxy(kv_traefik_prefix=prefix)
    await assert_works(proxy, doors, client_of)
    await proxy.stop()
    found = consul_server.all()
    assert {key: found[key] for key in others} == others
    assert all(key.startswith((f"{root}/", "jupyterhub/routes/")) for key in found.keys() - others.keys())


async def test_a_transaction_of_the_most_bytes_in_every_shape_is_applied(consul_server: ConsulServer) -> None:
    """Consul counts the request, in which values are base64 and keys may be escaped."""
    most, count = ConsulStore.capabilities.max_bytes, ConsulStore.capabilities.max_operations
    assert most is not None
    assert count is not None
    async with opened(consul_server.url) as store:
        shapes = [
            [Operation(Space.CONFIG, "a", "ä" * ((most - 1) // 2))],
            [Operation(Space.CONFIG, f"k{n:02}", "x" * (most // count - 3)) for n in range(count)],
            [Operation(Space.CONFIG, f"{n:02}" + "k" * 900, "x" * (most // count - 902)) for n in range(count)],
        ]
        for operations in shapes:
            await store.apply(Transaction(tuple(operations)))
        with pytest.raises(StoreError):
            await store.apply(Transaction((Operation(Space.CONFIG, "a", "x" * 2 * most),)))
        assert len((await store.snapshot()).config) == 2 * count + 1


async def test_values_that_are_no_text_are_named(consul_server: ConsulServer) -> None:
    """Foreign bytes below the root."""
    consul_server.request("PUT", "kv/traefik/x", b"\xff\xfe")
    async with opened(consul_server.url) as store:
        with pytest.raises(StoreError, match="UTF-8"):
            await store.snapshot()
