"""The owner of Traefik's default certificate in a store, and the setup's record of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.proxy.setup import make_setup
from kvproxy.routing.decode import parse_snapshot
from kvproxy.routing.encode import encode_setup, without_default_store
from kvproxy.routing.entry import SETUP
from kvproxy.routing.manifest import foreign_default, of_default_store, setup_keys, write_manifest
from kvproxy.traefik.setup.credentials import ApiAccess
from kvproxy.traefik.static_config import further_providers
from kvproxy_redis import TraefikRedisProxy

STORE = "tls/stores/default"
CERT, KEY = f"{STORE}/defaultCertificate/certFile", f"{STORE}/defaultCertificate/keyFile"
OURS = {CERT: "-----BEGIN CERTIFICATE-----", KEY: "-----BEGIN PRIVATE KEY-----", "http/routers/kvproxy-api/rule": "r"}
GENERATED = f"{STORE}/defaultGeneratedCert/resolver"

names = st.sampled_from([CERT, KEY, GENERATED, CERT.lower(), "http/a", "tls/stores/other/x"])
configs = st.dictionaries(names, st.sampled_from(["1", "2", "/etc/ssl/hub.pem", "\udc80"]))


@given(configs)
def test_keys_that_the_hub_wrote_are_its_own(keys: dict[str, str]) -> None:
    """By the record alone, whatever is wanted by now."""
    assert foreign_default(keys, write_manifest(keys), {}) == frozenset()
    assert set(setup_keys(write_manifest(keys))) == keys.keys()


@given(configs, configs, configs)
def test_a_value_that_the_hub_has_not_written_is_foreign(
    now: dict[str, str], written: dict[str, str], wanted: dict[str, str]
) -> None:
    """And nothing outside of the default store is looked at."""
    foreign = foreign_default(now, write_manifest(written), wanted)
    assert all(map(of_default_store, foreign))
    for key in filter(of_default_store, now):
        known = now[key] in {written.get(key), wanted.get(key)}
        assert key in foreign or known
        assert key not in foreign or not known or key in {CERT, KEY}


@pytest.mark.parametrize("changed", [CERT, KEY])
def test_a_pair_is_foreign_as_a_whole(changed: str) -> None:
    """An administrator writes one key after the other, and nothing of it may be removed meanwhile."""
    now = {**OURS, changed: "/etc/ssl/own.pem"}
    assert foreign_default(now, write_manifest(OURS), OURS) == {CERT, KEY}


def test_a_foreign_resolver_does_not_make_the_hubs_pair_foreign() -> None:
    """It has to go, as Traefik would prefer it."""
    assert foreign_default({**OURS, GENERATED: "le"}, write_manifest(OURS), OURS) == {GENERATED}


def test_a_record_of_an_earlier_version_counts_for_all_its_keys() -> None:
    """It has no digests."""
    assert foreign_default(OURS, json.dumps(sorted(OURS)), {}) == frozenset()


def test_foreign_keys_are_no_part_of_the_setup() -> None:
    """So they are neither changed nor removed, and `kvproxy check` names them."""
    setup = encode_setup({"tls": {"stores": {"default": {"defaultCertificate": {"certFile": "a", "keyFile": "b"}}}}})
    found = parse_snapshot({CERT: "own", KEY: "own", "http/x": "y"}, setup.records, setup.config)
    assert found[SETUP].config == {}


def test_a_setup_without_the_default_store() -> None:
    """Has everything else, and a record of that; of nothing there is none."""
    entry = without_default_store(encode_setup({"http": {"a": "b"}, "tls": {"stores": {"default": {"x": "y"}}}}))
    assert (entry.config, entry.records) == ({"http/a": "b"}, {SETUP: '["http/a"]'})
    assert without_default_store(encode_setup({"tls": {"stores": {"default": {"x": "y"}}}})).records == {}


@pytest.mark.parametrize(
    "own", [{"defaultGeneratedCert": {"resolver": "le"}}, {"defaultCertificate": {"certFile": "c"}}]
)
def test_a_default_store_in_extra_dynamic_config_replaces_the_hubs(own: dict[str, object]) -> None:
    """Merged, the hub's certificate would come before one that a resolver gets."""
    proxy = TraefikRedisProxy(extra_dynamic_config={"tls": {"stores": {"default": own}}})
    assert make_setup(proxy, ApiAccess("", ""), b"secret")["tls"] == {"stores": {"default": own}}


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({}, []),
        ({"providers": None}, []),
        ({"providers": {"providersThrottleDuration": "2s", "redis": {"endpoints": ["h:1"]}}}, []),
        ({"providers": {"file": {"directory": "/etc/traefik"}}}, ["file"]),
        ({"Providers": {"Docker": {}, "redis": {}}}, ["docker"]),
        ({"providers": {"redis": {"Namespaces": ["a", "b"]}}}, ["redis"]),
        ({"providers": {"plugin": {"mine": {}}, "kubernetesCRD": True}}, ["kubernetescrd", "plugin"]),
    ],
)
def test_further_providers(extra: dict[str, object], found: list[str]) -> None:
    """Every other source of a default certificate besides the hub's store."""
    assert further_providers(extra, "redis") == found


def test_a_directory_makes_the_hubs_own_file_provider_read_more() -> None:
    """Of several files with a default certificate, Traefik takes the first."""
    assert further_providers({"providers": {"file": {"directory": "/etc/traefik"}}}, "file") == ["file"]
