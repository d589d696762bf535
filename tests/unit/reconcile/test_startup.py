"""Waiting at start for a Traefik that has not loaded the hub's configuration yet."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from kvproxy.errors import TraefikAuthError, TraefikError
from kvproxy.reconcile.startup import wait_for_traefik
from kvproxy.testing.clock import on_a_clock

LOG = logging.getLogger("kvproxy.test")
REFUSAL = "Traefik's API refuses the credentials; check traefik_api_username and traefik_api_password."


class Answers:
    """An API that refuses a number of requests, as another proxy's router does until the hub's is loaded."""

    def __init__(self, refusals: int) -> None:
        self._refusals = refusals

    async def revision(self) -> int:
        self._refusals -= 1
        if self._refusals >= 0:
            raise TraefikAuthError(REFUSAL)
        return 7


@on_a_clock
async def waited(refusals: int) -> None:
    """Wait for the seventh revision, for a minute."""
    await wait_for_traefik(cast("Any", Answers(refusals)), 7, 60, LOG)


def test_a_router_of_another_proxy_that_answers_first_is_not_called_a_wrong_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says that Traefik is late."""
    with caplog.at_level(logging.INFO, LOG.name):
        waited(20)
    warning, ready = (record.getMessage() for record in caplog.records)
    assert "loaded nothing that kvproxy wrote" in warning
    assert "password" not in warning
    assert ready == "Traefik is ready."


def test_credentials_that_stay_refused_are_named() -> None:
    """The error names the settings to check."""
    with pytest.raises(TraefikError, match=r"traefik_api_password.* Gave up after 60 s"):
        waited(1000)
