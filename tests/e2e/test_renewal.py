"""Certificates and authorities that are renewed on disk while the hub runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from kvproxy.store import Operation, Space, Store, Transaction, renewal
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.servers import Certificates, RedisServer, TlsFront
from kvproxy.testing.servers.consul import ConsulServer
from kvproxy.testing.servers.etcd import EtcdServer
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_redis import TraefikRedisProxy

from .proxies import Start


def redis(port: int, files: Certificates) -> Store:
    """A store in Redis by TLS."""
    options = {"ssl_certfile": str(files.client_certificate), "ssl_keyfile": str(files.client_key)}
    options["ssl_ca_certs"] = str(files.ca)
    proxy = TraefikRedisProxy(redis_url=f"rediss://127.0.0.1:{port}", redis_client_kwargs=options)
    return proxy.open_store(proxy.roots)


def etcd(port: int, files: Certificates) -> Store:
    """The same in etcd."""
    proxy = TraefikEtcdProxy(
        etcd_url=f"https://127.0.0.1:{port}",
        etcd_client_ca_cert=str(files.ca),
        etcd_client_cert_crt=str(files.client_certificate),
        etcd_client_cert_key=str(files.client_key),
    )
    return proxy.open_store(proxy.roots)


def consul(port: int, files: Certificates) -> Store:
    """The same in Consul."""
    proxy = TraefikConsulProxy(
        consul_url=f"https://127.0.0.1:{port}",
        consul_client_ca_cert=str(files.ca),
        consul_client_kwargs={"cert": (str(files.client_certificate), str(files.client_key))},
    )
    return proxy.open_store(proxy.roots)


STORES: dict[str, Callable[[int, Certificates], Store]] = {"redis": redis, "etcd": etcd, "consul": consul}


def port_of_server(name: str, request: pytest.FixtureRequest) -> int:
    """Of a real server without TLS."""
    server: RedisServer | EtcdServer | ConsulServer = request.getfixturevalue(f"{name}_server")
    return server.port


@pytest.mark.parametrize("name", STORES)
async def test_a_renewed_certificate_and_authority_are_used_for_the_next_connection(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The server takes, and shows, only the new ones from now on; nothing is wrong while a file is half written."""
    server, files = port_of_server(name, request), Certificates.make(tmp_path)
    with TlsFront(server, files, client_certificate=True) as front:
        store = STORES[name](front.port, files)
        await store.check()
        await store.apply(Transaction((Operation(Space.CONFIG, "a", "1"),)))
        whole = files.client_certificate.read_text()
        files.client_certificate.write_text(whole[:100])
        await store.apply(Transaction((Operation(Space.CONFIG, "a", "2"),)))
        files.client_certificate.write_text(whole)
    Certificates.make(tmp_path)
    renewed = TlsFront(server, files, client_certificate=True)
    renewed.port = front.port
    with renewed:
        assert (await store.snapshot()).config["a"] == "2"
        await store.apply(Transaction((Operation(Space.CONFIG, "a", "3"),)))
        assert (await store.snapshot()).config["a"] == "3"
        await store.aclose()


async def test_it_is_told_once_that_traefik_has_to_be_restarted_for_a_renewed_certificate(
    redis_server: RedisServer,
    start_proxy: Start,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Traefik reads the files at its start only."""
    monkeypatch.setattr(renewal, "_PAUSE", 0.05)
    caplog.set_level(logging.WARNING)
    files = Certificates.make(tmp_path)
    with TlsFront(redis_server.port, files) as front:
        await start_proxy(
            redis_url=f"rediss://127.0.0.1:{front.port}", redis_client_kwargs={"ssl_ca_certs": str(files.ca)}
        )
        assert "restart it" not in caplog.text
        for times in (1, 2):
            new = tmp_path / "new"
            new.write_text(files.ca.read_text())
            await asyncio.to_thread(new.replace, files.ca)
            await until(lambda times=times: caplog.text.count(f"{files.ca} has changed. ") == times)
