"""``extra_dynamic_config`` on every store and the real Traefik: it arrives as it was meant, or leaves no key behind."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from kvproxy.errors import ConfigurationError
from kvproxy.proxy import KVTraefikProxy
from kvproxy.traefik.schema import DYNAMIC, Entries, Fields, Kind
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_redis import TraefikRedisProxy

from .proxies import making, serving

STORES = ["redis", "etcd", "consul", "file"]
Start = Callable[..., Awaitable[KVTraefikProxy]]


@pytest.fixture(params=STORES)
async def start(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a proxy on a store, with access to Traefik's API for ``ada``."""
    server: Any = request.getfixturevalue(f"{request.param}_server") if request.param != "file" else None
    made: dict[str, tuple[type[KVTraefikProxy], str, Any]] = {
        "redis": (TraefikRedisProxy, "redis_url", lambda: server.url),
        "etcd": (TraefikEtcdProxy, "etcd_url", lambda: server.url),
        "consul": (TraefikConsulProxy, "consul_url", lambda: server.url),
        "file": (TraefikFileProviderProxy, "dynamic_config_file", lambda: str(tmp_path / "rules.toml")),
    }
    proxy_class, trait, value = made[request.param]
    async with AsyncExitStack() as stack:
        access = {"traefik_api_username": "ada", "traefik_api_password": "secret"}
        make = await stack.enter_async_context(making(proxy_class, tmp_path, **{trait: value()}, **access))

        async def started(**traits: Any) -> KVTraefikProxy:
            proxy = make(**traits)
            await proxy.start()
            return proxy

        yield started


async def seen_by(proxy: KVTraefikProxy) -> Any:
    """Everything that Traefik has loaded, from all providers."""
    access = {"Authorization": f"Basic {base64.b64encode(b'ada:secret').decode()}"}
    url = f"{proxy.traefik_api_url}/api/rawdata"
    async with aiohttp.ClientSession(headers=access) as session, session.get(url) as answer:
        return await answer.json()


def sample(kind: Kind) -> Any:
    """A value of a kind, with every field that there is."""
    if isinstance(kind, Fields):
        return {name: sample(inner) for name, inner in kind.known.items()}
    if isinstance(kind, Entries):
        options = kind.kind.known if isinstance(kind.kind, Fields) else {}
        empty = {"empty": {}} if isinstance(kind.kind, Fields) and kind.kind.may_be_empty else {}
        return {"all": sample(kind.kind), **empty, **bare(options)}
    if isinstance(kind, tuple):
        return [sample(kind[0])]
    simple = {"text": "x", "whole": 5, "flag": True, "time": "5s", "texts": ["x", "y"], "any": {"x": "y"}}
    return {**simple, "names": {"X-A": "b"}, "statuses": {"404": 200, "500-503": 502}}[kind]


def bare(options: Any) -> dict[str, Any]:
    """An entry for each option that may be without fields."""
    return {
        f"bare-{name}": {name: {}} for name, kind in options.items() if isinstance(kind, Fields) and kind.may_be_empty
    }


def without_files_only(value: Any, kind: Kind) -> Any:
    """A sample without what only the file provider takes."""
    if isinstance(kind, Fields):
        kept = {name: without_files_only(item, kind.known[name]) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item != {} or not _files_only(kind.known[name])}
    if isinstance(kind, Entries):
        return {name: made for name, item in value.items() if (made := without_files_only(item, kind.kind)) or not item}
    return value


def _files_only(kind: Kind) -> bool:
    return isinstance(kind, Fields) and kind.empty_in_files and not kind.known


@pytest.mark.parametrize("start", ["redis", "file"], indirect=True)
async def test_traefik_knows_every_field_of_the_vocabulary(start: Start) -> None:
    """It reads all of them, with values and empty: one that it did not know would stop all updates.

    One transaction of Consul or etcd does not take so many keys; Traefik reads them by the same code as those of Redis.
    """
    async with serving(lambda request: asyncio.sleep(0, web.Response(text="here"))) as target:
        proxy = await start(extra_dynamic_config=without_files_only(sample(DYNAMIC), DYNAMIC), check_route_timeout=10)
        await proxy.add_route("/user/ada/", target, {})
        async with aiohttp.ClientSession() as session, session.get(f"{proxy.public_url}user/ada/") as answer:
            assert await answer.text() == "here"
        names = {name.partition("@")[0] for name in (await seen_by(proxy))["middlewares"]}
        assert {"all", "bare-compress"} <= names


async def test_lists_names_and_statuses_arrive_as_they_were_meant(start: Start) -> None:
    """Twelve items in their order, of texts and of mappings; one status; names that hold digits; fields in any case."""
    prefixes = [f"/p{number}" for number in range(12)]
    urls = [f"http://127.0.0.1:{7000 + number}" for number in range(12)]
    extra = {
        "http": {
            "Middlewares": {
                "strip": {"stripPrefix": {"prefixes": prefixes}},
                "chain": {"chain": {"middlewares": [f"m{number}@file" for number in range(12)]}},
                "page": {"errors": {"status": ["418"], "statusrewrites": {"418": 503}, "service": "s", "query": "/"}},
                "limit-10": {"headers": {"customResponseHeaders": {"10-X": "1, 2", "X.Y": " "}}},
            },
            "services": {"s": {"loadBalancer": {"servers": [{"url": url} for url in urls], "serversTransport": "t"}}},
            "serversTransports": {"t": {}},
            "routers": {"r": {"rule": "Path(`/r`)", "service": "s", "middlewares": ["strip"], "entryPoints": []}},
        },
        "tls": {"options": {"strict": {}}},
    }
    proxy = await start(extra_dynamic_config=extra)
    seen, provider = await seen_by(proxy), proxy.provider_name
    found = {name: seen["middlewares"][f"{name}@{provider}"] for name in ("strip", "chain", "page", "limit-10")}
    assert found["strip"]["stripPrefix"]["prefixes"] == prefixes
    assert found["chain"]["chain"]["middlewares"] == [f"m{number}@file" for number in range(12)]
    assert found["page"]["errors"]["statusRewrites"] == {"418-418": 503}
    assert found["limit-10"]["headers"]["customResponseHeaders"] == {"10-X": "1, 2", "X.Y": " "}
    service = seen["services"][f"s@{provider}"]
    assert [server["url"] for server in service["loadBalancer"]["servers"]] == urls
    assert seen["routers"][f"r@{provider}"]["status"] == service["status"] == "enabled"


async def tea(request: web.BaseRequest) -> web.Response:
    """The answer of a server with a header to be removed and a status to be rewritten."""
    return web.Response(status=418, headers={"X-Secret": "1"})


def tea_of(target: str, header: str) -> dict[str, Any]:
    """The configuration with a router to it."""
    headers = {"headers": {"customResponseHeaders": {"X-Secret": header}}}
    page = {"errors": {"status": ["418"], "statusRewrites": {"418": 503}, "service": "s", "query": "/"}}
    router = {"rule": "Path(`/tea`)", "service": "s", "middlewares": ["header", "page"]}
    service = {"loadBalancer": {"servers": [{"url": target}]}}
    middlewares = {"header": headers, "page": page}
    return {"http": {"services": {"s": service}, "routers": {"tea": router}, "middlewares": middlewares}}


async def asked_for_tea(proxy: KVTraefikProxy) -> tuple[int, str | None]:
    """Status and header that a client sees."""
    async with aiohttp.ClientSession() as session, session.get(f"{proxy.public_url}tea") as answer:
        return answer.status, answer.headers.get("X-Secret")


@pytest.mark.parametrize("start", ["etcd", "consul", "file"], indirect=True)
async def test_an_empty_value_removes_a_header(start: Start) -> None:
    """As in a file; a single status is rewritten."""
    async with serving(tea) as target:
        assert await asked_for_tea(await start(extra_dynamic_config=tea_of(target, ""))) == (503, None)


@pytest.mark.parametrize("start", ["redis"], indirect=True)
async def test_an_empty_value_is_refused_on_redis(start: Start) -> None:
    """Traefik's Redis provider would drop it; everything else works there too."""
    async with serving(tea) as target:
        with pytest.raises(ConfigurationError, match=r"customResponseHeaders\.X-Secret that is empty; .*file provider"):
            await start(extra_dynamic_config=tea_of(target, ""))
        assert await asked_for_tea(await start(extra_dynamic_config=tea_of(target, "2"))) == (503, "2")


async def test_a_file_keeps_items_with_commas(tmp_path: Path) -> None:
    """Traefik's file provider has lists of its own."""
    extra = {"http": {"middlewares": {"strip": {"stripPrefixRegex": {"regex": ["/a{1,3}", "/b"]}}}}}
    rules = str(tmp_path / "rules.toml")
    access = {"traefik_api_username": "ada", "traefik_api_password": "secret"}
    async with making(TraefikFileProviderProxy, tmp_path, dynamic_config_file=rules, **access) as make:
        proxy = make(extra_dynamic_config=extra)
        await proxy.start()
        seen = (await seen_by(proxy))["middlewares"]["strip@file"]
        assert seen["stripPrefixRegex"]["regex"] == ["/a{1,3}", "/b"]


TYPO = {"http": {"middlewares": {"a": {"headers": {"customRequestHeader": {"X-A": "b"}}}}}}
SENTENCE = (
    "c.TraefikProxy.extra_dynamic_config has http.middlewares.a.headers.customRequestHeader, which Traefik does not "
    "know there (is customRequestHeaders meant?). Nothing was written."
)


@pytest.mark.parametrize("external", [False, True])
async def test_nothing_is_asked_before_it_is_refused(external: bool, tmp_path: Path) -> None:
    """No store, no Traefik: the sentence comes at once, from an external Traefik's hub too."""
    async with making(TraefikRedisProxy, tmp_path, redis_url="redis://127.0.0.1:1") as make:
        proxy = make(extra_dynamic_config=TYPO, should_start=not external)
        with pytest.raises(ConfigurationError) as refused:
            await (proxy.get_all_routes() if external else proxy.start())
        assert str(refused.value) == SENTENCE
