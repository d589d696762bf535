"""Routes in etcd: the store by itself, and every way to reach one, taken by the hub's client and the real Traefik."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kvproxy.errors import ConfigurationError, StoreAuthError, StoreError, StoreUnavailableError, StoreWriteRefusedError
from kvproxy.proxy.any_store import TraefikKVProxy
from kvproxy.store import Operation, Snapshot, Space, Transaction
from kvproxy.testing.conformance import StoreCredentialsConformance, StoreServer, StoreServerConformance
from kvproxy.testing.conformance.proxy import TraefikServerConformance
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest, until
from kvproxy.testing.kv_fixtures import ROOT_PASSWORD
from kvproxy.testing.servers import Certificates, free_port, within
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_etcd.connection import parse_connection
from kvproxy_etcd.store import EtcdStore

from .lossy import lossy
from .proxies import Client, Doors, Start, making, port_of
from .rights import etcd_rights

PASSWORD = "s3cret/with:odd@characters%,"
QUOTED = "s3cret%2Fwith%3Aodd%40characters%25%2C"
ONE = Transaction((Operation(Space.CONFIG, "a", "1"), Operation(Space.RECORDS, "/x/", "2")))


@asynccontextmanager
async def opened(url: str, username: str = "", password: str = "", **more: Any) -> AsyncIterator[EtcdStore]:
    """A store with the roots that are the default."""
    store = EtcdStore(parse_connection(url, username, password, **more), "traefik", "jupyterhub")
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def make_proxy(etcd_server: EtcdServer, tmp_path: Path) -> AsyncIterator[Callable[..., TraefikEtcdProxy]]:
    """As that of the other tests, with etcd for Redis."""
    async with making(TraefikEtcdProxy, tmp_path, etcd_url=etcd_server.url) as make:
        yield make


async def assert_works(proxy: TraefikEtcdProxy, doors: Doors, client_of: Callable[..., Client]) -> None:
    """Routes reach Traefik by way of etcd."""
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {"user": "ada"})
    assert await client_of(proxy).ask("/user/ada/") == (200, port_of(target))
    await proxy.delete_route("/user/ada/")
    assert await proxy.get_all_routes() == {}


class TestEtcdStore(StoreServerConformance, StoreCredentialsConformance):
    """The conformance kit for stores, on both versions that are in use."""

    subject = "etcd"

    @pytest.fixture(params=["3.4", "3.5"])
    def server(self, request: pytest.FixtureRequest, guarded_etcd: Callable[[str], EtcdServer]) -> StoreServer:
        etcd = guarded_etcd(request.param)

        def connect(password: str, traefik: str, hub: str) -> EtcdStore:
            return EtcdStore(parse_connection(etcd.url, "root", password), traefik, hub)

        return StoreServer(
            open=lambda traefik, hub: connect(ROOT_PASSWORD, traefik, hub),
            stop=etcd.stop,
            start=etcd.start,
            open_refused=lambda: connect("wrong", "traefik", "jupyterhub"),
        )


class TestEtcd(TraefikServerConformance):
    """The conformance kit for backends."""

    subject = "etcd"

    @pytest.fixture
    def backend(self, etcd_server: EtcdServer) -> BackendUnderTest:
        return BackendUnderTest(TraefikEtcdProxy, {"etcd_url": etcd_server.url}, etcd_server.stop, etcd_server.start)


# -- ways to connect


@pytest.mark.parametrize("way", ["plain", "userinfo", "traits", "kwargs", "several"])
async def test_ways_to_name_an_etcd(
    way: str,
    etcd_factory: Callable[..., EtcdServer],
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
) -> None:
    """Traefik is told the same as the hub's client."""
    etcd = etcd_factory(root_password="" if way == "plain" else PASSWORD)
    traits: dict[str, Any] = {
        "plain": {"etcd_url": f"etcd://{etcd.endpoint}"},
        "userinfo": {"etcd_url": f"etcd://root:{QUOTED}@{etcd.endpoint}"},
        "traits": {"etcd_url": etcd.url, "etcd_username": "root", "etcd_password": PASSWORD},
        "kwargs": {
            "etcd_url": "http://nowhere.invalid",
            "etcd_client_kwargs": {"host": "127.0.0.1", "port": etcd.port, "user": "root", "password": PASSWORD},
        },
        "several": {"etcd_url": f"etcd://root:{QUOTED}@127.0.0.1:{free_port()},{etcd.endpoint}"},
    }[way]
    await assert_works(await start_proxy(**traits), doors, client_of)


async def test_traefik_kv_finds_it_by_its_scheme(
    etcd_server: EtcdServer, tmp_path: Path, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """And asks the right one of Traefik's providers."""
    async with making(TraefikKVProxy, tmp_path, store_url=f"etcd://{etcd_server.endpoint}") as make:
        proxy = make()
        await proxy.start()
        await assert_works(proxy, doors, client_of)


@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_tls_with_client_certificates(
    version: str,
    etcd_factory: Callable[..., EtcdServer],
    certificates: Certificates,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
) -> None:
    """``etcds://`` with authority, certificate and key."""
    etcd = etcd_factory(version=version, certificates=certificates, client_certificate=True)
    proxy = await start_proxy(
        etcd_url=f"etcds://{etcd.endpoint}",
        etcd_client_ca_cert=str(certificates.ca),
        etcd_client_cert_crt=str(certificates.client_certificate),
        etcd_client_cert_key=str(certificates.client_key),
    )
    await assert_works(proxy, doors, client_of)
    await proxy.stop()
    with pytest.raises(StoreAuthError, match="etcd_client_cert_crt"):
        await within(start_proxy(etcd_url=etcd.url, etcd_client_ca_cert=str(certificates.ca)), 5)


async def test_tls_that_does_not_fit_fails_at_once(
    etcd_factory: Callable[..., EtcdServer], certificates: Certificates, start_proxy: Start, etcd_server: EtcdServer
) -> None:
    """And says what to set; ``verify`` is honoured."""
    etcd = etcd_factory(certificates=certificates, root_password=PASSWORD)
    login = {"etcd_username": "root", "etcd_password": PASSWORD}
    with pytest.raises(StoreError, match="etcd_client_ca_cert"):
        await within(start_proxy(etcd_url=etcd.url, **login), 5)
    with pytest.raises(StoreError, match="does it speak TLS there"):
        await within(start_proxy(etcd_url=f"etcds://{etcd_server.endpoint}", store_timeout=0.1), 5)
    with pytest.raises(StoreError, match="begin etcd_url with etcds://"):
        await within(start_proxy(etcd_url=f"etcd://{etcd.endpoint}", store_timeout=0.1, **login), 5)
    await start_proxy(etcd_url=etcd.url, etcd_client_kwargs={"verify": False}, **login)


@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_a_certificate_with_a_name_and_authentication_are_explained(
    version: str, etcd_factory: Callable[..., EtcdServer], certificates: Certificates
) -> None:
    """The JSON gateway takes no CN then; without one, everything works."""
    etcd = etcd_factory(version=version, certificates=certificates, client_certificate=True, root_password=PASSWORD)
    files = {
        "ca": str(certificates.ca),
        "cert": str(certificates.client_certificate),
        "key": str(certificates.client_key),
    }
    async with opened(etcd.url, "root", PASSWORD, files=files) as store:
        with pytest.raises(StoreAuthError, match="without CN"):
            await store.check()


# -- credentials


@pytest.mark.parametrize("version", ["3.4", "3.5"])
@pytest.mark.parametrize("login", [("root", "wrong"), ("nobody", "wrong"), ("", "")])
async def test_wrong_credentials_fail_at_once_without_repeating_them(
    version: str,
    login: tuple[str, str],
    etcd_factory: Callable[..., EtcdServer],
    start_proxy: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However long the store may be late."""
    etcd = etcd_factory(version=version, root_password=PASSWORD)
    with pytest.raises(StoreAuthError, match="etcd_username and etcd_password") as failed:
        await within(
            start_proxy(etcd_url=etcd.url, etcd_username=login[0], etcd_password=login[1], store_timeout=60), 5
        )
    assert "wrong" not in str(failed.value) + caplog.text


@pytest.mark.parametrize(
    "rights",
    [{}, {"traefik/": "READWRITE"}, {"jupyterhub/": "READWRITE"}, {"traefik/": "READ", "jupyterhub/": "READ"}],
)
async def test_a_user_without_rights_is_told_so_at_once(
    rights: dict[str, str], etcd_factory: Callable[..., EtcdServer], start_proxy: Start
) -> None:
    """Naming the user; what may not be read is never an empty table."""
    etcd = etcd_factory(root_password=PASSWORD)
    etcd.add_user("weak", "x", rights=rights)
    with pytest.raises(StoreAuthError, match="'weak'"):
        await within(start_proxy(etcd_url=f"etcd://weak:x@{etcd.endpoint}"), 5)


@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_a_check_finds_missing_rights_to_write_and_writes_nothing(
    version: str, etcd_factory: Callable[..., EtcdServer]
) -> None:
    """Each of the two roots counts; no watcher of etcd is woken."""
    etcd = etcd_factory(version=version, root_password="root")
    rights = dict.fromkeys(["traefik", "jupyterhub/"], "READWRITE")
    etcd.add_user("hub", PASSWORD, rights=rights)
    for root in rights:
        etcd.add_user(f"no-{root[:3]}", "x", rights={**rights, root: "READ"})
    before = etcd.revision()
    async with opened(etcd.url, "hub", PASSWORD) as store:
        await store.check()
    for root in rights:
        async with opened(etcd.url, f"no-{root[:3]}", "x") as store:
            with pytest.raises(StoreAuthError, match=f"'no-{root[:3]}' read and write"):
                await store.check()
    assert etcd.revision() == before
    assert etcd.all() == {}


@pytest.mark.parametrize("own_user", [False, True])
@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_the_documented_least_rights_are_enough_and_nothing_secret_is_shown(
    version: str,
    own_user: bool,
    etcd_factory: Callable[..., EtcdServer],
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in the log, nor in a file that others may read. Traefik comes as the hub, or as a user who only reads."""
    caplog.set_level(logging.DEBUG)
    etcd = etcd_factory(version=version, root_password="root")
    assert etcd_rights("hub") == {"traefik": "READWRITE", "jupyterhub/": "READWRITE"}
    etcd.add_user("hub", PASSWORD, rights=etcd_rights("hub"))
    etcd.add_user("traefik", f"{PASSWORD}-too", rights=etcd_rights("traefik"))
    login = {"etcd_username": "hub", "etcd_password": PASSWORD}
    own = {"etcd_traefik_username": "traefik", "etcd_traefik_password": f"{PASSWORD}-too"} if own_user else {}
    proxy = await start_proxy(etcd_url=etcd.url, traefik_log_level="DEBUG", **login, **own)
    await assert_works(proxy, doors, client_of)
    for file in tmp_path.rglob("*"):
        if file.is_file() and PASSWORD in file.read_text():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = (tmp_path / "traefik.toml").read_text()
    assert f'username = "{"traefik" if own_user else "hub"}"' in told
    assert (f'password = "{PASSWORD}"' in told) is not own_user
    await proxy.stop()
    assert "answers without a login" not in caplog.text
    assert PASSWORD not in caplog.text
    async with opened(etcd.url, "traefik", f"{PASSWORD}-too") as store:
        with pytest.raises(StoreAuthError, match="'traefik'"):
            await store.apply(ONE)


async def test_a_login_of_traefiks_that_etcd_refuses_ends_the_start_at_once(
    etcd_factory: Callable[..., EtcdServer], start_proxy: Start
) -> None:
    """A wrong password, and a user who may read nothing; what the settings are is said."""
    etcd = etcd_factory(root_password="root")
    etcd.add_user("hub", PASSWORD, rights=etcd_rights("hub"))
    etcd.add_user("poor", PASSWORD, rights={})
    login = {"etcd_url": etcd.url, "etcd_username": "hub", "etcd_password": PASSWORD}
    for user, password in (("poor", "wrong"), ("poor", PASSWORD)):
        with pytest.raises(StoreAuthError, match=r"does not let Traefik's user read .* check etcd_traefik_username"):
            await start_proxy(**login, etcd_traefik_username=user, etcd_traefik_password=password)


async def test_authentication_that_is_off_is_named(etcd_server: EtcdServer, start_proxy: Start) -> None:
    """The hub works, and the administrator learns that the door is open."""
    async with opened(etcd_server.url, "hub", PASSWORD) as store:
        assert any("etcdctl auth enable" in warning for warning in await store.check())
        await store.apply(ONE)
    async with opened(etcd_server.url) as nobody:
        assert any("etcdctl auth enable" in warning for warning in await nobody.check())


@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_a_token_that_died_is_renewed(version: str, etcd_factory: Callable[..., EtcdServer]) -> None:
    """After a time of idleness, a restart, and a change of rights."""
    etcd = etcd_factory(version=version, root_password=PASSWORD, token_seconds=1)
    async with opened(etcd.url, "root", PASSWORD) as store:
        await store.check()
        await store.apply(ONE)
        token = store._token
        await until(lambda: etcd.living_tokens() == 0)
        await store.apply(ONE)
        assert store._token != token
        etcd.restart()
        assert await store.snapshot() == Snapshot({"a": "1"}, {"/x/": "2"})
        etcd.add_user("new", "x")
        await store.apply(ONE)


OLD = pytest.param(
    "3.4", "restart", marks=pytest.mark.xfail(strict=False, reason="Traefik's client cannot log in to it again")
)


@pytest.mark.parametrize(("version", "cause"), [("3.5", "restart"), ("3.5", "idleness"), OLD])
async def test_routes_go_on_when_tokens_have_died(
    version: str,
    cause: str,
    etcd_factory: Callable[..., EtcdServer],
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
) -> None:
    """Both the hub's and Traefik's."""
    etcd = etcd_factory(version=version, root_password=PASSWORD, token_seconds=1)
    proxy = await start_proxy(
        etcd_url=etcd.url, etcd_username="root", etcd_password=PASSWORD, check_route_timeout=10, store_timeout=60
    )
    target = await doors.open()
    await proxy.add_route("/user/ada/", target, {})
    if cause == "restart":
        etcd.restart()
    else:
        # The hub looks at the store every second, so that its own one lives.
        await until(lambda: etcd.living_tokens() <= 1)
    await proxy.add_route("/user/bob/", target, {})
    assert await client_of(proxy).ask("/user/bob/") == (200, port_of(target))
    assert set(await proxy.get_all_routes()) == {"/user/ada/", "/user/bob/"}


@pytest.mark.parametrize(("version", "warned"), [("3.4", True), ("3.5", False)])
async def test_an_etcd_that_traefik_cannot_log_in_to_again_is_named(
    version: str, warned: bool, etcd_factory: Callable[..., EtcdServer]
) -> None:
    """With what to do; without authentication nothing is said."""
    etcd = etcd_factory(version=version, root_password=PASSWORD)
    async with opened(etcd.url, "root", PASSWORD) as store:
        assert any("Use etcd 3.5" in warning for warning in await store.check()) == warned


# -- servers that are late, gone, or no etcd


async def test_a_late_etcd_is_waited_for_and_said_once(
    etcd_server: EtcdServer,
    start_proxy: Start,
    doors: Doors,
    client_of: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is assumed to be up, but need not be up first."""
    etcd_server.stop()
    starting = asyncio.create_task(start_proxy())
    await until(lambda: "Waiting for it" in caplog.text)
    etcd_server.start()
    await assert_works(await starting, doors, client_of)
    assert caplog.text.count("cannot be reached") == 1


async def test_an_absent_etcd_is_given_up_with_a_clear_error(start_proxy: Start) -> None:
    """After the configured time."""
    with pytest.raises(StoreUnavailableError, match=r"cannot be reached.*Gave up after 0.5 s"):
        await within(start_proxy(etcd_url=f"etcd://127.0.0.1:{free_port()}", store_timeout=0.5), 5)


@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_a_gateway_that_is_off_is_explained(version: str, etcd_factory: Callable[..., EtcdServer]) -> None:
    """It is on by default."""
    async with opened(etcd_factory(version=version, gateway=False).url) as store:
        with pytest.raises(StoreError, match="--enable-grpc-gateway"):
            await store.check()


async def test_another_server_is_told_from_etcd(echo_server: Callable[..., Any]) -> None:
    """With any answer."""
    async with opened(echo_server().url) as store:
        with pytest.raises(StoreError, match="etcd_url"):
            await store.check()


async def test_another_endpoint_takes_over(etcd_factory: Callable[..., EtcdServer]) -> None:
    """When the one that is in use goes away; here both are stores of their own, so that one can tell them apart."""
    one, two = etcd_factory(), etcd_factory()
    async with opened(f"etcd://{one.endpoint},{two.endpoint}") as store:
        await store.apply(ONE)
        assert one.all().items() >= {"traefik/a": "1", "jupyterhub/routes//x/": "2"}.items()
        one.stop()
        assert await store.snapshot() == Snapshot()
        await store.apply(ONE)
        one.start()
        two.stop()
        assert (await store.snapshot()).config == {"a": "1"}


async def test_a_member_that_is_away_at_start_is_named(
    etcd_server: EtcdServer, start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are asked, but the administrator had better know."""
    nowhere = f"127.0.0.1:{free_port()}"
    await start_proxy(etcd_url=f"etcd://{etcd_server.endpoint},{nowhere}")
    assert f"etcd at etcd://{nowhere} cannot be reached (Connection refused). The others are asked." in caplog.text


async def test_members_of_different_clusters_are_refused(
    etcd_factory: Callable[..., EtcdServer], start_proxy: Start
) -> None:
    """At the second, the table would seem to be empty."""
    ends = ",".join(etcd_factory().endpoint for _ in range(2))
    with pytest.raises(ConfigurationError, match="etcd_url names members of different clusters"):
        await within(start_proxy(etcd_url=f"etcd://{ends}"), 5)


# -- how the keys lie in etcd


async def test_a_transaction_whose_answer_was_lost_is_applied_once(etcd_server: EtcdServer) -> None:
    """Though it was sent twice."""
    async with lossy(etcd_server.url) as front, opened(f"etcd://{front.endpoint}") as store:
        await store.apply(ONE)
        before = etcd_server.revision()
        front.lose_next = True
        await store.apply(ONE)
        assert etcd_server.revision() == before + 1
        await store.apply(ONE)
        assert etcd_server.revision() == before + 2


async def test_one_revision_of_etcd_a_commit(start_proxy: Start, etcd_server: EtcdServer, doors: Doors) -> None:
    """So Traefik is woken once, and never reads half a route."""
    proxy, target = await start_proxy(), await doors.open()
    for number in range(3):
        before = etcd_server.revision()
        await proxy.add_route(f"/user/u{number}/", target, {})
        everything = {"key": "AA==", "range_end": "AA=="}
        keys = etcd_server.request("kv/range", everything)["kvs"]
        # A Traefik that is late is notified again, by a revision of its own, in which no key is new.
        written = [key["create_revision"] for key in keys if int(key["create_revision"]) > before]
        assert len(written) >= 4
        assert len(set(written)) == 1
    before = etcd_server.revision()
    assert await proxy.get_route("/user/u0/") is not None
    await proxy.get_all_routes()
    assert etcd_server.revision() == before


@pytest.mark.parametrize("prefix", ["/traefik/", "deep/er"])
async def test_nothing_outside_of_the_roots_is_touched(
    prefix: str, start_proxy: Start, etcd_server: EtcdServer, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Neither what begins alike nor what lies beside."""
    root = prefix.strip("/")
    others = {f"{root[:-1]}": "x", f"{root}.other/http": "x", f"{root}0": "x", "jupyterhub/other": "x", "zz": "x"}
    for key, value in others.items():
        etcd_server.put(key, value)
    # Keys that begin with the root itself would be read by Traefik, whose pattern has no separator.
    for key in [key for key in others if key.startswith(root)]:
        etcd_server.delete(key)
        del others[key]
    proxy = await start_proxy(kv_traefik_prefix=prefix)
    await assert_works(proxy, doors, client_of)
    await proxy.stop()
    found = etcd_server.all()
    assert {key: found[key] for key in others} == others
    assert all(key.startswith((f"{root}/", "jupyterhub/routes/")) for key in found.keys() - others.keys())


async def test_values_that_are_no_text_are_named(etcd_server: EtcdServer) -> None:
    """Foreign bytes below the root."""
    etcd_server.request("kv/put", {"key": "dHJhZWZpay94", "value": "//79"})
    async with opened(etcd_server.url) as store:
        with pytest.raises(StoreError, match="UTF-8"):
            await store.snapshot()


async def test_a_certificate_without_a_name_and_authentication_work_together(
    etcd_factory: Callable[..., EtcdServer], tmp_path: Path
) -> None:
    """The way out that the error names."""
    files = Certificates.make(tmp_path, client_name=None)
    etcd = etcd_factory(certificates=files, client_certificate=True, root_password=PASSWORD)
    paths = {"ca": str(files.ca), "cert": str(files.client_certificate), "key": str(files.client_key)}
    async with opened(etcd.url, "root", PASSWORD, files=paths) as store:
        await store.check()
        await store.apply(ONE)
        assert (await store.snapshot()).config == {"a": "1"}


@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_a_full_etcd_is_read_and_waited_for(version: str, etcd_factory: Callable[..., EtcdServer]) -> None:
    """The refusal is certain, so a read needs no write before it; a check warns, and does not fail."""
    etcd = etcd_factory(version=version)

    async def alarm(action: str) -> None:
        member = (await ask("status", {}))["header"]["member_id"]
        await ask("alarm", {"action": action, "memberID": member, "alarm": "NOSPACE"})

    async def ask(path: str, body: dict[str, Any]) -> Any:
        url = f"{etcd.url}/v3/maintenance/{path}"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            return await answer.json()

    async with opened(etcd.url) as store:
        await store.apply(ONE)
        await alarm("ACTIVATE")
        with pytest.raises(StoreWriteRefusedError, match="is full; compact and defragment it"):
            await store.apply(ONE)
        assert (await store.snapshot()).config
        async with opened(etcd.url) as later:
            assert any("is full" in said for said in await later.check())
            assert await later.snapshot() == await store.snapshot()
        await alarm("DEACTIVATE")
        await store.apply(ONE)
