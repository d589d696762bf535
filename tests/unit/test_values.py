"""Readiness, static configuration, credentials, certificate, log lines: values in, values out."""

from __future__ import annotations

import json
import logging
import time

import bcrypt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from kvproxy.errors import ConfigurationError
from kvproxy.process.log_file import parse_log_line
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import make_route
from kvproxy.store import normalise_root
from kvproxy.traefik.readiness import Pending, Ready, Rejected, judge, revision_of
from kvproxy.traefik.setup.certificate import placeholder_certificate
from kvproxy.traefik.setup.credentials import api_access, hash_password
from kvproxy.traefik.static_config import (
    StaticSettings,
    check_url,
    deep_merge,
    listen_address,
    setup_configuration,
    static_configuration,
    static_file,
)

ROUTE = make_route("/user/ada/", "http://127.0.0.1:1", {})
NAME = ALONE.route(ROUTE.key)
ENTRY = encode_route(ROUTE, Layout())
RULE = ENTRY.config[f"http/routers/{NAME}/rule"]
ROUTER = {"rule": RULE, "service": NAME, "priority": len(RULE), "entryPoints": ["http"], "status": "enabled"}
SERVICE = {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:1"}]}, "status": "enabled"}
OLD = {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:9"}]}}


def test_ready_is_what_traefik_serves() -> None:
    """Right rule, right target, enabled."""
    assert judge(ENTRY, ROUTER, SERVICE) == Ready()


@pytest.mark.parametrize(
    ("router", "service", "seen"),
    [
        (None, None, "not know the router"),
        ({**ROUTER, "rule": "Path(`/old`)"}, SERVICE, "its rule differs"),
        ({**ROUTER, "service": "", "status": "disabled", "error": ["router has no service"]}, SERVICE, "its service"),
        ({**ROUTER, "priority": 1}, SERVICE, "its priority"),
        (ROUTER, None, "not know the service"),
        (ROUTER, OLD, "leads to http://127.0.0.1:9 instead of http://127.0.0.1:1"),
        (ROUTER, {"loadBalancer": {}}, "leads to nothing"),
    ],
)
def test_pending_says_what_was_seen(router: object, service: object, seen: str) -> None:
    """A listed router is not yet the new one."""
    verdict = judge(ENTRY, router, service)  # type: ignore[arg-type]
    assert isinstance(verdict, Pending)
    assert seen in verdict.why


def test_every_field_of_a_router_that_was_written_counts() -> None:
    """A read that saw a part of them only does not make a route ready."""
    route = make_route("ada.example.org/x/", "http://127.0.0.1:1/test", {})
    name, entry = ALONE.route(route.key), encode_route(route, Layout(("web", "alt")))
    rule, high = entry.config[f"http/routers/{name}/rule"], int(entry.config[f"http/routers/{name}/priority"])
    whole = {"rule": rule, "service": name, "priority": high, "entryPoints": ["web", "alt"], "status": "enabled"}
    whole["middlewares"] = [f"{name}@redis"]
    assert judge(entry, whole, SERVICE) == Ready()
    for field in ("rule", "service", "priority", "entryPoints", "middlewares"):
        part = {key: value for key, value in whole.items() if key != field}
        assert isinstance(judge(entry, part, SERVICE), Pending), field


def test_rejected_says_why() -> None:
    """With Traefik's own words."""
    verdict = judge(ENTRY, {**ROUTER, "status": "disabled", "error": ["the service does not exist"]}, SERVICE)
    assert verdict == Rejected("the service does not exist")


def test_revision_of() -> None:
    """Only a number is a revision."""
    headers = {"headers": {"customResponseHeaders": {"X-Kvproxy-Revision": "17"}}}
    assert revision_of(headers) == 17
    assert revision_of(None) is None
    assert revision_of({"headers": {"customResponseHeaders": {"X-Kvproxy-Revision": "x"}}}) is None


def settings(**changes: object) -> StaticSettings:
    """Settings of an ordinary hub."""
    base = {
        "public_url": "http://127.0.0.1:8000/base/",
        "api_url": "http://localhost:8099",
        "entry_point": "http",
        "api_entry_point": "auth_api",
        "provider": {"redis": {"endpoints": ["127.0.0.1:6379"], "rootKey": "traefik"}},
    }
    return StaticSettings(**{**base, **changes})  # type: ignore[arg-type]


def test_the_static_configuration_listens_where_it_should_and_calls_no_other_host() -> None:
    """Public and API entry point, no version check, no statistics."""
    made = static_configuration(settings(extra={"log": {"level": "DEBUG"}}))
    assert made["entryPoints"]["http"]["address"] == "127.0.0.1:8000"
    assert made["entryPoints"]["auth_api"]["address"] == "localhost:8099"
    assert made["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
    assert made["log"] == {"format": "json", "level": "DEBUG"}


@pytest.mark.parametrize(
    ("version", "there"), [((3, 6, 3), False), ((3, 6, 4), True), ((3, 6, 7), False), ((3, 0, 0), False)]
)
def test_encoded_characters_are_allowed_where_traefik_would_refuse_them(version: tuple[int, ...], there: bool) -> None:
    """Only 3.6.4 to 3.6.6 refuse; older ones do not know the option."""
    made = static_configuration(settings(version=version))
    assert ("encodedCharacters" in made["entryPoints"]["http"].get("http", {})) is there


def test_https_is_served_with_tls() -> None:
    """By the entry point, so that routers need not say so."""
    made = static_configuration(settings(public_url="https://127.0.0.1/"))
    assert made["entryPoints"]["http"]["http"]["tls"] == {"options": "default"}
    assert made["entryPoints"]["http"]["address"] == "127.0.0.1:443"


def test_the_static_file_names_its_author() -> None:
    """In each of its formats."""
    assert static_file({"api": {}}, "traefik.toml").startswith("# Written by kvproxy")
    assert "[api]" in static_file({"api": {}}, "traefik.toml")
    yaml = static_file({"api": {}}, "t.yaml")
    assert json.loads("".join(line for line in yaml.splitlines() if not line.startswith("#"))) == {"api": {}}
    with pytest.raises(ConfigurationError, match=r"must end in \.toml"):
        static_file({}, "traefik.ini")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://:8000/", ":8000"),
        ("http://[::1]:80/", "[::1]:80"),
        ("https://h", "h:443"),
        ("http://127.0.0.1", "127.0.0.1:80"),
    ],
)
def test_listen_addresses(url: str, address: str) -> None:
    """An empty host is all interfaces."""
    assert listen_address(url, "x") == address


def test_a_unix_socket_is_refused() -> None:
    """JupyterHub 6 can have one, Traefik cannot."""
    with pytest.raises(ConfigurationError, match="cannot listen on a unix socket"):
        check_url("http+unix://%2Fsrv%2Fhub.sock", "JupyterHub.bind_url")


def test_deep_merge_leaves_its_arguments_alone() -> None:
    """The second wins, mapping by mapping."""
    base = {"a": {"b": 1, "c": 2}}
    assert deep_merge(base, {"a": {"b": 3}, "d": 4}) == {"a": {"b": 3, "c": 2}, "d": 4}
    assert base == {"a": {"b": 1, "c": 2}}


def test_kvproxy_lets_itself_in_with_a_token_of_its_own() -> None:
    """The configured user may come too; no password stands in the configuration."""
    access = api_access(set_up=True, username="abc", password="hunter2", hashed_password="", secret=b"s")
    assert access == api_access(set_up=True, username="abc", password="hunter2", hashed_password="", secret=b"s")
    own, other = access.users
    assert own.startswith("kvproxy:{SHA}")
    assert access.password not in own
    name, _, hashed = other.partition(":")
    assert (name, bcrypt.checkpw(b"hunter2", hashed.encode())) == ("abc", True)
    made = setup_configuration(
        api_url="http://h:1", api_entry_point="e", api_users=list(access.users), certificate=None, extra={}
    )
    assert made["http"]["middlewares"]["kvproxy-api"]["basicAuth"]["users"] == [own, other]


def test_a_foreign_api_is_entered_as_the_configured_user() -> None:
    """Where kvproxy does not set it up."""
    access = api_access(set_up=False, username="abc", password="123", hashed_password="", secret=b"s")
    assert (access.username, access.password, access.users) == ("abc", "123", ())


def test_the_password_hash_is_the_same_at_each_start_and_differs_between_hubs() -> None:
    """So that a restart writes nothing."""
    assert hash_password("x", b"1") == hash_password("x", b"1") != hash_password("x", b"2")


def test_the_placeholder_certificate_is_a_pair() -> None:
    """And the same for the same seed."""
    certificate, key = placeholder_certificate(bytes(range(32)))
    assert (certificate, key) == placeholder_certificate(bytes(range(32)))
    loaded = load_pem_x509_certificate(certificate.encode())
    assert loaded.public_key() == load_pem_private_key(key.encode(), None).public_key()
    assert loaded.not_valid_after_utc.timestamp() > time.time()


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        ('{"level":"warn","time":"t","message":"m"}', logging.WARNING, "m"),
        ('{"level":"error","routerName":"r","message":""}', logging.ERROR, "routerName=r"),
        ("\x1b[31mpanic:\x1b[0m oh", logging.ERROR, "panic: oh"),
        ("[]", logging.ERROR, "[]"),
        ('{"level":"weird"}', logging.ERROR, '{"level":"weird"}'),
    ],
)
def test_log_lines(line: str, level: int, text: str) -> None:
    """Levels are kept, colours are not."""
    assert parse_log_line(line) == (level, text)


@pytest.mark.parametrize(("prefix", "root"), [("/traefik/", "traefik"), ("traefik", "traefik"), ("/a/b/", "a/b")])
def test_prefixes_with_and_without_slashes_are_the_same_root(prefix: str, root: str) -> None:
    """The seed's default has them, the peer's has not."""
    assert normalise_root(prefix, "kv_traefik_prefix") == root


@pytest.mark.parametrize("prefix", ["", "/", "a//b", "a b", "a*", "a[b]", "a\n"])
def test_roots_that_cannot_work_are_refused(prefix: str) -> None:
    """With the name of the setting."""
    with pytest.raises(ConfigurationError, match="kv_traefik_prefix"):
        normalise_root(prefix, "kv_traefik_prefix")
