"""Errors of a hub that cannot start: one sentence that says what to do, and nothing left behind."""

from __future__ import annotations

import re
import socket
import time

import pytest

from kvproxy.testing.hub import HubProcess
from kvproxy.testing.servers import RedisServer, free_port, wait_until

pytestmark = [pytest.mark.hub, pytest.mark.timeout(120)]

#: A hub takes some seconds, whatever it then does.
LOADING = 60.0
NO_TRAEFIK = """
import types, kvproxy.process.launch
kvproxy.process.launch.shutil = types.SimpleNamespace(which=lambda *arguments, **options: None)
"""


def said(hub: HubProcess, level: str) -> list[str]:
    """kvproxy's lines in the log at a level (W, E, C)."""
    line = rf"^\[{level} [^]]* JupyterHub (?:base|startup|traefik_loop|supervisor):\d+\] (.*)$"
    return re.findall(line, hub.log_text, re.MULTILINE)


def why_it_failed(hub: HubProcess, seconds: float = LOADING) -> str:
    """Start a hub that fails within a time, see that nothing is left of it, and return the sentence it said."""
    hub.launch()
    assert hub.wait(seconds) == 1
    assert hub.family() == []
    assert list(hub.directory.glob("*traefik.toml*")) == []
    (sentence,) = said(hub, "C")
    assert len(re.findall(r'^ +File "', hub.log_text, re.MULTILINE)) <= 2  # the hub adds a traceback to it
    return sentence


def test_redis_absent(hub_factory):
    url = f"redis://127.0.0.1:{free_port()}/0"
    hub = hub_factory({"TraefikRedisProxy.redis_url": url, "KVTraefikProxy.store_timeout": 2})
    sentence = why_it_failed(hub)
    assert sentence.startswith(f"Redis at {url} cannot be reached (")
    assert sentence.endswith("Gave up after 2 s (c.KVTraefikProxy.store_timeout).")
    assert [text for text in said(hub, "W") if "Waiting for it for up to 2 s" in text]


def test_settings_that_nothing_reads_and_one_that_cannot_be_followed(hub_factory):
    ignored = {"TraefikReidsProxy.redis_password": "wr0ng-0ne", "TraefikEtcdProxy.etcd_password": "wr0ng-0ne"}
    hub = hub_factory({**ignored, "TKvProxy.kv_separator": "."})
    assert why_it_failed(hub, 60) == (
        "c.TKvProxy.kv_separator is not supported: Traefik takes only '/' between the parts of a key. Remove "
        "c.TKvProxy.kv_separator."
    )
    assert hub.log_text.count("c.TraefikReidsProxy (redis_password) is not used: there is no proxy class of that ") == 1
    assert hub.log_text.count("c.TraefikEtcdProxy (etcd_password) is not used, as the hub uses TraefikRedisProxy.") == 1
    assert "wr0ng-0ne" not in hub.log_text


def test_redis_refuses_the_password_at_once(hub_factory, redis_factory):
    url = redis_factory(password="right").url
    settings = {"TraefikRedisProxy.redis_url": url, "TraefikRedisProxy.redis_password": "wr0ng-0ne"}
    hub = hub_factory({**settings, "KVTraefikProxy.store_timeout": 600})
    sentence = why_it_failed(hub, LOADING)
    assert sentence == f"Redis at {url} refuses the credentials; check redis_username and redis_password."
    assert "wr0ng-0ne" not in hub.log_text


def test_redis_refuses_traefiks_user_at_once(hub_factory, redis_server):
    redis_server.command("ACL", "SETUSER", "traefik", "on", ">right", "~traefik*", "+@all")
    login = {"redis_traefik_username": "traefik", "redis_traefik_password": "wr0ng-0ne"}
    settings = {"TraefikRedisProxy.redis_url": redis_server.url, "TraefikProxy.check_route_timeout": 60}
    hub = hub_factory({**settings, **{f"TraefikRedisProxy.{name}": value for name, value in login.items()}})
    assert why_it_failed(hub) == (
        f"Redis at {redis_server.url} refuses Traefik's user 'traefik'; check redis_traefik_username and "
        "redis_traefik_password."
    )
    assert "wr0ng-0ne" not in hub.log_text


def test_the_last_line_repeats_what_traefiks_provider_said(hub_factory, redis_server):
    redis_server.command("SET", "traefik/http/routers/mine/rool", "x")
    settings = {"TraefikRedisProxy.redis_url": redis_server.url, "TraefikProxy.check_route_timeout": 5}
    assert why_it_failed(hub_factory(settings), LOADING + 5) == (
        "Traefik's API answers, but Traefik has loaded nothing that kvproxy wrote. One key below its rootKey that it "
        "cannot decode stops all updates; its log says: field not found, node: rool. Correct or remove that key. Gave "
        "up after 5 s (check_route_timeout)."
    )


def test_a_mistake_in_the_dynamic_configuration_leaves_no_key(hub_factory, redis_server):
    extra = {"http": {"middlewares": {"a": {"headers": {"customRequestHeader": {"X-A": "b"}}}}}}
    settings = {"TraefikRedisProxy.redis_url": redis_server.url, "TraefikProxy.extra_dynamic_config": extra}
    assert why_it_failed(hub_factory(settings)) == (
        "c.TraefikProxy.extra_dynamic_config has http.middlewares.a.headers.customRequestHeader, which Traefik does "
        "not know there (is customRequestHeaders meant?). Nothing was written."
    )
    assert redis_server.command("KEYS", "*") == []


def test_redis_comes_late(hub_factory):
    redis = RedisServer()
    hub = hub_factory({"TraefikRedisProxy.redis_url": redis.url})
    try:
        hub.launch()
        wait_until(lambda: "Waiting for it for up to 60 s" in hub.log_text, "the hub says what it waits for", LOADING)
        later = time.monotonic() + 3
        wait_until(lambda: time.monotonic() > later, "it has tried some more times")
        redis.start()
        wait_until(hub.answers, "the hub answers", LOADING)
        assert hub.log_text.count("cannot be reached") == 1
        assert hub.end() == 0
        assert hub.log_text.partition("Traceback")[2][:3000] == ""
    finally:
        hub.close()
        redis.close()


@pytest.mark.parametrize("setting", ["c.JupyterHub.bind_url", "c.TraefikProxy.traefik_api_url"])
def test_port_taken(hub_factory, redis_server, setting):
    hub = hub_factory({"TraefikRedisProxy.redis_url": redis_server.url})
    port = hub.port if "bind_url" in setting else hub.api_port
    with socket.create_server(("127.0.0.1", port)):
        sentence = why_it_failed(hub)
    assert sentence.startswith(f"Traefik cannot listen on 127.0.0.1:{port} ({setting}): another program listens")
    assert redis_server.command("DBSIZE") == 0


def test_traefik_missing(hub_factory, redis_server):
    hub = hub_factory({"TraefikRedisProxy.redis_url": redis_server.url}, config=NO_TRAEFIK)
    sentence = why_it_failed(hub)
    assert sentence.startswith("There is no 'traefik' on PATH. Install it with: pip install 'kvproxy[traefik]'")
    assert redis_server.command("DBSIZE") == 0


@pytest.mark.parametrize(
    ("trait", "value", "sentence"),
    [
        ("TraefikRedisProxy.redis_url", "http://127.0.0.1", "redis_url must begin with redis://"),
        ("TraefikRedisProxy.redis_url", "redis://a:1,b:2", "redis_url names several servers"),
        ("TraefikRedisProxy.redis_client_kwargs", {"tls": True}, "redis_client_kwargs holds an option"),
        ("KVTraefikProxy.kv_traefik_prefix", "", "kv_traefik_prefix = '' leaves no name"),
        ("KVTraefikProxy.kv_jupyterhub_prefix", "/traefik/hub/", "begins with kv_traefik_prefix"),
        ("TraefikProxy.extra_static_config", {"entryPoints": {"http": {"adress": "x"}}}, "node: adress"),
    ],
)
def test_mistyped_setting(hub_factory, redis_server, trait, value, sentence):
    hub = hub_factory({"TraefikRedisProxy.redis_url": redis_server.url, trait: value})
    assert sentence in why_it_failed(hub)
