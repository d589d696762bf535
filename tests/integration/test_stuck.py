"""The check for a stuck Traefik, made several times a second."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from kvproxy.errors import TraefikSilentError
from kvproxy.reconcile.observed import ObservedState
from kvproxy.reconcile.reconciler import Reconciler
from kvproxy.testing.clock import ClockLoop
from kvproxy.testing.conformance.proxy_suite import until
from kvproxy.testing.memory import MemoryStore


def test_no_key_is_looked_at_where_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ten thousand routes that would take the hub's event loop a twelfth of a second each time."""
    loop, store = ClockLoop(), MemoryStore()

    def looked(self: ObservedState, setup: Mapping[str, str]) -> dict[str, str]:
        raise AssertionError("every key was looked at")

    async def work() -> None:
        reconciler = Reconciler(store, store.traefik, log=logging.getLogger("test"))
        await reconciler.start()
        await until(lambda: reconciler.followed_since(0))
        with monkeypatch.context() as patched:
            patched.setattr(ObservedState, "beside", looked)
            assert reconciler.stuck() == ""
        store.traefik.failure = TraefikSilentError("Traefik did not answer within 5 s.")
        await until(lambda: reconciler.stuck() != "")
        assert reconciler.stuck() == "It hangs. Traefik did not answer within 5 s."
        await reconciler.aclose()

    try:
        loop.run(work())
    finally:
        loop.close_all()
