"""The main job on every backend: log in, spawn, compute, restart the hub, go on, stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kvproxy.testing.hub import HubClient, HubProcess

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]


async def test_a_day_with_a_restart(hub_factory: Callable[..., HubProcess], backend: Mapping[str, Any]) -> None:
    """The user's server lives on through the hub's restart, and so does the route to it."""
    hub = hub_factory({**backend, "JupyterHub.cleanup_servers": False})
    hub.start()
    async with HubClient(hub, "ada@x+y") as user:
        await user.log_in()
        await user.spawn()
        assert await user.run("print(6*7)") == "42\n"
        before = await user.routes()
    assert hub.end() == 0
    hub.start()
    async with HubClient(hub, "ada@x+y") as user:
        await user.log_in()
        assert await user.run("print(7*7)") == "49\n"
        assert await user.routes() == before
        await user.stop_server()
        assert not any("ada" in spec for spec in await user.routes())
    assert hub.end() == 0
    assert hub.log_text.partition("Traceback")[2][:3000] == ""
