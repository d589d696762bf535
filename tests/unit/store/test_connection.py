"""One description, two users: what the hub's HTTP client and Traefik are told of etcd and Consul."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kvproxy.errors import ConfigurationError
from kvproxy.store.connection import HttpConnection, Tls
from kvproxy_consul import TraefikConsulProxy
from kvproxy_consul import connection as consul
from kvproxy_etcd import connection as etcd


def files(directory: Path) -> dict[str, str]:
    """Three files with names."""
    for name in ("ca", "cert", "key"):
        (directory / name).write_text("x")
    return {name: str(directory / name) for name in ("ca", "cert", "key")}


@pytest.mark.parametrize(
    ("url", "urls", "traefik"),
    [
        ("http://127.0.0.1:2379", ["http://127.0.0.1:2379"], {"endpoints": ["127.0.0.1:2379"]}),
        ("etcd://e", ["http://e:2379"], {"endpoints": ["e:2379"]}),
        ("etcd://e/", ["http://e:2379"], {"endpoints": ["e:2379"]}),
        ("etcds://e:1", ["https://e:1"], {"endpoints": ["e:1"], "tls": {}}),
        ("https://e?verify=no", ["https://e:2379"], {"endpoints": ["e:2379"], "tls": {"insecureSkipVerify": True}}),
        ("etcd://[::1]:7", ["http://[::1]:7"], {"endpoints": ["[::1]:7"]}),
        ("etcd://a,b:1, [::1]", ["http://a:2379", "http://b:1", "http://[::1]:2379"], None),
        ("http://a:1,http://b:2,http://a:1", ["http://a:1", "http://b:2"], {"endpoints": ["a:1", "b:2"]}),
        (
            "etcd://u%40:p%2F%3A%2C@a,b",
            ["http://a:2379", "http://b:2379"],
            {"endpoints": ["a:2379", "b:2379"], "username": "u@", "password": "p/:,"},
        ),
    ],
)
def test_etcd_urls(url: str, urls: list[str], traefik: dict[str, Any] | None) -> None:
    """Everything that a URL can say reaches both."""
    made = etcd.parse_connection(url)
    assert list(made.urls) == urls
    if traefik is not None:
        assert etcd.provider_options(made, "traefik") == {"rootKey": "traefik", **traefik}


def test_the_more_special_etcd_setting_wins(tmp_path: Path) -> None:
    """etcd_client_kwargs over the other traits over etcd_url, and what is empty says nothing."""
    made = etcd.parse_connection("etcd://a:1@h:1,i", "b", "2", client_kwargs={"password": "3", "port": 5, "user": ""})
    assert (made.username, made.password, made.endpoints) == ("b", "3", ("h:5",))
    named = files(tmp_path)
    others = {"ca_cert": named["key"], "timeout": "2.5"}
    made = etcd.parse_connection("etcds://h", files=named, client_kwargs=others)
    assert made.tls == Tls(named["key"], named["cert"], named["key"])
    assert made.timeout == 2.5
    assert etcd.provider_options(made, "t")["tls"] == {**named, "ca": named["key"]}


def test_traefik_may_come_to_etcd_as_a_user_of_its_own() -> None:
    """To the same places; half a login is an error, and an empty one the hub's."""
    hub = etcd.parse_connection("etcds://hub:secret@a,b")
    own = etcd.provider_options(etcd.traefik_connection(hub, "traefik", "too"), "t")
    assert own == etcd.provider_options(hub, "t") | {"username": "traefik", "password": "too"}
    assert etcd.traefik_connection(hub) is hub
    for login in ({"username": "traefik"}, {"password": "too"}):
        with pytest.raises(ConfigurationError, match="etcd_traefik_username and etcd_traefik_password go together"):
            etcd.traefik_connection(hub, **login)


@pytest.mark.parametrize(
    ("url", "traits", "kwargs", "traefik"),
    [
        ("http://127.0.0.1:8500", {}, {}, {"endpoints": ["127.0.0.1:8500"]}),
        ("consul://c", {}, {}, {"endpoints": ["c:8500"]}),
        ("consuls://c:1", {}, {}, {"endpoints": ["c:1"], "tls": {}}),
        ("consul://:tok@c", {}, {}, {"endpoints": ["c:8500"], "token": "tok"}),
        ("consul://c?token=tok", {}, {}, {"endpoints": ["c:8500"], "token": "tok"}),
        ("consul://c", {"password": "tok"}, {}, {"endpoints": ["c:8500"], "token": "tok"}),
        ("consul://c", {"password": "x", "token": "tok"}, {}, {"endpoints": ["c:8500"], "token": "tok"}),
        ("consul://c", {"token": "x"}, {"token": "tok"}, {"endpoints": ["c:8500"], "token": "tok"}),
        ("consul://c,d:1", {}, {}, {"endpoints": ["c:8500"]}),
        ("consul://c", {"username": "u", "password": "p"}, {}, {"endpoints": ["c:8500"]}),
        ("consul://c", {}, {"host": "::1", "port": 3}, {"endpoints": ["[::1]:3"]}),
        ("consul://c", {}, {"scheme": "https"}, {"endpoints": ["c:8500"], "tls": {}}),
        (
            "https://c",
            {},
            {"verify": False, "scheme": "https"},
            {"endpoints": ["c:8500"], "tls": {"insecureSkipVerify": True}},
        ),
        ("https://c", {}, {"scheme": "http"}, {"endpoints": ["c:8500"]}),
    ],
)
def test_consul_urls(url: str, traits: dict[str, str], kwargs: dict[str, Any], traefik: dict[str, Any]) -> None:
    """Everything that can be said reaches both."""
    made = consul.parse_connection(url, **traits, client_kwargs=kwargs)
    assert consul.provider_options(made, "traefik") == {"rootKey": "traefik", **traefik}


def test_consul_certificates_as_python_consul_names_them(tmp_path: Path) -> None:
    """``verify`` may be the authority's file, ``cert`` one file or two."""
    named = files(tmp_path)
    both = {"verify": named["ca"], "cert": (named["cert"], named["key"])}
    assert consul.parse_connection("consuls://c", client_kwargs=both).tls == Tls(**named)
    one = {"cert": named["cert"]}
    assert consul.parse_connection("consuls://c", client_kwargs=one).tls == Tls("", named["cert"], named["cert"])


def test_basic_authentication_reaches_traefik_and_ambient_variables_do_not() -> None:
    """Its client library would read them."""
    made = consul.parse_connection("consul://u:p%3A@c")
    environment = consul.provider_environment(made)
    assert environment.pop("CONSUL_HTTP_AUTH") == "u:p:"
    assert set(environment) >= {"CONSUL_HTTP_TOKEN", "CONSUL_HTTP_SSL"}
    assert not any(environment.values())


@pytest.mark.parametrize(
    ("url", "kwargs", "sentence"),
    [
        ("redis://h", {}, "must begin with etcd://"),
        ("h:2379", {}, "must begin with etcd://"),
        ("", {}, "must begin with etcd://"),
        ("etcd://", {}, "not a valid URL"),
        ("etcd://h:x", {}, "not a valid URL"),
        ("etcd://a,,b", {}, "not a valid URL"),
        ("http://a,https://b", {}, "the same scheme"),
        ("etcd://h/path", {}, "has a path"),
        ("etcd://h", {"port": 0}, "port 0"),
        ("etcd://h", {"timeout": "soon"}, "number of seconds"),
        ("etcd://h", {"grpc_options": {}}, "JSON gateway"),
        ("etcd://h", {"nosuch": 1}, "unknown option 'nosuch'"),
        ("etcd://h?nosuch=1", {}, "unknown option 'nosuch'"),
        ("etcd://u@h", {}, "go together"),
        ("etcds://h", {"ca_cert": "/nonexistent/ca.pem"}, "etcd_client_ca_cert names '/nonexistent/ca.pem'"),
        ("etcds://h", {"cert_cert": __file__}, "etcd_client_cert_crt and etcd_client_cert_key go together"),
    ],
)
def test_invalid_settings_of_etcd_are_refused(url: str, kwargs: dict[str, Any], sentence: str) -> None:
    """At start, with a sentence that says what to do."""
    with pytest.raises(ConfigurationError, match=sentence):
        etcd.parse_connection(url, client_kwargs=kwargs)


@pytest.mark.parametrize(
    ("url", "kwargs", "sentence"),
    [
        ("etcd://h", {}, "must begin with consul://"),
        ("consul://h", {"dc": "x"}, "data centre"),
        ("consul://h", {"consistency": "stale"}, "written last"),
        ("consul://h", {"scheme": "ftp"}, "'http' or 'https'"),
        ("consul://u%3A:p@h", {}, "colon"),
        ("consuls://h", {"cert": 5}, "a file, or two"),
    ],
)
def test_invalid_settings_of_consul_are_refused(url: str, kwargs: dict[str, Any], sentence: str) -> None:
    """At start, with a sentence that says what to do."""
    with pytest.raises(ConfigurationError, match=sentence):
        consul.parse_connection(url, client_kwargs=kwargs)


@pytest.mark.parametrize(
    "url", ["etcd://u:hunter2@h:x", "ftp://u:hunter2@h", "etcd://u:hunter2@h/x", "etcd://u:hunter2@"]
)
def test_no_error_repeats_the_password(url: str) -> None:
    """Nor does the connection's own text."""
    with pytest.raises(ConfigurationError) as refused:
        etcd.parse_connection(url)
    assert "hunter2" not in str(refused.value)


def test_no_connection_shows_its_secrets() -> None:
    """And it can take them out of what a server says."""
    made = consul.parse_connection("consul://u:hunter2@h", token="hunter3")
    assert "hunter" not in f"{made} {made!r}"
    assert made.redact("no hunter2, no hunter3") == "no …, no …"
    assert sorted(made.secrets) == ["hunter2", "hunter3"]
    assert HttpConnection(consul.CONSUL, ("h:1",)).secrets == []


@pytest.mark.parametrize("part", ["ca", "cert"])
def test_files_that_are_no_certificates_are_named(part: str, tmp_path: Path) -> None:
    """Before anything is asked of the server; OpenSSL never asks for a key's password at the terminal."""
    named = files(tmp_path)
    tls = Tls(**{"ca": named["ca"]} if part == "ca" else {"cert": named["cert"], "key": named["key"]})
    with pytest.raises(ConfigurationError, match=f"{named[part]} cannot be used"):
        tls.context()
    with pytest.raises(ConfigurationError, match="authority's certificate"):
        Tls(ca="-----BEGIN CERTIFICATE-----\nx").context()


@pytest.mark.parametrize("traefik", ["", "hunter2", "0b9e6c6c66a44bd19d6c5a5d4a0e7a11", "the hub's"])
def test_a_token_that_the_hub_cannot_make_for_traefik_is_refused(traefik: str) -> None:
    """Consul takes no secret that is not a UUID; and the hub's own is not to be replaced."""
    hub = "9f2d1c38-5a2f-4a57-8f3b-2f6c1f0f8a55"
    traits = {"consul_token": hub, "consul_traefik_token": hub if traefik == "the hub's" else traefik}
    proxy = TraefikConsulProxy(consul_admit_traefik=True, **traits)
    with pytest.raises(
        ConfigurationError, match="consul_traefik_token to another one, in the form of a UUID"
    ) as refused:
        proxy.open_store(proxy.roots)
    assert "hunter2" not in str(refused.value)
    assert hub not in str(refused.value)
