"""With any answer at the address of Traefik's API, its client gives a value or a TraefikError."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kvproxy.errors import TraefikError
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import make_route
from kvproxy.testing.servers.loops import LoopThread
from kvproxy.traefik.api import Table, TraefikApi
from kvproxy.traefik.readiness import Pending, Ready, Rejected, judge

ROUTE = make_route("/user/ada/", "http://127.0.0.1:1", {})
NAME = ALONE.route(ROUTE.key)
ENTRY = encode_route(ROUTE, Layout())

texts = st.text(max_size=8)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
#: Values that another program might send where a table is expected, right names among them.
tables = st.dictionaries(
    st.sampled_from(["routers", "services", "Version", "headers"]),
    st.one_of(json_values, st.dictionaries(st.sampled_from([f"{NAME}@redis", "x@file", "@redis"]), json_values)),
)
bodies = st.one_of(
    st.binary(max_size=20), json_values.map(dump := lambda value: json.dumps(value).encode()), tables.map(dump)
)
types = st.sampled_from(
    ["application/json", "text/html", "application/json; charset=utf-16", "text/x; charset=rot13", "x"]
)


class Liar:
    """A server that answers anything to any request."""

    def __init__(self) -> None:
        self.status, self.type, self.body = 200, "application/json", b""
        self.url = ""

    async def listen(self) -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        return web.Response(status=self.status, headers={"Content-Type": self.type}, body=self.body)


@pytest.fixture(scope="module")
def liar() -> Iterator[Liar]:
    """The server, running in a thread of its own."""
    loop, server = LoopThread("liar"), Liar()
    runner = loop.run(server.listen())
    yield server
    loop.run(runner.cleanup())
    loop.stop()


async def ask_everything(url: str) -> list[Any]:
    """Results of all methods of the client."""
    api = TraefikApi(url, "redis", timeout=5)
    questions = (api.revision, api.version, lambda: api.router(NAME), lambda: api.service(NAME), api.table)
    try:
        answers = []
        for question in (*questions, lambda: api.entry_point("http")):
            try:
                answers.append(await question())
            except TraefikError as error:
                answers.append(error)
        return answers
    finally:
        await api.aclose()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from([200, 200, 200, 200, 204, 302, 401, 404, 500]), types, bodies)
@example(200, "text/x; charset=rot13", b"{}")
@example(200, "application/json", b"[" * 100_000)
@example(200, "application/json", b'{"n": ' + b"9" * 5_000 + b"}")
@example(200, "application/json", b'{"routers": [], "services": "x"}')
@example(200, "application/json", b'{"routers": {"x@redis": null}, "headers": {"customResponseHeaders": []}}')
def test_any_answer_is_a_value_or_a_named_error(liar: Liar, status: int, kind: str, body: bytes) -> None:
    """And the values come to a verdict."""
    liar.status, liar.type, liar.body = status, kind, b"" if status == 204 else body
    answers = asyncio.run(ask_everything(liar.url))
    assert all(liar.url in str(answer) for answer in answers if isinstance(answer, TraefikError))
    revision, version, router, service, table, _ = answers
    assert revision is None or isinstance(revision, (int, TraefikError))
    assert isinstance(version, (str, TraefikError))
    if isinstance(router, TraefikError) or isinstance(service, TraefikError):
        return
    assert isinstance(judge(ENTRY, router, service), (Ready, Pending, Rejected))
    if isinstance(table, Table):
        verdict = judge(ENTRY, table.routers.get(NAME), table.services.get(NAME))
        assert isinstance(verdict, (Ready, Pending, Rejected))
