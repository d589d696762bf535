"""A foreign default certificate for Traefik, in the hub's own store, is never touched."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.routing.route import make_route
from kvproxy.testing.clock import ClockLoop
from kvproxy.testing.memory import MemoryStore

LOG = logging.getLogger("test-certificate")
STORE = "tls/stores/default"
CERT, KEY = f"{STORE}/defaultCertificate/certFile", f"{STORE}/defaultCertificate/keyFile"
PLACEHOLDER = {CERT: "-----BEGIN CERTIFICATE-----", KEY: "-----BEGIN PRIVATE KEY-----"}
OWN = {CERT: "/etc/ssl/own.pem", KEY: "/etc/ssl/own.key"}
GENERATED = {f"{STORE}/defaultGeneratedCert/resolver": "letsencrypt"}
#: Seconds within which a change of the store is noticed.
NOTICED = 5.0


def setup(pair: dict[str, str] = PLACEHOLDER) -> dict[str, Any]:
    """The hub's setup: the API's router, and a default certificate."""
    stores = {"default": {"defaultCertificate": {"certFile": pair[CERT], "keyFile": pair[KEY]}}}
    return {"http": {"routers": {"kvproxy-api": {"rule": "Path(`/api`)", "service": "s"}}}, "tls": {"stores": stores}}


def default_store(store: MemoryStore) -> dict[str, str]:
    """The store's keys of Traefik's default TLS store."""
    return {key: value for key, value in store.config.items() if key.startswith(STORE)}


def run(scene: Any, store: MemoryStore, pair: dict[str, str] = PLACEHOLDER) -> None:
    """Play a scene with a hub at work on a store, on a clock of its own."""
    loop = ClockLoop()

    async def whole() -> None:
        reconciler = Reconciler(store, store.traefik, log=LOG, setup=setup(pair))
        await reconciler.start()
        try:
            await scene(reconciler)
        finally:
            await reconciler.aclose()

    try:
        loop.run(whole())
    finally:
        loop.close_all()


async def churn(reconciler: Reconciler) -> None:
    """Routes come and go, and the store is read in full."""
    for port in (1, 2):
        await reconciler.add(make_route("/user/ada/", f"http://127.0.0.1:{port}", {}), NOTICED)
    await reconciler.delete("/user/ada/", NOTICED)
    await reconciler.all(NOTICED)


@pytest.mark.parametrize("own", [OWN, GENERATED, {CERT: OWN[CERT]}], ids=["pair", "resolver", "half a pair"])
def test_one_that_is_there_first_stays(own: dict[str, str]) -> None:
    """The hub's own is left out, and everything else of the setup is there."""
    store = MemoryStore()
    store.config.update(own)
    run(churn, store)
    assert default_store(store) == own
    assert store.config["http/routers/kvproxy-api/rule"] == "Path(`/api`)"


@pytest.mark.parametrize("own", [OWN, GENERATED], ids=["pair", "resolver"])
def test_one_that_comes_later_stays_and_the_hubs_comes_back_after_it(own: dict[str, str]) -> None:
    """Though the keys are those that the hub has written."""
    store = MemoryStore()

    async def scene(reconciler: Reconciler) -> None:
        assert default_store(store) == PLACEHOLDER
        store.config.update(own)
        await asyncio.sleep(NOTICED)
        assert default_store(store) == own
        await churn(reconciler)
        reconciler.set_up(setup())
        await asyncio.sleep(NOTICED)
        assert default_store(store) == own
        for key in own:
            del store.config[key]
        await asyncio.sleep(NOTICED)
        assert default_store(store) == PLACEHOLDER

    run(scene, store)


def test_a_pair_that_is_written_key_by_key_is_not_torn() -> None:
    """However long the administrator takes for the second key."""
    store = MemoryStore()

    async def scene(reconciler: Reconciler) -> None:
        for key, value in OWN.items():
            store.config[key] = value
            await asyncio.sleep(NOTICED)
            await churn(reconciler)
            assert default_store(store)[key] == value
        assert default_store(store) == OWN

    run(scene, store)


def test_a_later_start_knows_what_the_hub_has_written() -> None:
    """Another placeholder, or another ssl_cert, replaces it; a foreign one from between the two stays."""
    store = MemoryStore()
    other = {CERT: "/etc/ssl/hub.pem", KEY: "/etc/ssl/hub.key"}
    run(churn, store)
    run(churn, store, other)
    assert default_store(store) == other
    store.config.update(OWN)
    run(churn, store, PLACEHOLDER)
    assert default_store(store) == OWN


@pytest.mark.parametrize(("pair", "level"), [(PLACEHOLDER, "INFO"), ({**OWN, CERT: "/etc/hub.pem"}, "WARNING")])
def test_the_log_says_so_once(pair: dict[str, str], level: str, caplog: pytest.LogCaptureFixture) -> None:
    """A warning where the hub has been told of a certificate, which is not served now."""
    caplog.set_level(logging.INFO)
    store = MemoryStore()
    store.config.update(GENERATED)
    run(churn, store, pair)
    [said] = [one for one in caplog.records if "default certificate" in one.getMessage()]
    assert said.levelname == level
    assert next(iter(GENERATED)) in said.getMessage()
    assert ("ssl_cert" in said.getMessage()) == (level == "WARNING")
