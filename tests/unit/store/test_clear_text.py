"""Which connections to other machines are told to be readable on the way."""

from __future__ import annotations

import re

import pytest

from kvproxy_consul.connection import parse_connection as consul
from kvproxy_etcd.connection import parse_connection as etcd
from kvproxy_redis.connection import parse_connection
from kvproxy_redis.exposure import in_clear_text
from kvproxy_redis.sentinels import parse_sentinels


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://127.0.0.1:6379", ""),
        ("redis://localhost", ""),
        ("redis://[::1]:6379", ""),
        ("unix:///run/redis.sock", ""),
        ("rediss://redis.example.org", ""),
        ("redis://redis.example.org", "without TLS.*rediss://"),
        ("redis://10.0.0.7", "without TLS"),
        ("rediss://redis.example.org?ssl_cert_reqs=none", "certificate .* is not checked.*ssl_ca_certs"),
        ("rediss://localhost?ssl_cert_reqs=none", ""),
    ],
)
def test_clear_text_to_another_machine_is_named(url: str, sentence: str) -> None:
    """And so is TLS that trusts anybody; nothing is said of this machine."""
    said = " ".join(in_clear_text(parse_connection(url)))
    assert re.search(sentence, said) if sentence else said == ""


def test_clear_text_to_sentinels_is_named() -> None:
    """It is their passwords that can be read there."""
    sentinels = parse_sentinels(["one:26379", "127.0.0.1:2"])
    [said] = in_clear_text(parse_connection("redis:///0", sentinels=sentinels))
    assert "(one)" in said
    assert in_clear_text(parse_connection("rediss:///0", sentinels=sentinels)) == []


def test_clear_text_to_etcd_and_consul_is_named() -> None:
    """Each with its own settings."""
    assert etcd("etcd://127.0.0.1:2379").in_clear_text() == consul("consul://localhost").in_clear_text() == []
    assert "etcd_url with etcds://" in etcd("etcd://127.0.0.1,etcd-2.example.org").in_clear_text()[0]
    assert "consul_url with consuls://" in consul("consul://consul.example.org").in_clear_text()[0]
    assert "not checked" in consul("consuls://c", client_kwargs={"verify": False}).in_clear_text()[0]
