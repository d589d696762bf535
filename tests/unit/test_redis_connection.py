"""One description, two users: what the Redis client is told and what Traefik is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kvproxy.errors import ConfigurationError
from kvproxy.testing.redis_server import TRAEFIK_RIGHTS
from kvproxy_redis import TraefikRedisProxy
from kvproxy_redis.checks import refuse, warnings
from kvproxy_redis.connection import Connection, client_options, parse_connection, provider_options


@pytest.mark.parametrize(
    ("url", "kwargs", "client", "traefik"),
    [
        ("redis://127.0.0.1:6379", {}, {"host": "127.0.0.1", "port": 6379, "db": 0}, {"endpoints": ["127.0.0.1:6379"]}),
        ("redis://r", {}, {"host": "r", "port": 6379, "db": 0}, {"endpoints": ["r:6379"]}),
        (
            "redis://u%40:p%2F%3A@h:1/3",
            {},
            {"host": "h", "port": 1, "db": 3, "username": "u@", "password": "p/:"},
            {"endpoints": ["h:1"], "username": "u@", "password": "p/:", "db": 3},
        ),
        ("redis://[::1]:7/", {}, {"host": "::1", "port": 7, "db": 0}, {"endpoints": ["[::1]:7"]}),
        ("redis://h?db=2", {}, {"host": "h", "port": 6379, "db": 2}, {"endpoints": ["h:6379"], "db": 2}),
        (
            "redis://h",
            {"host": "other", "db": 4, "socket_timeout": 3},
            {"host": "other", "port": 6379, "db": 4, "socket_timeout": 3},
            {"endpoints": ["other:6379"], "db": 4},
        ),
        (
            "unix://:pw@/run/redis.sock?db=1",
            {},
            {"unix_socket_path": "/run/redis.sock", "db": 1, "password": "pw"},
            {"endpoints": ["/run/redis.sock"], "password": "pw", "db": 1},
        ),
        (
            "rediss://h",
            {},
            {"host": "h", "port": 6379, "db": 0, "ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True},
            {"endpoints": ["h:6379"], "tls": {}},
        ),
        (
            "rediss://h?ssl_cert_reqs=none",
            {},
            {"host": "h", "port": 6379, "db": 0, "ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False},
            {"endpoints": ["h:6379"], "tls": {"insecureSkipVerify": True}},
        ),
    ],
)
def test_hub_and_traefik_are_told_the_same(
    url: str, kwargs: dict[str, Any], client: dict[str, Any], traefik: dict[str, Any]
) -> None:
    """Everything that a URL can say reaches both."""
    connection = parse_connection(url, client_kwargs=kwargs)
    assert client_options(connection) == client
    assert provider_options(connection, "traefik") == {"rootKey": "traefik", **traefik}


def test_the_more_special_setting_wins() -> None:
    """redis_client_kwargs over redis_username and redis_password over redis_url."""
    made = parse_connection("redis://a:1@h", "b", "2", {"password": "3"})
    assert (made.username, made.password) == ("b", "3")


def test_certificates_reach_both(tmp_path: Path) -> None:
    """As absolute paths, wherever Traefik is started."""
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("x")
    kwargs = {"ssl_ca_certs": tmp_path / "ca", "ssl_certfile": tmp_path / "cert", "ssl_keyfile": tmp_path / "key"}
    made = parse_connection("rediss://h", client_kwargs=kwargs)
    assert client_options(made)["ssl_ca_certs"] == str(tmp_path / "ca")
    assert provider_options(made, "t")["tls"] == {n: str(tmp_path / n) for n in ("ca", "cert", "key")}


@pytest.mark.parametrize(
    ("url", "kwargs", "sentence"),
    [
        ("http://h", {}, "must begin with redis://"),
        ("redis+sentinel://h/m", {}, "must begin with redis://"),
        ("redis://a:1,b:2", {}, "Redis Cluster"),
        ("redis://h:x", {}, "no proper URL"),
        ("redis://h/x", {}, "Redis db 'x'"),
        ("redis://h", {"unix_socket_path": "relative"}, "absolute path"),
        ("redis://h", {"ssl_ca_path": "/x"}, "ssl_ca_certs"),
        ("redis://h", {"credential_provider": object()}, "fixed username"),
        ("rediss://h", {"ssl_ca_certs": "/nonexistent/ca.pem"}, "is no file"),
        ("rediss://h", {"ssl_check_hostname": False}, "ssl_check_hostname"),
    ],
)
def test_what_traefik_cannot_follow_is_refused(url: str, kwargs: dict[str, Any], sentence: str) -> None:
    """At start, with a sentence that says what to do."""
    with pytest.raises(ConfigurationError, match=sentence):
        parse_connection(url, client_kwargs=kwargs)


def test_traefik_may_log_in_as_a_user_of_its_own() -> None:
    """At the same place as the hub, whose own login stays as it is; both passwords are kept out of logs."""
    proxy = TraefikRedisProxy(
        redis_url="redis://hub:one@h:1/2", redis_traefik_username="traefik", redis_traefik_password="two"
    )
    assert proxy.traefik_provider() == {
        "redis": {"endpoints": ["h:1"], "rootKey": "traefik", "username": "traefik", "password": "two", "db": 2}
    }
    assert (proxy.connection.username, proxy.connection.password) == ("hub", "one")
    assert proxy.store_secrets() == ["one", "two"]


def test_the_documented_user_for_traefik_is_the_one_that_the_tests_use() -> None:
    """In both places, and nowhere with other rights."""
    text = (Path(__file__).parents[2] / "docs/how-to/redis.md").read_text()
    found = re.findall(r"^(?:user|ACL SETUSER) traefik (.*)$", text, re.MULTILINE)
    assert found == [f"on >change-me-too {TRAEFIK_RIGHTS}"] * 2


@pytest.mark.parametrize(
    ("traits", "sentence"),
    [
        ({"redis_traefik_password": "hunter2"}, "without redis_traefik_username"),
        ({"redis_traefik_username": "traefik"}, "without redis_traefik_password"),
    ],
)
def test_half_a_login_of_traefik_is_refused(traits: dict[str, str], sentence: str) -> None:
    """Traefik would come as the default user, who may do everything, and say nothing."""
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        TraefikRedisProxy(redis_username="hub", redis_password="one", **traits).traefik_provider()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["redis://u:hunter2@h:x", "http://u:hunter2@h", "redis://u:hunter2@a,b", "redis://u:hunter2@h/x"]
)
def test_no_error_repeats_the_password(url: str) -> None:
    """Nor does the connection's own text."""
    with pytest.raises(ConfigurationError) as refused:
        parse_connection(url)
    assert "hunter2" not in str(refused.value)
    shown = parse_connection("redis://u:hunter2@h")
    assert "hunter2" not in f"{shown} {shown!r}"


def test_settings_that_lose_routes_are_named() -> None:
    """Each warning names what to change."""
    bad = {
        "appendonly": "no",
        "save": "",
        "maxmemory-policy": "allkeys-lru",
        "maxmemory": "100",
    }
    found = " ".join(warnings(bad, Connection()))
    for setting in ("appendonly yes", "maxmemory-policy noeviction"):
        assert setting in found


def test_good_settings_are_not_commented_on() -> None:
    """One way to keep data is enough."""
    good = {"appendonly": "no", "save": "60 1", "maxmemory-policy": "noeviction"}
    assert warnings(good, Connection()) == []


def test_a_cluster_is_refused() -> None:
    """Traefik cannot read from one."""
    with pytest.raises(ConfigurationError, match="cluster-enabled no"):
        refuse({"cluster_enabled": 1}, Connection())
