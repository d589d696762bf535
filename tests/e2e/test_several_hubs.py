"""Several hubs on one Redis and one Traefik, and two that claim to be the same one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from kvproxy.errors import OwnershipError
from kvproxy.testing.conformance.proxy_tree import groups_in, until_groups
from kvproxy.testing.servers import RedisServer, TraefikServer, free_port
from kvproxy_redis import TraefikRedisProxy

from .proxies import TOML, Client, Doors, Start, port_of

Make = Callable[..., TraefikRedisProxy]


@pytest.fixture
def hub_of(
    make_proxy: Make,
    traefik_server: Callable[..., TraefikServer],
    redis_server: RedisServer,
    tmp_path: Path,
) -> Callable[..., TraefikRedisProxy]:
    """Makes the proxy of a hub of that name on the one Traefik."""
    public, api = free_port(), free_port()
    file = tmp_path / "shared.toml"
    file.write_text(TOML.format(public=public, api=api, redis=redis_server.port, root="traefik"))
    traefik_server(file, [public])

    def make(name: str, **traits: object) -> TraefikRedisProxy:
        return make_proxy(
            should_start=False,
            public_url=f"http://127.0.0.1:{public}/",
            traefik_api_url=f"http://127.0.0.1:{api}",
            hub_id=name,
            hub_host=f"{name}.example.org",
            **traits,
        )

    return make


async def test_each_hub_has_its_own_users_though_they_are_called_alike(
    hub_of: Callable[..., TraefikRedisProxy], doors: Doors
) -> None:
    """Told by the host; each sees, checks and removes its own routes only, in a tree or not."""
    hubs = {"blue": hub_of("blue"), "red": hub_of("red", route_layout="tree")}
    users = ["/", "/user/ada/", *(f"/user/student{number}/" for number in range(100))]
    targets = {name: await doors.open() for name in hubs}
    for name, hub in hubs.items():
        await asyncio.gather(*(hub.add_route(user, targets[name], {"hub": name}) for user in users))
    client = Client(int(port_of(hubs["red"].public_url)))

    async def check(*without: str) -> None:
        for name in hubs:
            for user in users:
                wanted = (404, "") if name in without else (200, port_of(targets[name]))
                status, body = await client.ask(user, f"{name}.example.org")
                assert (name, user, status, body if status == 200 else "") == (name, user, *wanted)
        assert (await client.ask("/user/ada/", "other.example.org"))[0] == 404

    await check()
    assert {name: set(await hub.get_all_routes()) for name, hub in hubs.items()} == {name: set(users) for name in hubs}
    store = hubs["red"].open_store(hubs["red"].roots)
    await until_groups(store, lambda count: count > 0, 30)
    await check()
    await hubs["blue"].stop()
    again = hub_of("blue")
    assert set(await again.get_all_routes()) == set(users)
    await asyncio.gather(*(again.delete_route(user) for user in users))
    deadline = asyncio.get_running_loop().time() + 15
    while (await client.ask("/user/ada/", "blue.example.org"))[0] != 404:
        assert asyncio.get_running_loop().time() < deadline
    await check("blue")
    assert groups_in((await store.snapshot()).config) > 0
    await store.aclose()
    await client.close()


async def test_a_second_hub_of_the_same_name_does_not_start_and_changes_nothing(
    start_proxy: Start, make_proxy: Make, doors: Doors
) -> None:
    """It says which hub is there; the first one goes on."""
    target = await doors.open()
    first = await start_proxy()
    await first.add_route("/user/ada/", target, {})
    second = make_proxy(static_config_file=str(Path(first.static_config_file).with_name("second.toml")))
    with pytest.raises(OwnershipError, match=r"Another hub \(process \d+ on "):
        await second.start()
    await first.add_route("/user/bob/", target, {})
    client = Client(int(port_of(first.public_url)))
    for user in ("ada", "bob"):
        assert await client.ask(f"/user/{user}/") == (200, port_of(target))
    await client.close()
