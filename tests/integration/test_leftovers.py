"""Routes that jupyterhub-traefik-proxy has left in a store: put behind the hub's, and their keys stay."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from kvproxy.routing.legacy import is_lowering
from kvproxy.routing.route import make_route
from kvproxy.store import Capabilities
from kvproxy.testing.clock import ClockLoop
from kvproxy.testing.memory import MemoryServer, MemoryStore

from .test_self_healing import SECONDS, World

KEYS: dict[str, str] = json.loads((Path(__file__).parents[1] / "data/jupyterhub-traefik-proxy-2.1.0.json").read_text())
CONFIG = {key.removeprefix("traefik/"): value for key, value in KEYS.items() if key.startswith("traefik/")}
#: As a store shows them that keeps a key for each of the hub's records too.
RECORDS = {
    key.removeprefix("jupyterhub/routes/"): value for key, value in KEYS.items() if key.startswith("jupyterhub/")
}
API = "http/routers/route_api/priority"
ROUTES = 9

Play = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture
def server() -> MemoryServer:
    """Routes of the peer, in a server whose transactions take few keys."""
    server = MemoryServer()
    server.space("traefik").update(CONFIG)
    server.space("jupyterhub").update(RECORDS)
    return server


@pytest.fixture
def play() -> Iterator[Play]:
    """Runs a test on a clock of its own."""
    loop = ClockLoop()
    yield lambda scene: loop.run(scene())
    loop.close_all()


def hub_on(server: MemoryServer) -> World:
    """A hub that is to begin on this server."""
    return World(MemoryStore(Capabilities(max_operations=8), server))


def lowered(world: World) -> set[str]:
    """The keys that put a router behind all others."""
    return {key for key, value in world.store.config.items() if is_lowering(key, value)}


def untouched(world: World) -> bool:
    """True if everything is there that the peer has left."""
    return CONFIG.items() <= world.store.config.items() and RECORDS.items() <= world.store.records.items()


def test_leftovers_serve_until_the_hub_has_its_own_routes(server: MemoryServer, play: Play) -> None:
    """The API's router goes behind ours at once; more routers than a transaction takes do later."""

    async def scene() -> None:
        world = hub_on(server)
        await world.begin()
        assert lowered(world) == {API}
        assert world.reconciler.prevail() == ROUTES
        await world.reconciler.add(make_route("/user/ada/", "http://127.0.0.1:7", {}), SECONDS)
        assert len(lowered(world)) == ROUTES + 1
        assert untouched(world)
        await world.reconciler.aclose()

        again = hub_on(server)
        await again.reconciler.start()
        assert len(lowered(again)) == ROUTES + 1, "a restart does not let them come before ours again"
        assert again.store.applied == []
        assert untouched(again)
        await again.reconciler.aclose()

    play(scene)


def test_nothing_is_written_about_leftovers_that_are_gone(server: MemoryServer, play: Play) -> None:
    """A key without the rest of its router would be an error in Traefik's log at each reload."""

    async def scene() -> None:
        world = hub_on(server)
        await world.begin()
        world.reconciler.prevail()
        await world.reconciler.all(SECONDS)
        for key in CONFIG:
            del world.store.config[key]
        world.store.move_fence()
        await world.reconciler.all(SECONDS)
        await world.reconciler.add(make_route("/user/ada/", "http://127.0.0.1:7", {}), SECONDS)
        assert lowered(world) == set()
        assert world.reconciler.prevail() == 0
        world.store.config.clear()
        world.store.records.clear()
        world.store.move_fence()
        await world.reconciler.all(SECONDS)
        await world.reconciler.add(make_route("/user/bob/", "http://127.0.0.1:7", {}), SECONDS)
        assert len(await world.reconciler.all(SECONDS)) == 12
        assert lowered(world) == set()
        await world.reconciler.aclose()

    play(scene)


def test_another_setup_leaves_leftovers_where_they_are(server: MemoryServer, play: Play) -> None:
    """An external Traefik is set up again when it tells its version."""

    async def scene() -> None:
        world = hub_on(server)
        await world.begin()
        world.reconciler.prevail()
        world.reconciler.set_up({})
        await world.reconciler.add(make_route("/user/ada/", "http://127.0.0.1:7", {}), SECONDS)
        assert len(lowered(world)) == ROUTES + 1
        assert "http/routers/kvproxy-api/rule" not in world.store.config
        await world.reconciler.aclose()

    play(scene)
