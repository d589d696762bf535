"""A soak in short: users come and go and parts are restarted, and at the end there is nothing more than before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import soak
from tests.faults.soak_report import count, problems, series, story


@pytest.mark.endurance
@pytest.mark.timeout(300)
async def test_nothing_grows_and_every_route_is_right_at_the_end(tmp_path: Path) -> None:
    """On Redis, with the hub's own Traefik; `nox -s soak` is an hour of it."""
    results = await soak("redis", 1.2, tmp_path)
    assert problems(results) == [], story(results)
    assert min(count(results, name) for name in ("store_restarts", "traefik_restarts", "hub_restarts")) > 0
    assert count(results, "logins") > 20
    keys = series(results, "store", "keys")
    assert keys.least == keys.most
