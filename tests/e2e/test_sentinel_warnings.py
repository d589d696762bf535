"""Sentinels and replicas that would keep the next failover from working, before there is one."""

from __future__ import annotations

import re

import pytest

from kvproxy.errors import StoreUnavailableError
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy_redis import following
from kvproxy_redis.connection import Connection
from kvproxy_redis.sentinels import parse_sentinels
from kvproxy_redis.store import RedisStore

from .proxies import Start
from .sentinels import ACCESS, LOGIN, PASSWORD, Factory, settings

MISTAKES = {
    "hub missing": ("ACL DELUSER hub", "refuses the credentials; check redis_username"),
    "hub may only read": ("ACL SETUSER hub -@write", "does not let the user 'hub' do what kvproxy needs"),
    "traefik missing": ("ACL DELUSER traefik", "refuses the credentials; check redis_traefik_username"),
    "traefik with another password": ("ACL SETUSER traefik resetpass >x", "refuses .* and redis_traefik_password"),
    "traefik may not listen": ("ACL SETUSER traefik resetchannels", "does not let the user 'traefik' do what"),
}


@pytest.fixture
def watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentinels and replicas are looked at ten times a second."""
    monkeypatch.setattr(following, "_ROUND", 0.1)
    monkeypatch.setattr(following, "_EXAMINED", 0.1)


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES.values(), ids=list(MISTAKES))
async def test_a_replica_that_would_refuse_logins_is_named(
    mistake: str,
    sentence: str,
    sentinel_factory: Factory,
    start_proxy: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Redis copies no users; the day of a failover is late to learn of it."""
    group = sentinel_factory(ACCESS)
    group.servers[1].command(*mistake.split())
    await start_proxy(**settings(group), **LOGIN)
    assert re.search(rf"The replica of Redis at 127.0.0.1:{group.servers[1].port} {sentence}", caplog.text)
    assert caplog.text.count("The replica of Redis") == 1


@pytest.mark.usefixtures("watched_closely")
async def test_a_replica_that_is_spoilt_later_is_named_once(
    sentinel_factory: Factory, start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """And once more if it is mended and spoilt again; nothing is said of a replica that is away."""
    group = sentinel_factory(ACCESS)
    spoilt, away = group.servers[1:]
    await start_proxy(**settings(group), **LOGIN)

    def said(times: int) -> bool:
        return caplog.text.count(f"The replica of Redis at 127.0.0.1:{spoilt.port} refuses") == times

    def looked() -> int:
        # Only kvproxy discards transactions: it tries on a replica whether it may write.
        return int(re.findall(r"cmdstat_discard:calls=(\d+)", str(spoilt.command("INFO", "commandstats")))[0])

    away.kill()
    for times in (1, 2):
        spoilt.command("ACL", "SETUSER", "traefik", "off")
        await until(lambda times=times: said(times))
        before = looked()
        await until(lambda before=before: looked() > before + 2)
        assert said(times)
        spoilt.command("ACL", "SETUSER", "traefik", "on")
        before = looked()
        await until(lambda before=before: looked() > before + 2)
    assert caplog.text.count("The replica of Redis") == 2


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [({"password": "wrong"}, "refuses the credentials; check redis_sentinel"), ({"master": "other"}, "master 'other'")],
)
async def test_that_there_is_no_master_is_said_with_the_reason(
    wrong: dict[str, str], sentence: str, sentinel_factory: Factory
) -> None:
    """As when the password was changed, or the master renamed, while the hub ran."""
    right = {"username": "kvproxy", "password": f"{PASSWORD}-3"}
    sentinels = parse_sentinels(sentinel_factory(ACCESS).addresses, **{**right, **wrong})
    store = RedisStore(Connection(username="hub", password=PASSWORD, sentinels=sentinels), "traefik", "jupyterhub")
    with pytest.raises(StoreUnavailableError, match=sentence):
        await store.snapshot()
    await store.aclose()


@pytest.mark.usefixtures("watched_closely")
async def test_a_hub_that_its_sentinels_do_not_let_in_any_more_says_so_before_there_is_a_failover(
    sentinel_factory: Factory, start_proxy: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections that are open go on."""
    group = sentinel_factory(ACCESS)
    await start_proxy(**settings(group), **LOGIN)
    for sentinel in group.sentinels:
        sentinel.command("ACL", "SETUSER", "kvproxy", "resetpass", ">other")
    await until(lambda: caplog.text.count("The next failover is not followed.") == 3)
