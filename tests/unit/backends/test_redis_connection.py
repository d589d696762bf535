"""One description, two users: what the Redis client is told and what Traefik is told."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from kvproxy.errors import ConfigurationError, StoreAuthError, StoreError, StoreUnavailableError
from kvproxy.testing.servers.redis import TRAEFIK_RIGHTS
from kvproxy_redis import TraefikRedisProxy
from kvproxy_redis.admission import Login, rights
from kvproxy_redis.checks import refuse, warnings
from kvproxy_redis.connection import (
    Connection,
    Tls,
    client_options,
    parse_connection,
    provider_options,
    sentinel_options,
    traefik_connection,
)
from kvproxy_redis.errors import explain
from kvproxy_redis.sentinel_checks import Answer, judge, troubles, why_no_master
from kvproxy_redis.sentinels import Sentinels, parse_sentinels

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = Path(__file__).parents[3] / "docs/how-to"


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
        ("redis://a:1,b:2", {}, "Redis Cluster.*redis_sentinels"),
        ("redis://h:x", {}, "not a valid URL"),
        ("redis://h/x", {}, "Redis db 'x'"),
        ("redis://h", {"unix_socket_path": "relative"}, "absolute path"),
        ("redis://h", {"ssl_ca_path": "/x"}, "ssl_ca_certs"),
        ("redis://h", {"credential_provider": object()}, "fixed username"),
        ("redis://h", {"sentinel_kwargs": {}}, "redis_sentinel_password"),
        ("rediss://h", {"ssl_ca_certs": "/nonexistent/ca.pem"}, "is not a file"),
        ("rediss://h", {"ssl_check_hostname": False}, "ssl_check_hostname"),
    ],
)
def test_settings_that_traefik_cannot_follow_are_refused(url: str, kwargs: dict[str, Any], sentence: str) -> None:
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
    text = (DOCS / "redis.md").read_text()
    found = re.findall(r"^(?:user|ACL SETUSER) traefik (on .*)$", text, re.MULTILINE)
    assert found == [f"on >change-me-too {TRAEFIK_RIGHTS}"] * 2
    assert " ".join(rights("traefik")) == TRAEFIK_RIGHTS


@pytest.mark.parametrize(
    ("traits", "sentence"),
    [
        ({}, "redis_traefik_username and redis_traefik_password"),
        ({"redis_traefik_username": "traefik"}, "redis_traefik_username and redis_traefik_password"),
        ({"redis_traefik_username": "default", "redis_traefik_password": "hunter2"}, "'default'.*others come as"),
        ({"redis_traefik_username": "hub", "redis_traefik_password": "hunter2"}, "'hub'.*others come as"),
    ],
)
def test_a_user_that_the_hub_cannot_make_for_traefik_is_refused(traits: dict[str, str], sentence: str) -> None:
    """It would take the rights of every other client with that login."""
    proxy = TraefikRedisProxy(redis_url="redis://hub:one@h", redis_admit_traefik=True, **traits)
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        proxy.open_store(proxy.roots)
    assert "hunter2" not in str(refused.value)


def test_the_command_that_admits_traefik_does_not_hold_its_password() -> None:
    """So that neither an error of Redis' nor a watch of its commands (MONITOR) can show it."""
    login = Login("traefik", "hunter2")
    assert login.command[1] == "traefik"
    assert not any("hunter2" in word for word in [*login.command, repr(login)])


@pytest.mark.parametrize("keys", [[b"traefik*"], b"~traefik*"], ids=["6.2", "7"])
def test_a_user_that_the_hub_has_made_is_known_by_password_and_root(keys: object) -> None:
    """In the words of every version of Redis."""
    login = Login("traefik", "hunter2")
    user = {"keys": keys, "passwords": [login.command[4].removeprefix("#").encode()]}
    assert login.is_made(user)
    assert not any(
        one.is_made(other)
        for one, other in [
            (login, None),
            (login, {**user, "keys": b""}),
            (login, {**user, "keys": b"~traefik* ~jupyterhub*"}),
            (login, {**user, "passwords": []}),
            (Login("traefik", "another"), user),
            (Login("traefik", "hunter2", "hot-traefik"), user),
        ]
    )


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


@pytest.mark.parametrize("username", ["hub", "u%20v"])
def test_a_user_without_a_password_is_none_that_traefik_could_be(username: str) -> None:
    """It would come as the default user, who may do everything, and say nothing; with a login of its own it may."""
    proxy = TraefikRedisProxy(redis_username=username)
    with pytest.raises(ConfigurationError, match=r"named without a password.*redis_traefik_username"):
        proxy.traefik_provider()
    proxy = TraefikRedisProxy(redis_url=f"redis://{username}@h", redis_traefik_username="t", redis_traefik_password="p")
    assert proxy.traefik_provider()["redis"]["username"] == "t"
    assert traefik_connection(Connection(username="default")).username == "default"


SENTINELS = Sentinels((("s1", 26379), ("::1", 5)), "main", "watcher", "three")


def test_sentinels_are_told_to_hub_and_traefik() -> None:
    """The place of the server is theirs to say; TLS is for both, the credentials are their own."""
    made = parse_connection("rediss://u:one@/3", client_kwargs={"socket_timeout": 7}, sentinels=SENTINELS)
    tls = {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert client_options(made) == {"db": 3, "username": "u", "password": "one", "socket_timeout": 7, **tls}
    assert sentinel_options(made) == {"username": "watcher", "password": "three", **tls}
    assert provider_options(made, "traefik") == {
        "endpoints": ["s1:26379", "[::1]:5"],
        "rootKey": "traefik",
        "username": "u",
        "password": "one",
        "db": 3,
        "tls": {},
        "sentinel": {"masterName": "main", "username": "watcher", "password": "three"},
    }
    assert str(made) == "rediss://u@main/3 (sentinels s1:26379, [::1]:5)"
    assert "three" not in repr(made)


def test_sentinels_as_traits() -> None:
    """A list, or one text as an environment variable or a command line has it; the password is kept out of logs."""
    proxy = TraefikRedisProxy(redis_url="redis:///0", redis_sentinels=["s1", "s2:7"], redis_sentinel_password="three")
    assert proxy.connection.sentinels == Sentinels((("s1", 26379), ("s2", 7)), "mymaster", "", "three")
    assert proxy.store_secrets() == ["three"]
    proxy = TraefikRedisProxy(config=Config({"TraefikRedisProxy": {"redis_sentinels": "s1, s2:7,"}}))
    assert proxy.connection.sentinels == Sentinels((("s1", 26379), ("s2", 7)))
    assert TraefikRedisProxy().connection.sentinels is None


def test_the_documented_provider_is_the_one_that_a_hub_with_the_documented_settings_writes() -> None:
    """For those who run a Traefik of their own."""
    text = (DOCS / "sentinel.md").read_text()
    settings, login, tls = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "ssl_ca_certs" in tls
    config = Config()
    exec(settings + login, {"c": config})
    del config.JupyterHub
    provider = tomllib.loads(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0])["providers"]
    assert TraefikRedisProxy(redis_url="redis:///0", config=config).traefik_provider() == provider


@pytest.mark.parametrize(
    ("addresses", "companions", "sentence"),
    [
        (["redis://s1:1"], (), "not 'redis://s1:1'.*rediss://"),
        (["u:hunter2@s1:1"], (), "without credentials.*redis_sentinel_password"),
        (["s1:x"], (), "'s1:x', which is not an address"),
        (["s1:70000"], (), "not an address"),
        ([":1"], (), "not an address"),
        (["::1"], (), "not an address"),
        (["s1"], ("",), "redis_sentinel_master is empty"),
        (["s1"], ("m", "watcher"), "without redis_sentinel_password"),
        ([], ("mymaster", "", "hunter2"), "redis_sentinel_password is set without redis_sentinels"),
        ([], ("main",), "redis_sentinel_master is set without redis_sentinels"),
    ],
)
def test_sentinels_that_make_no_sense_are_refused(
    addresses: list[str], companions: tuple[str, ...], sentence: str
) -> None:
    """With a sentence that names the setting and repeats no password."""
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        parse_sentinels(addresses, *companions)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://h", "redis://h:1/2", "redis://:1", "unix:///run/redis.sock"])
def test_a_server_beside_sentinels_is_refused(url: str) -> None:
    """It would not be used, though its author may think so."""
    with pytest.raises(ConfigurationError, match=r"names the server .* but with redis_sentinels"):
        parse_connection(url, sentinels=SENTINELS)


STATE = {"ip": "10.0.0.1", "port": 6379, "num-other-sentinels": 2, "num-slaves": 2}


@pytest.mark.parametrize(
    ("answers", "sentences"),
    [
        ([Answer("s1", state=STATE), Answer("s2", state=STATE)], []),
        ([Answer("s1", StoreUnavailableError("s1 is away.")), Answer("s2", state=STATE)], ["s1 is away. The others"]),
        ([Answer("s1", state={**STATE, "num-other-sentinels": 1})], ["watched by 2 sentinels only"]),
        ([Answer("s1", state={**STATE, "num-slaves": 0})], ["no replica"]),
        ([Answer("s1", state=STATE, quorum="NOQUORUM 1 usable")], ["could not fail over.*NOQUORUM 1 usable"]),
        (
            [Answer("s1", state=STATE), Answer("s2", state={**STATE, "port": 6380})],
            ["disagree.*10.0.0.1:6379, 10.0.0.1:6380"],
        ),
    ],
)
def test_answers_of_sentinels_become_sentences(answers: list[Answer], sentences: list[str]) -> None:
    """Only what hurts."""
    found = judge(answers, SENTINELS)
    assert len(found) == len(sentences)
    for sentence, words in zip(found, sentences, strict=True):
        assert re.search(words, sentence)


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (
            [Answer("s1", StoreUnavailableError("s1 is away.")), Answer("s2", StoreAuthError("s2 refuses."))],
            "s2 refuses.",
        ),
        (
            [Answer("s1", StoreUnavailableError("s1 is away.")), Answer("s2", state=STATE)],
            "cannot reach 10.0.0.1:6379, and",
        ),
        (
            [Answer("s1", StoreUnavailableError("s1 is away.")), Answer("s2", StoreUnavailableError("s2 too."))],
            "away. s2 too.",
        ),
    ],
)
def test_it_is_said_why_there_is_no_master(answers: list[Answer], sentence: str) -> None:
    """Not only that there is none."""
    assert sentence in why_no_master(answers, SENTINELS)


def test_a_running_hub_complains_of_sentinels_only_where_waiting_will_not_help() -> None:
    """A sentinel that is away for a while is no matter, as the others are asked."""
    away, wrong = Answer("s1", StoreUnavailableError("s1 is away.")), Answer("s2", StoreAuthError("s2 refuses."))
    assert troubles([away, Answer("s3", state=STATE)]) == []
    assert troubles([wrong, Answer("s3", state=STATE)]) == ["s2 refuses. The others are asked instead."]
    assert troubles([wrong]) == ["s2 refuses. The next failover is not followed."]


def test_a_connection_that_is_closed_at_once_makes_one_look_at_the_client_certificate() -> None:
    """With TLS 1.3 a server refuses it only after the handshake, by closing the connection."""
    closed = ConnectionError("Connection closed by server.")
    assert "client certificate /c.pem?" in str(explain(closed, Connection(tls=Tls(cert="/c.pem", key="/k.pem"))))
    assert "certificate" not in str(explain(closed, Connection(tls=Tls())))


def test_the_most_telling_problem_of_all_sentinels_is_raised() -> None:
    """Waiting for the two that are away would not help."""
    away = [Answer("s1", StoreUnavailableError("s1 is away.")), Answer("s2", StoreUnavailableError("s2 is away."))]
    with pytest.raises(StoreUnavailableError, match="s1 is away"):
        judge(away, SENTINELS)
    with pytest.raises(StoreAuthError, match="s3 refuses"):
        judge([*away, Answer("s3", StoreAuthError("s3 refuses."))], SENTINELS)


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


def test_a_replica_is_refused_for_good_only_without_sentinels() -> None:
    """Sentinels are about to know better."""
    with pytest.raises(StoreError, match="name the master in redis_url") as refused:
        refuse({"role": "slave"}, Connection())
    assert not isinstance(refused.value, StoreUnavailableError)
    with pytest.raises(StoreUnavailableError, match="changing its master"):
        refuse({"role": "slave"}, Connection(sentinels=SENTINELS))


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("certificate has expired", "renew it"),
        ("Hostname mismatch, certificate is not valid for 'h'.", "redis_url"),
        ("IP address mismatch, certificate is not valid for '127.0.0.2'.", "redis_url"),
        ("self-signed certificate in certificate chain", "ssl_ca_certs"),
        ("unable to get local issuer certificate", "ssl_ca_certs"),
    ],
)
def test_an_untrusted_certificate_is_told_with_the_reason_and_the_place(reason: str, advice: str) -> None:
    """The authority is to be given only if it is the authority that is missing."""
    text = f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {reason} (_ssl.c:1006)."
    said = str(explain(ConnectionError(f"Error 1 connecting to h:1. {text}"), Connection(host="h", port=1)))
    assert "Redis at redis://h:1/0 has a certificate that is not trusted" in said
    assert reason.rstrip(".") in said
    assert said.partition("; ")[2].count(advice) == 1
    assert ("ssl_ca_certs" in said) == (advice == "ssl_ca_certs")


def test_a_certificate_for_another_name_is_the_servers_matter_where_sentinels_tell_the_address() -> None:
    """No setting of the hub's has the name, and the master is named."""
    reason = "IP address mismatch, certificate is not valid for '10.0.0.2'."
    text = f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {reason} (_ssl.c:1006)"
    said = str(explain(ConnectionError(text), Connection(sentinels=SENTINELS, tls=Tls()), "10.0.0.2:6379"))
    assert said.startswith("The master 10.0.0.2:6379 of Redis at ")
    assert "have it made for the name or address" in said
    assert "redis_url" not in said
