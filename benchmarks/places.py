"""Where contestants work: each on ports of its own."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.programs import Tool
from benchmarks.servers import Backend
from benchmarks.stores import Store
from benchmarks.workload import Place
from kvproxy.testing.servers.ports import free_port
from kvproxy_redis import TraefikRedisProxy


def place_for(
    kind: str,
    store: Store,
    directory: str | Path,
    backend: Backend,
    wrk: Tool,
    *,
    login: tuple[str, str] = ("", ""),
    chp: str = "",
) -> Place:
    """The place of one contestant.

    kind: of its store. login: name and password of its Traefik in the store, empty for the hub's own. chp: path of
    configurable-http-proxy.
    """
    return Place(
        directory=str(directory),
        store=kind,
        store_url=store.url,
        store_pid=store.pid,
        traefik_username=login[0],
        traefik_password=login[1],
        public_url=f"http://127.0.0.1:{free_port()}",
        api_url=f"http://127.0.0.1:{free_port()}",
        hub_url=backend.hub_url,
        user_url=backend.user_url,
        chp=chp,
        wrk=wrk.path,
        libraries=wrk.libraries,
    )


async def plain(stack: AsyncExitStack, redis_url: str, **traits: object) -> TraefikRedisProxy:
    """A kvproxy at work in a Redis, with a Traefik of its own; it ends with the stack. traits: further settings."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="kvproxy-benchmark-"))
    proxy = TraefikRedisProxy(
        public_url=f"http://127.0.0.1:{free_port()}/",
        traefik_api_url=f"http://127.0.0.1:{free_port()}",
        redis_url=redis_url,
        static_config_file=str(Path(directory, "traefik.toml")),
        **traits,
    )
    stack.push_async_callback(proxy.stop)
    await proxy.start()
    return proxy
