"""The helpers that start real servers."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import ssl
import stat
import urllib.request
from pathlib import Path

import aiohttp
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kvproxy.testing.servers import (
    RedisServer,
    ServerError,
    TlsFront,
    TraefikServer,
    accepts,
    find_redis,
    free_port,
    programs,
    wait_until,
    within,
)
from kvproxy.testing.servers.redis import CLOSED

NO_RETRY = Retry(NoBackoff(), 0)


def client(server: RedisServer, **options) -> redis.Redis:
    return redis.Redis(port=server.port, decode_responses=True, retry=NO_RETRY, **options)


@pytest.fixture
def close_later():
    opened = []
    yield lambda thing: opened.append(thing) or thing
    for thing in opened:
        thing.close()


def test_redis_survives_a_crash_with_its_data(redis_factory, close_later):
    server = redis_factory(appendonly=True)
    db = close_later(client(server))
    db.config_set("appendfsync", "always")
    db.set("key", "value")
    first = server.pid
    server.kill()
    assert not server.running
    server.restart()
    assert server.pid != first
    assert db.get("key") == "value"


def test_redis_starts_however_long_the_name_of_its_directory_is(tmp_path):
    """The path of a unix socket must be no longer than some hundred bytes, and a demo's temporary directory may be."""
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    with RedisServer(directory=directory) as server:
        assert server.command("PING") == "PONG"


def test_redis_password_is_nowhere_to_be_read(redis_factory, close_later):
    password = 'pa"ss \\wörd#1'
    server = redis_factory(password=password)
    assert close_later(client(server, password=password)).ping()
    with pytest.raises(redis.AuthenticationError):
        close_later(client(server)).ping()
    arguments = Path(f"/proc/{server.pid}/cmdline")
    if arguments.exists():
        assert password not in arguments.read_text()
    assert stat.S_IMODE((server.directory / "redis.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700


def test_redis_acl_does_not_lock_the_helper_out(redis_factory, close_later):
    server = redis_factory(acl=[CLOSED, "hub on >secret ~jupyterhub* +@all -config"])
    db = close_later(client(server, username="hub", password="secret"))
    db.set("jupyterhub", "1")
    with pytest.raises(redis.exceptions.NoPermissionError):
        db.config_get("save")
    assert server.command("GET", "jupyterhub") == "1"


def test_redis_options_arrive(redis_factory):
    server = redis_factory(notify_keyspace_events="KEA", maxmemory_policy="allkeys-lru", save="60 1")
    assert server.command("CONFIG", "GET", "maxmemory-policy") == ["maxmemory-policy", "allkeys-lru"]
    assert server.command("CONFIG", "GET", "save") == ["save", "60 1"]
    assert server.command("CONFIG", "GET", "notify-keyspace-events")[1] == "AKE"
    assert redis.Redis(unix_socket_path=str(server.unix_socket)).ping()


def test_redis_cluster_is_usable(redis_factory, close_later):
    server = redis_factory(cluster=True)
    assert close_later(client(server)).set("key", "value")
    assert "cluster_enabled:1" in server.command("INFO", "cluster")


def test_redis_that_cannot_start_says_why(redis_server):
    with pytest.raises(ServerError, match=r"(?s)exited while starting.*[Aa]ddress already in use"):
        RedisServer(port=redis_server.port).__enter__()


def test_closed_redis_leaves_nothing():
    with RedisServer() as server:
        assert accepts(server.port)
    assert not accepts(server.port)
    assert not server.directory.exists()


def test_shared_redis_is_reset_between_tests(redis_server, _shared_redis):
    redis_server.command("SET", "a", "1")
    redis_server.command("CONFIG", "SET", "notify-keyspace-events", "KEA")
    redis_server.command("ACL", "SETUSER", "somebody", "on")
    again = _shared_redis.clean()
    assert again is redis_server
    assert again.command("DBSIZE") == 0
    assert again.command("ACL", "USERS") == ["default"]
    assert again.command("CONFIG", "GET", "notify-keyspace-events")[1] == ""
    again.kill()
    assert _shared_redis.clean() is not again


def test_redis_is_found_in_a_wheel_and_by_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("KVPROXY_REDIS_SERVER", raising=False)
    monkeypatch.setattr(programs, "_REDIS_NAMES", ())
    monkeypatch.setattr(programs, "_REDIS_WHEELS", ())
    with pytest.raises(ServerError, match="apt install redis-server"):
        find_redis()
    package = tmp_path / "some_wheel"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('must not be imported')")
    program = package / "bin" / "redis-server"
    program.touch(0o755)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(programs, "_REDIS_WHEELS", (("some_wheel", "bin/redis-server"),))
    assert find_redis() == program
    monkeypatch.setattr(programs, "_REDIS_WHEELS", (("no_such_wheel", "*"), ("some_wheel", "*/redis-*")))
    assert find_redis() == program
    monkeypatch.setenv("KVPROXY_REDIS_SERVER", "/no/such/program")
    with pytest.raises(ServerError, match="KVPROXY_REDIS_SERVER names /no/such/program"):
        find_redis()


async def test_echo_tells_the_path_as_sent(echo_server):
    server = echo_server("alice")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    target = "/a//b/../%2F%zz;x=[1]?q=%20#f"
    writer.write(f"POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc".encode())
    reply = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
    writer.close()
    await writer.wait_closed()
    assert (reply["name"], reply["method"], reply["path"]) == ("alice", "POST", target)
    assert (reply["headers"]["Host"], reply["body_length"]) == ("h", 3)
    assert server.requests == 1


async def test_echo_takes_websockets_and_large_bodies(echo_server):
    server = echo_server()
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(server.url + "/user/x/ws") as ws:
            await ws.send_str("hello")
            assert await ws.receive_str() == "hello"
            await ws.send_bytes(b"\0\1")
            assert await ws.receive_bytes() == b"\0\1"
        async with session.put(server.url, data=io.BytesIO(b"x" * 5_000_000)) as reply:
            assert (await reply.json())["body_length"] == 5_000_000


def test_echo_stops_with_connections_open(echo_server):
    server = echo_server()
    assert urllib.request.urlopen(server.url).status == 200
    server.stop()
    assert not accepts(server.port)


def test_redis_over_tls(redis_server, certificates, close_later):
    with TlsFront(redis_server.port, certificates) as front:
        url = f"rediss://localhost:{front.port}"
        db = close_later(redis.Redis.from_url(url, ssl_ca_certs=str(certificates.ca)))
        db.set("key", "x" * 1_000_000)
        assert len(db.get("key")) == 1_000_000
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            close_later(redis.Redis.from_url(url, retry=NO_RETRY)).ping()


def test_tls_can_ask_for_a_client_certificate(redis_server, certificates, close_later):
    with TlsFront(redis_server.port, certificates, client_certificate=True) as front:
        trust = {"ssl": True, "ssl_ca_certs": str(certificates.ca)}
        own = {
            "ssl_certfile": str(certificates.client_certificate),
            "ssl_keyfile": str(certificates.client_key),
        }
        assert close_later(redis.Redis(port=front.port, **trust, **own)).ping()
        with pytest.raises((redis.ConnectionError, ssl.SSLError)):
            close_later(redis.Redis(port=front.port, retry=NO_RETRY, **trust)).ping()


def test_traefik_starts_restarts_and_dies(traefik_server, tmp_path):
    port = free_port()
    config = tmp_path / "traefik.toml"
    config.write_text(f'[entryPoints.web]\naddress = "127.0.0.1:{port}"\n[ping]\nentryPoint = "web"\n')
    server = traefik_server(config, [port])
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
        assert link.recv(9) == b"HTTP/1.0 "
    first = server.pid
    server.restart()
    assert server.pid != first
    os.kill(server.pid, 9)
    wait_until(lambda: not server.running, "Traefik is gone")


def test_traefik_that_cannot_start_says_why(tmp_path):
    config = tmp_path / "traefik.toml"
    config.write_text("[nonsense]\n")
    with pytest.raises(ServerError, match=r"(?s)traefik exited while starting.*valid configuration"):
        TraefikServer(config, [free_port()]).start()


def test_waiting_has_an_end():
    with pytest.raises(TimeoutError, match=r"Not within 0.01 seconds: pigs fly\."):
        wait_until(lambda: False, "pigs fly", 0.01)


async def test_awaiting_has_an_end_too():
    """The work is cancelled then; an error that it raises in time is passed on."""
    work = asyncio.ensure_future(asyncio.sleep(3600))
    with pytest.raises(asyncio.TimeoutError):
        await within(work, 0.01)
    assert work.cancelled()
    with pytest.raises(KeyError):
        await within(raising(KeyError()), 60)
    assert await within(asyncio.sleep(0, "done"), 60) == "done"


async def raising(error: Exception) -> None:
    raise error
